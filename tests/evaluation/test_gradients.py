"""Bias, variance and signal-to-noise ratio against gradients whose moments are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.evaluation import gradients
from genmix.evaluation.gradients import Moments

MEAN, SCALE = np.array([1.0, -2.0, 0.5]), np.array([0.5, 1.5, 3.0])
VARIANCE, LENGTH = 11.5, np.sqrt(5.25)


def gradient(key):
    noise = jax.random.normal(key, (3,))
    return {"all": jnp.asarray(MEAN, jnp.float32) + jnp.asarray(SCALE, jnp.float32) * noise}


@functools.cache
def drawn(seed=0, draws_at_once=25):
    moments = functools.partial(
        gradients.moments, num_blocks=20, draws_per_block=50, draws_at_once=draws_at_once
    )
    return jax.jit(lambda key: moments(key, gradient))(jax.random.key(seed))["all"]


def test_moments_of_a_known_gradient():
    """Each |z| < 4.5 in 4 comparisons: false alarm 3e-5, the key is fixed."""
    means, variances = drawn()
    assert means.shape == (20, 3)
    assert variances.shape == (20,)
    z = (np.mean(means, axis=0) - MEAN) / (SCALE / np.sqrt(1000))
    assert np.all(np.abs(z) < 4.5)
    error = np.sqrt(2 * np.sum(SCALE**4) / 980)
    assert abs(np.mean(variances) - VARIANCE) < 4.5 * error


def test_memory_has_no_influence():
    for a, b in zip(drawn(), drawn(draws_at_once=10), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_no_row_meets_its_own():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
    pairs = [a[i] @ b[j] for i in range(5) for j in range(5) if i != j]
    np.testing.assert_allclose(gradients.cross(a, b), np.mean(pairs), rtol=1e-12)


def test_quality_of_an_unbiased_estimator():
    """Each |z| < 5 in 4 comparisons, t of 19 degrees: false alarm 4e-4, the key is fixed."""
    values = gradients.quality(drawn(), np.broadcast_to(MEAN, (20, 3)))
    expected = {
        "variance": VARIANCE,
        "snr": LENGTH / np.sqrt(VARIANCE),
        "bias": 0,
        "squared_bias": 0,
    }
    for name, value in expected.items():
        assert abs(values[name] - value) < 5 * values[f"{name}_standard_error"], name


def test_a_bias_is_seen_along_the_gradient_and_as_a_whole():
    """Means that are twice the true gradient and off by one to its side."""
    side = np.array([2.0, 1.0, 0.0]) / np.sqrt(5)
    reference = drawn(1)[0]
    moments = drawn()
    values = gradients.quality(
        Moments(np.asarray(moments.means) + MEAN + side, moments.variances), reference
    )
    assert abs(values["bias"] - 1) < 5 * values["bias_standard_error"] < 0.5
    whole = 1 + 1 / LENGTH**2
    assert abs(values["squared_bias"] - whole) < 5 * values["squared_bias_standard_error"] < 1.5


def test_errors_are_as_large_as_they_say():
    """Over 400 repetitions, without bias: means within 4.5 errors of it, spreads within 25 %."""
    rng = np.random.default_rng(0)
    all_values = []
    for _ in range(400):
        means = MEAN + rng.normal(size=(20, 3)) * SCALE / 10
        reference = MEAN + rng.normal(size=(20, 3)) * SCALE / 10
        all_values.append(gradients.quality(Moments(means, rng.uniform(1, 2, 20)), reference))
    for name in ("bias", "squared_bias"):
        values = np.array([v[name] for v in all_values])
        assert abs(values.mean()) < 4.5 * values.std() / 20
    for name in ("variance", "snr", "bias"):
        spread = np.std([v[name] for v in all_values])
        stated = np.mean([v[f"{name}_standard_error"] for v in all_values])
        np.testing.assert_allclose(stated, spread, rtol=0.25)


def test_a_signal_that_drowns_is_none():
    rng = np.random.default_rng(3)
    means = rng.normal(size=(20, 3))
    assert gradients.cross(means, means) < 0
    values = gradients.quality(Moments(means, np.ones(20)), np.broadcast_to(MEAN, (20, 3)))
    assert values["snr"] == 0


def test_too_few_draws_and_other_shapes_are_refused():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="num_blocks must be at least 2, got 1"):
        gradients.moments(key, gradient, num_blocks=1, draws_per_block=2, draws_at_once=1)
    with pytest.raises(ValueError, match="draws_per_block must be at least 2, got 1"):
        gradients.moments(key, gradient, num_blocks=2, draws_per_block=1, draws_at_once=1)
    with pytest.raises(ValueError, match=r"shape of the means, \(20, 3\), got \(20, 2\)"):
        gradients.quality(drawn(), np.zeros((20, 2)))


def test_groups_of_parameters_get_their_own_vectors():
    rngs = nnx.Rngs(0)
    model = nnx.Dict({"a": nnx.Linear(2, 1, rngs=rngs), "b": nnx.Linear(3, 1, rngs=rngs)})
    f = lambda m: 2 * jnp.sum(m["a"].kernel[...]) + 3 * jnp.sum(m["b"].kernel[...] ** 2)
    found = gradients.by_group(f, model, {"first": "a.", "second": "b.kernel"})
    np.testing.assert_allclose(np.sort(found["first"]), [0, 2, 2])  # the bias has no part in it
    np.testing.assert_allclose(found["second"], 6 * model["b"].kernel[...][:, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="no parameter's path begins with c"):
        gradients.by_group(f, model, {"third": "c."})
