"""Lossless compression with any model that has a likelihood, at the rate of its bound."""

from genmix.compression.asymmetric_numeral_system import Message
from genmix.compression.bits_back import compress, decompress, overhead

__all__ = ["Message", "compress", "decompress", "overhead"]
