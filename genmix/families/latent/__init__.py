"""Latent-variable models: what is drawn and integrated out."""
