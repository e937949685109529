"""The parts of a deep Markov model, and its inverse flows on a chain whose p(x) is known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from genmix import bijectors
from genmix.densities import multivariate_normal
from genmix.families import (
    Combiner,
    FromTheEnd,
    Normal,
    StateSpaceModel,
    Unrolled,
    transformed,
)
from genmix.families.sequence.padded import Padded
from genmix.nets import GRU, MADE, MLP, GatedTransition
from tests.families.sequence import models


class Full(nnx.Module):
    """N(mean, covariance), or N(matrix c, covariance)."""

    def __init__(self, mean: Any, matrix: Any, covariance: Any):
        self.mean = None if mean is None else nnx.Variable(mean)
        self.matrix = None if matrix is None else nnx.Variable(matrix)
        self.factor = nnx.Variable(jnp.linalg.cholesky(covariance))

    def log_prob(self, x, cond: Any = None):
        return multivariate_normal.log_prob(x, self._mean(cond), self.factor[...])

    def sample(self, key, cond: Any = None):
        return multivariate_normal.sample(key, self._mean(cond), self.factor[...])

    def _mean(self, cond):
        if self.matrix is not None:
            return self.matrix[...] @ cond
        assert self.mean is not None
        return self.mean[...]


def flow(rngs):
    """Two entries, so that the second is moved by the first."""
    made = MADE(2, (4,), bijectors.Gate().num_parameters, cond_size=3, rngs=rngs)
    layer = bijectors.inverse_autoregressive(made, bijectors.Gate(bias=1.0))
    return bijectors.chain([layer, bijectors.Reverse()])


def test_the_mean_weight_under_inverse_flows_is_the_density(x64):
    """100,000 weights within 4 standard errors: a false alarm in 16,000 keys."""
    exact, rngs = models.plane(), nnx.Rngs(1)
    x = jnp.array([[0.4, -0.1, 0.2], [0.1, 0.3, -0.2]])  # likely, as the proposal is not trained
    base = Normal(MLP(3, (), 2, rngs=rngs), min_scale=0.4)
    model = StateSpaceModel(
        initial=Full(exact.mean, None, exact.covariance),
        transition=Full(None, exact.transition, exact.transition_covariance),
        emission=Full(None, exact.emission, exact.emission_covariance),
        proposal=transformed(base, flow(rngs), encoder=Combiner(2, 3, rngs=rngs)),
        encoder=FromTheEnd(GRU(3, 3, rngs=rngs)),
    )
    one = jax.jit(jax.vmap(lambda key: Unrolled(model).log_weight(key, x)))
    weights = np.asarray(one(jax.random.split(jax.random.key(2), 100_000)))
    ratios = np.exp(weights - float(exact.log_prob(x)))
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / np.sqrt(len(ratios)) < 0.1


def test_a_closed_gate_stays_and_an_open_one_goes_where_the_network_says():
    part, z = GatedTransition(3, 4, rngs=nnx.Rngs(0)), jnp.array([0.5, -1.0, 2.0])
    out: Any = part.gate.out
    for bias, expected in ((-200.0, z), (200.0, part.proposed(z))):
        out.bias[...] = jnp.full(3, bias)
        loc, raw = part(z).T
        np.testing.assert_allclose(loc, expected, rtol=1e-6)
        scale = part.raw_scale(jax.nn.relu(part.proposed(z)))
        np.testing.assert_allclose(raw, scale, rtol=1e-6)
    out.bias[...] = jnp.zeros(3)
    out.kernel[...] = jnp.zeros_like(out.kernel[...])
    np.testing.assert_allclose(part(z)[:, 0], (z + part.proposed(z)) / 2, rtol=1e-6)


def test_the_posterior_sees_what_is_ahead_and_not_what_is_behind():
    encoder = FromTheEnd(GRU(2, 3, rngs=nnx.Rngs(0)))
    x = Padded(jax.random.normal(jax.random.key(0), (5, 2)), jnp.asarray(4))
    slope = jax.jit(jax.jacobian(lambda v: encoder(Padded(v, x.length))))(x.values)
    sees = np.any(np.asarray(slope) != 0, axis=(1, 3))
    behind_the_end = np.array([0, 0, 0, 0, 1], bool)
    expected = np.triu(np.ones((5, 5), bool)) & ~behind_the_end
    np.testing.assert_array_equal(sees[:4], expected[:4])


def test_the_combiner_is_the_mean_of_both():
    combiner, ahead = Combiner(2, 3, rngs=nnx.Rngs(0)), jnp.array([0.1, -0.2, 0.3])
    before = jnp.array([1.0, -1.0])
    expected = (jnp.tanh(combiner.linear(before)) + ahead) / 2
    np.testing.assert_allclose(combiner((before, ahead)), expected, rtol=1e-6)
