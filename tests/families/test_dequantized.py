"""Dequantized densities against the exact probabilities of the levels, by quadrature."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix import bijectors as bij
from genmix.bounds.estimators import sticking_the_landing
from genmix.evaluation import bits_per_dim, bits_per_dim_unit_interval
from genmix.families import LatentVariableModel, Normal, StandardNormal
from genmix.families.flow import transformed
from genmix.families.latent.dequantized import Dequantized
from genmix.nets import MLP

LEVELS = 4
EVENTS = np.array(list(itertools.product(range(LEVELS), repeat=2)), np.float32)


def density():
    """A correlated density on the unit square."""
    affine = bij.TriangularAffine(2)
    affine.loc[...] = jnp.array([0.8, -0.5])
    affine.raw[...] = jnp.array([[1.0, 0.0], [1.5, 0.2]])
    return transformed(StandardNormal(2), bij.chain([affine, bij.Sigmoid()]))


def flow_noise():
    network = MLP(2, (4,), 2, num_outputs=2, rngs=nnx.Rngs(1))
    # So wide that weights near the edges of a bin have a small variance.
    network.out.bias = nnx.Param(jnp.array([0.2, -0.3, 2.5, 2.0]))
    base = Normal(network)
    return transformed(base, bij.Sigmoid())


NOISES = {"uniform": lambda: None, "flow": flow_noise}


def exact_probabilities():
    """Each level's share of the density, by Gauss-Legendre quadrature over its bin."""
    points, weights = np.polynomial.legendre.leggauss(24)
    points, weights = (points + 1) / 2, weights / 2
    u = np.array(list(itertools.product(points, repeat=2)))
    y = (EVENTS[:, None] + u) / LEVELS
    log_prob = jax.jit(jax.vmap(density().log_prob))(jnp.asarray(y.reshape(-1, 2)))
    values = np.exp(np.asarray(log_prob)).reshape(len(EVENTS), -1)
    return values @ np.outer(weights, weights).reshape(-1) / LEVELS**2


@pytest.mark.parametrize("name", NOISES)
def test_mean_weight_is_the_probability_of_the_levels(name):
    """Within 5 standard errors for 16 events: the false alarm is 1e-5 for each noise."""
    part = Dequantized(density(), NOISES[name](), num_levels=LEVELS)
    exact = exact_probabilities()
    np.testing.assert_allclose(exact.sum(), 1.0, atol=2e-3)
    keys = jax.random.split(jax.random.key(0), 20_000)
    weigh = jax.jit(jax.vmap(jax.vmap(part.log_weight, (0, None)), (None, 0)))
    weights = np.exp(np.asarray(weigh(keys, EVENTS), float))
    error = weights.std(1) / np.sqrt(len(keys))
    assert np.all(error < 0.05 * exact.max())
    assert np.all(np.abs(weights.mean(1) - exact) < 5 * error)


def test_draws_follow_the_probabilities():
    """Chi-square over 16 events: the false alarm is 1e-4."""
    part = Dequantized(density(), num_levels=LEVELS)
    draws = jax.jit(jax.vmap(part.sample))(jax.random.split(jax.random.key(0), 20_000))
    index = np.asarray(draws, int) @ [LEVELS, 1]
    exact = exact_probabilities()
    expected = exact / exact.sum() * len(draws)
    assert stats.chisquare(np.bincount(index, minlength=16), expected).pvalue > 1e-4


class UnitDensity:
    """The uniform distribution on the open unit cube; edges, where floats may land, are outside."""

    def log_prob(self, x, cond=None):
        return jnp.where(jnp.all((x > 0) & (x < 1)), 0.0, -jnp.inf)


class AtEdge:
    """A noise of which floats have left nothing but an edge."""

    def __init__(self, u):
        self.u = u

    def sample_and_log_prob(self, key, cond: Any = None):
        return jnp.full_like(cond, self.u), jnp.zeros(())


