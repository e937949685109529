"""Models of sequences, and the settings of them."""

import dataclasses
from pathlib import Path
from typing import Literal

from experiments import study

Model = Literal["vrnn", "deep-markov", "deep-markov-iaf"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Defaults take minutes on two CPU cores."""

    dataset: Literal["jsb-chorales", "nottingham", "piano-midi", "musedata", "digits"] = (
        "jsb-chorales"
    )
    """Music, or rows of scikit-learn's digits, black and white."""
    data_dir: Path | None = None
    """Folder that holds pianorolls/; the digits need none."""
    model: study.Each[Model] = ("vrnn",)
    """A recurrent network, or a hidden chain alone; its posterior a normal, or inverse flows."""
    objective: study.Each[Literal["elbo", "iwae", "fivo"]] = ("elbo", "iwae", "fivo")
    particles: study.Each[study.Count] = (4,)
    """N of IWAE and FIVO in training."""
    test_particles: study.Count = 32
    """N of IWAE and FIVO in the test."""
    latent: study.Count = 32
    """Dimensions of z at each step."""
    hidden: study.Count = 64
    """Width of the recurrent state and of all hidden layers."""
    flows: study.Count = 2
    """Layers of the posterior of inverse flows."""
    warm_up: study.NotNegativeCount = 0
    """Steps over which the weight of the rate rises from 0, in training by the ELBO."""
    piece: study.Count = 64
    """Training sequences are cut into pieces of so many steps at most; test sequences are whole."""
    steps: study.Count = 1000
    batch_size: study.Count = 8
    learning_rate: study.Positive = 3e-3
    """At the start; it falls to zero along a cosine."""
