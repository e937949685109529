"""One report for all families: what a part can say is there, what it cannot is blank with why."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import evaluation, families, nets
from genmix.data import Dataset
from genmix.evaluation.classifier import Classifier
from genmix.evaluation.report import Figure

SHAPE = (4, 4, 1)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def dataset():
    images = {
        name: RNG.integers(2, size=(n, *SHAPE)).astype(np.float32)
        for name, n in {"train": 30, "valid": 0, "test": 12}.items()
    }
    labels: Any = {
        f"{name}_labels": np.arange(len(x), dtype=np.int32) % 3 for name, x in images.items()
    }
    return Dataset(name="bits", **images, **labels, num_levels=2, binarization="static")


@pytest.fixture(scope="module")
def vae():
    rngs = nnx.Rngs(0)
    return families.LatentVariableModel(
        prior=families.StandardNormal(3),
        likelihood=families.Bernoulli(nets.MLP(3, (5,), SHAPE, rngs=rngs)),
        posterior=families.Normal(nets.MLP(SHAPE, (5,), 3, rngs=rngs)),
    )


def test_a_latent_variable_model_has_every_figure(dataset, vae):
    judge = Classifier(SHAPE, 3, rngs=nnx.Rngs(0))
    found = evaluation.report(
        jax.random.key(0), vae, dataset,
        classifier=judge, num_particles=20, num_samples=16, seconds_to_train=1.5,
    )  # fmt: skip
    assert not found.blanks
    assert set(found.figures) == {
        "NLL", "bits/dim", "rate", "distortion", "information", "active units", "copying",
        "Fréchet", "MODE score", "precision", "recall", "coverage", "linear probe", "parameters",
        "seconds to draw 1,000", "seconds to train",
    }  # fmt: skip
    assert found.figures["NLL"].note.startswith("upper bound, k = 20")
    assert str(found.figures["NLL"]).startswith("≤ ")
    # The same draws: the ELBO's two parts bound what particles say, up to its own noise.
    elbo = found.figures["rate"].value + found.figures["distortion"].value
    assert found.figures["NLL"].value < elbo + 0.1
    assert found.figures["parameters"].value == 16 * 5 + 5 + 5 * 6 + 6 + 3 * 5 + 5 + 5 * 16 + 16
    row = found.row()
    assert row["NLL error"] == found.figures["NLL"].error
    assert "linear probe" in str(found)


def test_an_exact_density_says_so_and_has_no_latents(dataset):
    class Fair(nnx.Module):
        def log_prob(self, x, cond=None):
            return jnp.asarray(-x.size * jnp.log(2.0))

    found = evaluation.report(jax.random.key(0), Fair(), dataset)
    assert found.figures["NLL"] == (
        pytest.approx(16 * np.log(2), rel=1e-6), pytest.approx(0, abs=1e-6),
        "exact; the error is that over test events",
    )  # fmt: skip
    assert found.figures["bits/dim"].value == pytest.approx(1.0)
    assert found.blanks["rate"] == "Fair has no latents with a posterior."
    assert "has no sample" in found.blanks["Fréchet"]
    assert found.row()["active units"] is None


def test_a_generator_without_density_has_samples_alone(dataset):
    rngs = nnx.Rngs(0)
    network = nnx.Sequential(nets.MLP(2, (4,), SHAPE, rngs=rngs), jax.nn.sigmoid)
    generator = families.Implicit(families.StandardNormal(2), network)
    found = evaluation.report(jax.random.key(0), generator, dataset, num_samples=8)
    assert "has no density" in found.blanks["NLL"]
    assert set(found.figures) == {"copying", "seconds to draw 1,000", "parameters"}


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(12.3456, 0.0234), "12.346 ± 0.023"),
        (Figure(12.3456, 2.34, "upper bound, k = 5"), "≤ 12.3 ± 2.3"),
        (Figure(0.123456), "0.1235"),
        (Figure(12345.0), "12,345"),
    ],
)
def test_figures_show_two_digits_of_their_error(figure, text):
    assert str(figure) == text


def test_too_few_particles_or_samples_are_refused(dataset, vae):
    with pytest.raises(ValueError, match="num_samples at least 4, got 500 and 3"):
        evaluation.report(jax.random.key(0), vae, dataset, num_samples=3)
