"""Distributions whose density is a formula."""
