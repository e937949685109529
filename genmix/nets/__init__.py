"""Networks, and what they change about themselves."""

from genmix.nets import state
from genmix.nets.mlp import MLP
from genmix.nets.rescale import Rescale

__all__ = ["MLP", "Rescale", "state"]
