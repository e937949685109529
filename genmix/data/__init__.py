"""Data sources: every set as three splits, of images or of sequences."""

from genmix.data import corruption, own, partly_labelled, pianorolls, ragged
from genmix.data.binarization import binarize, binarize_once, mean_logits
from genmix.data.dataset import Dataset, in_bits, in_unit_interval, require, thinned
from genmix.data.load import LEVELS, NAMES, Pixels, load
from genmix.data.stream import Stream

__all__ = [
    "LEVELS",
    "NAMES",
    "Dataset",
    "Pixels",
    "Stream",
    "binarize",
    "binarize_once",
    "corruption",
    "in_bits",
    "in_unit_interval",
    "load",
    "mean_logits",
    "own",
    "partly_labelled",
    "pianorolls",
    "ragged",
    "require",
    "thinned",
]
