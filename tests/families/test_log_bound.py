"""A part that knows a bound alone: what takes it and what refuses it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import evaluation, families, objectives
from genmix.families import Dequantized, LatentVariableModel, Resampled, Summed, weigh
from tests import linear_gaussian
from tests.families.posteriors.targets import Table

X = jnp.asarray(linear_gaussian.X, jnp.float32)


class Bounded(nnx.Module):
    """log p(x | z) less one, with noise of mean zero on it."""

    def log_bound(self, key, x, cond: Any = None):
        noise = 3 * jax.random.normal(key)
        return linear_gaussian.DECODER.log_prob(x, cond) - 1 + noise


def bounded(**roles):
    one = linear_gaussian.one_layer()
    parts = {"prior": one.prior, "likelihood": Bounded(), "posterior": one.posterior}
    return LatentVariableModel(**{**parts, **roles})


def test_the_elbo_takes_it():
    """Means of 10,000 draws of both bounds differ by one, within 5 standard errors."""
    got = evaluation.elbo(jax.random.key(0), bounded(), X[None], num_samples=10_000)
    plain = evaluation.elbo(
        jax.random.key(1), linear_gaussian.one_layer(), X[None], num_samples=10_000
    )
    assert abs(got.elbo + 1 - plain.elbo) < 5 * 4 / 100
    loss, _ = objectives.elbo().loss(bounded(), jax.random.key(0), X[None], ())
    assert jnp.isfinite(loss)
    assert np.isfinite(bounded().log_bound(jax.random.key(0), X))
    assert weigh.is_bound(bounded(prior=linear_gaussian.two_layers().prior))


@pytest.mark.parametrize(
    "call",
    [
        lambda model: objectives.iwae(2).init(model),
        lambda model: objectives.renyi(0.5, 2).init(model),
        lambda model: evaluation.log_likelihood(jax.random.key(0), model, X[None], num_particles=2),
        lambda model: model.log_weight(jax.random.key(0), X),
        lambda model: families.log_weight(model, jax.random.key(0), X),
        lambda model: Summed(prior=Table(jnp.zeros(2)), part=model),
        lambda model: Dequantized(model).log_weight(jax.random.key(0), jnp.zeros(3)),
        lambda model: bounded(posterior=Resampled(model.posterior, 2)),
    ],
)
def test_what_averages_weights_refuses_it(call):
    with pytest.raises(TypeError, match=r"knows a bound on log p\(x\) alone .* Use the ELBO"):
        call(bounded())
