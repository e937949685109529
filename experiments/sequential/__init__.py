"""What `experiments.sequences` is made of: its settings and its models."""
