"""The cures, and their settings."""

import dataclasses
from typing import Annotated, Literal, get_args

from experiments import study

Cure = Literal[
    "warm-up", "cycles", "free bits", "free bits, each", "dropped inputs", "small reach",
    "committed rate", "von Mises-Fisher", "lagging encoder", "rate constrained",
    "distortion constrained",
]  # fmt: skip
Name = Literal["independent pixels", "plain"] | Cure
MODELS: tuple[Name, ...] = ("independent pixels", "plain", *get_args(Cure))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """One row of the table for each model; those after plain have a tool each."""

    model: study.Each[Name] = MODELS
    warm_up: Annotated[float, study.Rule(lambda v: 0 < v <= 1, "be in (0, 1]")] = 0.5
    """Part of the steps, or of each of four cycles, over which the KL's weight rises to 1."""
    rate: study.Positive = 4.0
    """Nats that free bits leave alone, over all dimensions, and least rate of the constraint."""
    distortion: study.Positive = 20.0
    """Most nats of -log p(x | z) of the other constraint."""
    dropout: study.Share = 0.5
    """Rate at which pixels are hidden from those after them, in training."""
    correlation: Annotated[float, study.Rule(lambda v: -1 < v < 1, "be in (-1, 1)")] = 0.9
    """Of the entries of z, in the prior with a committed rate."""
    concentration: study.Positive = 20.0
    """Of the von Mises-Fisher posterior."""
    encoder_steps: study.Count = 5
    """Of the lagging encoder for each one of its decoder."""
    latent: Annotated[int, study.at_least(2)] = 10
    hidden: study.Count = 50
    width: study.Count = 24
    """Channels of the PixelCNN, which has five layers."""
    layers: study.Count = 5
    steps: study.Count = 1000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 100
    """Particles of the NLL estimate."""
