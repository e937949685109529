"""Rows that are expressions of experiments.mix."""

import dataclasses
from typing import Any

from experiments.families.candidates import Candidate, Sizes
from experiments.grid import config as grid
from experiments.grid import game
from genmix.data import Dataset

HYBRIDS = {
    "VAE": "",
    "IWAE, k = 5": "objective=iwae:5",
    "VAE, two layers": "prior=hierarchical",
    "VAE, MAF prior": "prior=maf",
    "VAE, IAF posterior": "posterior=iaf",
    "VAE, MAF and IAF": "prior=maf posterior=iaf",
    "PixelVAE": "decoder=pixelcnn width=16",
    "VAE + critic": "adversarial=data weight=2",
}
"""Settings of experiments.mix beside its defaults."""


def candidate(sizes: Sizes, dataset: Dataset, text: str) -> Candidate:
    mixed = settings(sizes, text)
    return Candidate(lambda: game.start(mixed, dataset), game.players(mixed), game.model_of)


def settings(sizes: Sizes, text: str) -> grid.Config:
    """The settings of experiments.mix that an expression names.

    Raises:
        ValueError: if there are none of that name, or their values do not go together.
    """
    options: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        if name == "objective" and ":" in value:
            value, _, k = value.partition(":")
            options["k"] = int(k)
        known = {field.name: field for field in dataclasses.fields(grid.Config)}
        if name not in known or not value:
            raise ValueError(f'"{word}" is no setting=value of experiments.mix, in "{text}".')
        options[name] = number(value)
    shared = ("seed", "steps", "batch_size", "learning_rate", "hidden", "latent")
    return grid.Config(**({name: getattr(sizes, name) for name in shared} | options))


def number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
