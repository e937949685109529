"""Distributions that only sample."""
