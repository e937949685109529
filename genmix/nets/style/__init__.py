"""What progressive growing and style-based generators are built of.

Source: Karras et al. (2018), arXiv:1710.10196; (2019), arXiv:1812.04948; (2020), arXiv:1912.04958.
"""

from genmix.nets.style.adain import adain
from genmix.nets.style.equalized import EqualizedConvolution, EqualizedLinear
from genmix.nets.style.growing import GrowingCritic, GrowingGenerator
from genmix.nets.style.mapping import Mapping
from genmix.nets.style.minibatch_deviation import MinibatchDeviation
from genmix.nets.style.modulated_convolution import ModulatedConvolution
from genmix.nets.style.pixel_norm import pixel_normalized
from genmix.nets.style.synthesis import Synthesis

__all__ = [
    "EqualizedConvolution",
    "EqualizedLinear",
    "GrowingCritic",
    "GrowingGenerator",
    "Mapping",
    "MinibatchDeviation",
    "ModulatedConvolution",
    "Synthesis",
    "adain",
    "pixel_normalized",
]
