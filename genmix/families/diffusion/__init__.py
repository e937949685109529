"""Diffusions: densities that are learned by removing noise, as parts."""
