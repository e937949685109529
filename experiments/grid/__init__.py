"""The grid of experiments.mix: its choices, its parts and what they are trained for."""
