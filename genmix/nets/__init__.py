"""Networks, and what they change about themselves."""

from genmix.nets import state
from genmix.nets.conv_decoder import ConvDecoder
from genmix.nets.conv_encoder import ConvEncoder
from genmix.nets.low_precision import LowPrecision
from genmix.nets.made import MADE
from genmix.nets.mlp import MLP
from genmix.nets.rescale import Rescale

__all__ = ["MADE", "MLP", "ConvDecoder", "ConvEncoder", "LowPrecision", "Rescale", "state"]