@pytest.mark.parametrize("num_levels", [2, 5, 256])
def test_bits_of_a_uniform_density_are_the_levels(num_levels):
    x = jnp.full(3, num_levels - 1)
    value = Dequantized(UnitDensity(), num_levels=num_levels).log_weight(jax.random.key(0), x)
    np.testing.assert_allclose(bits_per_dim(float(value), 3), np.log2(num_levels), rtol=1e-6)
    same = bits_per_dim_unit_interval(0.0, 3, num_levels)
    np.testing.assert_allclose(bits_per_dim(float(value), 3), same, rtol=1e-6)
    for u in (0.0, 1.0):
        part = Dequantized(UnitDensity(), AtEdge(u), num_levels=num_levels)
        for level in (0, num_levels - 1):
            y = part._inside(jnp.full(3, float(level)), jnp.full(3, u))
            np.testing.assert_array_equal(jnp.floor(y * num_levels), level)
            assert part.log_weight(jax.random.key(0), jnp.full(3, level)) == value


def test_what_is_outside_weighs_nothing_with_finite_gradients():
    part = Dequantized(density(), flow_noise(), num_levels=LEVELS)
    for x in ([4.0, 0.0], [-1.0, 0.0], [0.5, 0.0]):
        weigh = lambda part, x=x: part.log_weight(jax.random.key(0), jnp.array(x))
        value, gradient = jax.jit(jax.value_and_grad(weigh))(part)
        assert value == -jnp.inf
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(nnx.state(gradient)))
    assert jnp.isnan(part.log_weight(jax.random.key(0), jnp.array([jnp.nan, 0.0])))
    beyond = Dequantized(density(), AtEdge(1.5), num_levels=LEVELS)
    assert beyond.log_weight(jax.random.key(0), jnp.zeros(2)) == -jnp.inf


def test_as_a_likelihood_with_learned_noise():
    """The noise given z and the posterior are two layers; their gradients are those of STL."""

    class OfEvent(nnx.Module):
        def __init__(self, part):
            self.part = part

        def sample_and_log_prob(self, key, cond: Any = None):
            return self.part.sample_and_log_prob(key, cond[0])

        def log_prob(self, x, cond: Any = None):
            return self.part.log_prob(x, cond[0])

    base = Normal(MLP(3, (4,), 2, rngs=nnx.Rngs(3)))
    likelihood = Dequantized(
        transformed(base, bij.Sigmoid()), OfEvent(flow_noise()), num_levels=LEVELS
    )
    posterior = Normal(MLP(2, (4,), 3, rngs=nnx.Rngs(2)))
    model = LatentVariableModel(prior=StandardNormal(3), likelihood=likelihood, posterior=posterior)
    x = jnp.array([3.0, 1.0])
    for draw in (None, sticking_the_landing.draw):
        options = () if draw is None else (None, draw)
        weigh = lambda m, options=options: m.log_weight_terms(jax.random.key(0), x, *options)
        assert weigh(model).rates.shape == (2,)
        value, gradient = jax.jit(jax.value_and_grad(lambda m, w=weigh: w(m).log_weight))(model)
        assert jnp.isfinite(value)
        for leaf in jax.tree.leaves(nnx.state(gradient, nnx.Param)):
            assert jnp.all(jnp.isfinite(leaf))
            assert jnp.any(leaf != 0)
    assert model.sample(jax.random.key(1)).shape == (2,)


class Wide:
    """A noise of the wrong shape."""

    def sample_and_log_prob(self, key, cond=None):
        return jnp.zeros(3), jnp.zeros(())


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="UnitNoise cannot be the density"):
        Dequantized(type("UnitNoise", (), {})())
    with pytest.raises(TypeError, match="cannot be the posterior"):
        Dequantized(UnitDensity(), UnitDensity())
    with pytest.raises(ValueError, match="num_levels must be at least 2, got 1"):
        Dequantized(UnitDensity(), num_levels=1)
    part = Dequantized(UnitDensity(), Wide())
    with pytest.raises(ValueError, match=r"shape \(2,\) must have its shape, got \(3,\)"):
        part.log_weight(jax.random.key(0), jnp.zeros(2))
