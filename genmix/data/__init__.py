"""Data sources: every set as three splits, of images or of sequences."""

from genmix.data import (
    coloured_digits,
    corruption,
    digits,
    domains,
    grey,
    image_folder,
    mixtures,
    own,
    partly_labelled,
    pianorolls,
    ragged,
    sprites,
    tfds_source,
    toy_2d,
)
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
    "coloured_digits",
    "corruption",
    "digits",
    "domains",
    "grey",
    "image_folder",
    "in_bits",
    "in_unit_interval",
    "load",
    "mean_logits",
    "mixtures",
    "own",
    "partly_labelled",
    "pianorolls",
    "ragged",
    "require",
    "sprites",
    "tfds_source",
    "thinned",
    "toy_2d",
]
