"""Densities that are products of conditionals, entry after entry."""
