"""The models, and their settings."""

import dataclasses
from typing import Literal, get_args

from experiments import study

Name = Literal["pixels", "M1", "M2 without q's term", "M2", "M1+M2", "clusters"]
MODELS: tuple[Name, ...] = get_args(Name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """M1 and the clusters are trained once, without labels; the others for each number of them."""

    model: study.Each[Name] = MODELS
    labels: study.Each[study.Count] = (20, 50, 200)
    """As many of each class, drawn at random by the seed."""
    latent: study.Count = 16
    """Dimensions of M1's features."""
    style: study.Count = 8
    """Dimensions of what is beside the class."""
    clusters: study.Count = 20
    """Of the model without labels."""
    hidden: study.Count = 100
    """Width of the hidden layer of each network."""
    weight: study.NotNegative = 10.0
    """Of the classifier's cross-entropy of labelled images, in nats beside the bound's."""
    labelled_batch_size: study.Count = 20
    steps: study.Count = 3000
    batch_size: study.Count = 50
