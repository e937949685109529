"""Terms of diffusions against the bound that they estimate."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.families import StandardNormal
from genmix.families.diffusion.chain import DiffusionChain
from genmix.objectives import diffusion
from tests.families.diffusion import normal_data

X = 0.7 * jax.random.normal(jax.random.key(5), (64,))


def evaluated(term, model, batch: Any = X):
    value = jax.jit(lambda key: term(model, key, batch, term.init(model)))
    return value(jax.random.key(0))


@pytest.mark.parametrize("make", [lambda m: m, lambda m: DiffusionChain(m, 8)])
def test_the_loss_is_minus_the_bound_that_is_reported(make):
    """The bound's mean over events is near the one by many times an event: 5 standard errors."""
    model = make(normal_data.diffusion(0.7))
    loss, (metrics, _) = evaluated(diffusion.bound(), model)
    assert loss == -metrics["bound"]
    keys = jax.random.split(jax.random.key(1), (64, 500))
    many = jax.jit(jax.vmap(jax.vmap(model.log_bound, (0, None))))(keys, X)
    values = np.asarray(many)
    assert abs(metrics["bound"] - values.mean()) < 5 * values.std(1).mean() / 8


def test_simple_and_hybrid_report_the_bound_of_their_draws():
    model = normal_data.diffusion(0.7)
    error, (metrics, _) = evaluated(diffusion.simple(), model)
    both, (more, _) = evaluated(diffusion.hybrid(0.1), model)
    assert metrics["bound"] == more["bound"]
    np.testing.assert_allclose(both, error - 0.1 * metrics["bound"], rtol=1e-5)
    # The schedule is a line: the loss is half its slope, 14, times the error.
    ends = metrics["bound"] + 7 * error
    keys = jax.random.split(jax.random.key(2), 64)
    expected = np.asarray(jax.jit(jax.vmap(model.log_ends))(keys, X))
    assert abs(ends - expected.mean()) < 5 * np.std(expected - expected.mean()) / 8


def test_conditions_come_in_pairs():
    model = normal_data.diffusion(0.7)
    paired = diffusion.bound(is_conditional=True)
    loss, _ = evaluated(paired, model, (X, jnp.zeros((64, 3))))
    assert loss == evaluated(diffusion.bound(), model)[0]


def test_what_is_no_diffusion_is_refused():
    with pytest.raises(TypeError, match="StandardNormal has no log_bound_at"):
        diffusion.bound().init(StandardNormal(()))
    with pytest.raises(TypeError, match="that of a Diffusion, got DiffusionChain"):
        diffusion.simple().init(DiffusionChain(normal_data.diffusion(1.0), 3))
    with pytest.raises(ValueError, match=r"weight must be positive, got 0\.0"):
        diffusion.hybrid(0.0)
