"""A finite latent summed over exactly, by enumeration and inside other models."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import evaluation
from genmix.bounds.estimators import reparameterized, sticking_the_landing
from genmix.densities import normal
from genmix.families import LatentVariableModel, OneHot, StandardNormal, Summed, weigh
from tests import linear_gaussian
from tests.families.posteriors.targets import Table

LOGITS = jnp.array([0.3, -0.5, 1.0])
LOCS = jnp.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]])
X = jnp.array([0.4, 0.2])


class Around(nnx.Module):
    """N(loc of class y, 1)."""

    def log_prob(self, x, cond: Any = None):
        return jnp.sum(normal.log_prob(x, LOCS[cond], 1.0))

    def sample(self, key, cond: Any = None):
        return normal.sample(key, LOCS[cond], jnp.ones(2))


def test_the_sum_over_classes_is_exact():
    model = Summed(prior=Table(LOGITS), part=Around())
    log_joint = np.log(np.exp(LOGITS) / np.exp(LOGITS).sum()) + [
        float(Around().log_prob(X, y)) for y in range(3)
    ]
    exact = np.logaddexp.reduce(log_joint)
    np.testing.assert_allclose(model.log_weight(jax.random.key(0), X), exact, rtol=1e-6)
    np.testing.assert_allclose(
        model.log_posterior(jax.random.key(0), X), log_joint - exact, rtol=1e-5
    )
    got = evaluation.log_likelihood(jax.random.key(0), model, X[None], num_particles=1)
    np.testing.assert_allclose(got.log_px, exact, rtol=1e-6)
    draws = jax.vmap(model.sample)(jax.random.split(jax.random.key(1), 4_000))
    mean = jax.nn.softmax(LOGITS) @ LOCS
    assert jnp.all(jnp.abs(jnp.mean(draws, axis=0) - mean) < 5 * jnp.std(draws, axis=0) / 63)


def test_one_hot_classes_have_a_finite_support():
    prior = OneHot(lambda _: LOGITS, 3)
    classes, log_p = prior.support()
    np.testing.assert_allclose(log_p, jax.vmap(prior.log_prob)(classes), rtol=1e-6)

    class OfClass(nnx.Module):
        def log_prob(self, x, cond: Any = None):
            return Around().log_prob(x, jnp.argmax(cond))

    same = Summed(prior=Table(LOGITS), part=Around()).log_weight(jax.random.key(0), X)
    got = Summed(prior=prior, part=OfClass()).log_weight(jax.random.key(1), X)
    np.testing.assert_allclose(got, same, rtol=1e-6)


class Given(nnx.Module):
    """A likelihood or posterior of the inner model, shifted by the class of the condition."""

    def __init__(self, part):
        self.part = part

    def log_prob(self, x, cond: Any = None):
        z, y = cond
        return self.part.log_prob(x - 0.3 * y, z)

    def sample_and_log_prob(self, key, cond: Any = None):
        x, y = cond
        return self.part.sample_and_log_prob(key, x - 0.3 * y)


def test_a_model_with_latents_is_summed_without_bias_and_its_gradient_is_plain():
    """Mean weight within 4 standard errors: false alarm 6e-5."""
    inner = LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=Given(linear_gaussian.DECODER),
        posterior=Given(linear_gaussian.ENCODER),
    )
    model = Summed(prior=Table(LOGITS), part=inner)
    x = jnp.asarray(linear_gaussian.X, jnp.float32)
    log_weights = jax.jit(jax.vmap(lambda key: model.log_weight(key, x)))(
        jax.random.split(jax.random.key(0), 40_000)
    )
    prior = np.asarray(jax.nn.softmax(LOGITS), float)
    each = [linear_gaussian.exact_log_prob(1, linear_gaussian.X - 0.3 * y) for y in range(3)]
    ratio = np.exp(np.asarray(log_weights, float)) / np.sum(prior * np.exp(each))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 200
    one = lambda model, draw: weigh.terms(model, jax.random.key(1), x, None, draw).log_weight
    plain, sticking = (
        jax.grad(one)(model, draw) for draw in (reparameterized.draw, sticking_the_landing.draw)
    )
    assert jnp.any(jax.tree.leaves(plain.part)[0] != 0)
    jax.tree.map(np.testing.assert_array_equal, plain, sticking)


def test_what_is_impossible_in_every_class_has_no_gradient():
    class Nowhere(nnx.Module):
        def log_prob(self, x, cond: Any = None):
            return jnp.where(jnp.sum(x) > 100, jnp.sum(x), -jnp.inf)

    model = Summed(prior=Table(LOGITS), part=Nowhere())
    value, slope = jax.value_and_grad(lambda m: m.log_weight(jax.random.key(0), X))(model)
    assert value == -jnp.inf
    assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(slope))


def test_refusals():
    with pytest.raises(TypeError, match=r"StandardNormal cannot be summed over: it has no supp"):
        Summed(prior=StandardNormal(2), part=Around())
    network: Any = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="Linear cannot be the part of a sum: it has no density"):
        Summed(prior=Table(LOGITS), part=network)
