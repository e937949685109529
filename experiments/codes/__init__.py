"""What `experiments.vq_vae` is made of: its settings and its parts."""
