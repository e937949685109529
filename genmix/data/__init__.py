"""Data sources: every set as three splits, of images or of sequences."""

from genmix.data import corruption, partly_labelled, pianorolls, ragged
from genmix.data.binarization import binarize, binarize_once, mean_logits
from genmix.data.dataset import Dataset, require, thinned
from genmix.data.load import NAMES, load
from genmix.data.stream import Stream

__all__ = [
    "NAMES",
    "Dataset",
    "Stream",
    "binarize",
    "binarize_once",
    "corruption",
    "load",
    "mean_logits",
    "partly_labelled",
    "pianorolls",
    "ragged",
    "require",
    "thinned",
]
