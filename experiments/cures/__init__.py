"""What `experiments.collapse` is made of: its settings and its parts."""
