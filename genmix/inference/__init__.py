"""Learning in closed form: expectation-maximization."""

from genmix.inference import em, em_components

__all__ = ["em", "em_components"]
