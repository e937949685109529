"""Benchmarks against peers, side by side in one run: python -m experiments.benchmarks.NAME."""
