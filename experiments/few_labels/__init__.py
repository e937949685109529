"""What `experiments.semi_supervised` is made of: its settings and its parts."""
