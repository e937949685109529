from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.evaluation import model_pictures, pictures
from genmix.families import (
    Autoencoder,
    Deterministic,
    Implicit,
    LatentVariableModel,
    Normal,
    StandardNormal,
)

SHAPE = (2, 2, 1)


class Noise:
    """x given z is z where a fair coin says so, and 0 otherwise: it knows no mean."""

    def sample(self, key, cond: Any = None):
        return jnp.where(jax.random.bernoulli(key), cond, 0.0)

    def log_prob(self, x, cond=None):
        return jnp.zeros(())


@pytest.fixture
def drawn(monkeypatch):
    """The images that are saved, and the number in a row."""
    found = []
    keep = lambda path, images, *, columns=10: found.append((np.asarray(images), columns))
    monkeypatch.setattr(pictures, "save_samples", keep)
    return found


def model(factor, likelihood: Any = None):
    network = nnx.Sequential(nnx.Dropout(0.9, rngs=nnx.Rngs(0)), lambda z: factor * z)
    return LatentVariableModel(
        prior=StandardNormal(SHAPE),
        likelihood=likelihood or Normal(network, scale=1.0),
        posterior=Normal(lambda x: 2 * x, scale=1.0),
    )


def test_all_models_show_the_same_latents(drawn):
    """By the means of the likelihood, with no dropout; a likelihood without means draws."""
    models = [model(1.0), model(3.0), model(1.0, Noise())]
    model_pictures.save_samples("", jax.random.key(0), models, num_images=20)
    ((images, columns),) = drawn
    z, tripled, noisy = np.split(images, 3)
    assert (z.shape, columns) == ((20, *SHAPE), 10)
    assert len(np.unique(z)) == z.size
    np.testing.assert_allclose(tripled, 3 * z, rtol=1e-6)
    kept = noisy[:, 0, 0, 0] != 0
    assert 0 < np.sum(kept) < 20
    np.testing.assert_array_equal(noisy, np.where(kept[:, None, None, None], z, 0))


def test_a_row_of_images_stands_above_what_each_model_makes_of_them(drawn):
    """The means of the posterior; where it knows none, draws, here of x plus noise."""
    noisy = Implicit(StandardNormal(SHAPE), lambda pair: pair[0] + pair[1])
    autoencoder = lambda posterior: Autoencoder(
        prior=StandardNormal(SHAPE),
        likelihood=Normal(lambda z: z, scale=1.0),
        posterior=posterior,
    )
    x = np.random.default_rng(0).random((6, *SHAPE), np.float32)
    models = [model(3.0), autoencoder(Deterministic(lambda x: x)), autoencoder(noisy)]
    model_pictures.save_reconstructions("", jax.random.key(0), models, x)
    ((images, columns),) = drawn
    first, second, third, last = np.split(images, 4)
    assert columns == 6
    np.testing.assert_array_equal(first, x)
    np.testing.assert_allclose(second, 6 * x, rtol=1e-6)
    np.testing.assert_allclose(third, x, rtol=1e-6)
    assert np.all(last != x)
