"""Settings of every Boltzmann machine, from its data to the estimate of its normalizer."""

import dataclasses
from typing import Annotated

from experiments import study
from genmix.data import Dataset


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared(study.OnImages):
    """Defaults train on scikit-learn's digits."""

    steps: study.Count = 10_000
    """Of training; of each machine, if there are several."""
    chains: study.Count = 100
    """Persistent chains."""
    learning_rate: study.Positive = 0.05
    """Of gradient descent at the start; it falls to zero linearly."""
    temperatures: Annotated[int, study.at_least(29)] = 2_000
    """Of annealed importance sampling; Salakhutdinov & Murray take 14,500."""
    paths: Annotated[int, study.at_least(2)] = 100
    """Of annealed importance sampling."""

    def load(self) -> Dataset:
        """The data set, which must be of bits."""
        dataset = super().load()
        if dataset.num_levels != 2:
            raise ValueError(f"{dataset.name} is grey: this machine has binary units; take bits.")
        return dataset
