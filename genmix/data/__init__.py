"""Data sources: every set as three splits of images."""

from genmix.data.binarization import binarize, binarize_once
from genmix.data.dataset import Dataset
from genmix.data.load import NAMES, load

__all__ = ["NAMES", "Dataset", "binarize", "binarize_once", "load"]
