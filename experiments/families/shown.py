"""Tables and pictures of the comparison."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study
from genmix.evaluation import pictures, sample_quality

REAL = "training images"
"""The row that says what no model can do better."""


class Trained(NamedTuple):
    """A judged part, and its figures."""

    name: str
    part: Any
    figures: study.Row


def draw(out: Path, test: np.ndarray, models: Sequence[Trained]) -> None:
    """samples.png, a row for each model; likelihood_and_samples.png, a point for each."""
    shape = test.shape[1:]
    sheet = {"test images": test[:: max(len(test) // 12, 1)][:12]}
    to_image = lambda x: x.reshape(shape).astype(jnp.float32)
    for name, part, _ in models:
        keys = jax.random.split(jax.random.key(0), 12)
        sheet[name] = np.asarray(sample_quality.sampler(part, to_image)(keys))
    pictures.save_sheet(out / "samples.png", sheet)
    pictures.save_named_points(
        out / "likelihood_and_samples.png",
        {it.name: (it.figures["NLL"], it.figures["Fréchet"]) for it in models
         if it.figures["NLL"] is not None},
        x_label="NLL of test images, in nats (of some an upper bound)",
        y_label="Fréchet distance of samples from test images",
    )  # fmt: skip


LIKELIHOODS: dict[str, study.Column] = {
    "model": "{model}",
    "NLL": "{nll_text}",
    "±": "{NLL error:.2f}",
    "KL": "{rate:.1f}",
    "I(x; z)": "{information:.1f}",
    "active": "{active units:.0f}",
    "probe": "{linear probe:.0%}",
    "training": "{seconds to train:.0f} s",
}
SAMPLES: dict[str, study.Column] = {
    "model": "{model}",
    "Fréchet": "{Fréchet:.1f}",
    "±": "{Fréchet error:.1f}",
    "MODE": "{MODE score:.2f}",
    "precision": "{precision:.2f}",
    "coverage": "{coverage:.2f}",
    "copying": "{copying:.2f}",
}
TABLES = [
    study.Table(
        "{dataset}: nats per image, ≤ an upper bound; what latents hold",
        LIKELIHOODS,
        lambda rows: [row for row in rows if row["model"] != REAL],
    ),
    study.Table("samples, as a classifier of accuracy {accuracy:.1%} sees them", SAMPLES),
]
