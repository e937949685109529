"""Kinds of codes and of priors, and the settings of them."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from experiments import study


class Kind(NamedTuple):
    """How the codes are found, and the prior of them."""

    codes: Literal["loss", "averages", "levels", "drawn"]
    prior: Literal["uniform", "made", "pixelcnn", "rbm"]


Name = Literal["uniform", "rbm", "made", "pixelcnn", "loss", "levels", "vimco"]
KINDS: Mapping[Name, Kind] = MappingProxyType(
    {
        "uniform": Kind("averages", "uniform"),
        "rbm": Kind("averages", "rbm"),
        "made": Kind("averages", "made"),
        "pixelcnn": Kind("averages", "pixelcnn"),
        "loss": Kind("loss", "pixelcnn"),
        "levels": Kind("levels", "pixelcnn"),
        "vimco": Kind("drawn", "pixelcnn"),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """Codes lie on a map of the image, each of its sides halved."""

    model: study.Each[Name] = tuple(KINDS)
    codes: study.Count = 16
    """Codes in a codebook; a power of two for rbm and made, which see their digits."""
    halvings: study.Count = 1
    """Of the image's sides, from pixels to places of codes."""
    dim: study.Count = 8
    """Entries of a code's vector."""
    channels: study.Count = 16
    """Of the encoder's and the decoder's convolutions."""
    width: study.Count = 16
    """Channels of the PixelCNN of codes, which has three layers."""
    hidden: study.Count = 100
    """Units of made; the rbm has ten, so that it can be summed over."""
    decay: study.Share = 0.99
    """Of the averages that move a codebook."""
    revive_below: study.NotNegative = 0.1
    """Mean uses in a batch below which a code gets a new vector."""
    commitment: study.NotNegative = 0.25
    particles: study.Count = 5
    """Of the bound of drawn codes in training; 20 times as many in the table."""
    steps: study.Count = 2000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""

    def __post_init__(self):
        super().__post_init__()
        if self.codes & (self.codes - 1) and {"rbm", "made"} & set(self.model):
            raise ValueError(
                f"codes must be a power of two for rbm and made, got {self.codes}: leave them out."
            )
        if self.decay == 1:
            raise ValueError("decay must be below 1, or no codebook moves.")
