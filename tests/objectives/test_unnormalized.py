"""Gradients by chains of a machine of 15 x 15 units, against the sum over all its states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.families.energy import restricted_boltzmann as rbm
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.objectives import contrastive_divergence, persistent_contrastive_divergence

UNITS = 15
STATES = (np.arange(2**UNITS)[:, None] >> np.arange(UNITS) & 1).astype(np.float32)
LARGEST = 6.0
"""Standard errors of 100 replicates, for the largest of 255 entries: false alarm 1e-5."""


@pytest.fixture(scope="module")
def machine():
    model = RestrictedBoltzmann(UNITS, UNITS, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    for parameter in (model.weights, model.visible_bias, model.hidden_bias):
        parameter[...] = jnp.asarray(0.8 * rng.normal(size=parameter[...].shape), jnp.float32)
    return model


@pytest.fixture(scope="module")
def data():
    return jnp.asarray(np.random.default_rng(1).integers(0, 2, (8, UNITS)), jnp.float32)


@pytest.fixture(scope="module")
def exact(machine, data):
    """Of the mean of log p(x), one vector."""

    def value(model):
        return jnp.mean(jax.vmap(model.log_unnormalized)(data)) - rbm.log_partition(model)

    return np.asarray(flat(jax.jit(jax.grad(value))(machine)), np.float64)


def flat(gradient):
    return jnp.concatenate([jnp.ravel(g) for g in jax.tree.leaves(gradient)])


def replicates(term, model, batches, num_steps=1, thrown_away=0):
    """Of the gradient that a term ascends, averaged over the steps of unmoved parameters."""

    def one(key, batch):
        def step(carry, key):
            loss = lambda model: term(model, key, batch, carry)
            gradient, (_, carry) = jax.grad(loss, has_aux=True)(model)
            return carry, -flat(gradient)

        _, gradients = jax.lax.scan(step, term.init(model), jax.random.split(key, num_steps))
        return jnp.mean(gradients[thrown_away:], axis=0)

    keys = jax.random.split(jax.random.key(2), len(batches))
    each = jax.jit(lambda keys, batches: jax.lax.map(lambda inputs: one(*inputs), (keys, batches)))
    return np.asarray(each(keys, batches), np.float64)


def z_scores(gradients, expected):
    error = gradients.std(axis=0, ddof=1) / np.sqrt(len(gradients))
    return (gradients.mean(axis=0) - expected) / error


def test_the_bias_of_short_chains_falls_with_their_length(machine, data, exact):
    """CD-4 is less than a tenth as far off as CD-1, and CD-16 within its error."""
    batches = jnp.tile(data, (100, 25, 1))
    gradients = [replicates(contrastive_divergence(k), machine, batches) for k in (1, 4, 16)]
    bias = [np.linalg.norm(g.mean(axis=0) - exact) for g in gradients[:2]]
    largest = [np.max(np.abs(z_scores(g, exact))) for g in gradients]
    assert bias[1] < bias[0] / 10
    assert largest[1] > LARGEST > largest[2]


def test_short_chains_from_exact_draws_have_no_bias(machine):
    """The gradient is then zero on average, after one step already."""
    log_prob = np.asarray(jax.vmap(machine.log_unnormalized)(STATES), np.float64)
    share = np.exp(log_prob - log_prob.max())
    draws = np.random.default_rng(3).choice(share.size, (100, 200), p=share / share.sum())
    gradients = replicates(contrastive_divergence(1), machine, jnp.asarray(STATES[draws]))
    assert np.max(np.abs(z_scores(gradients, 0.0))) < LARGEST


def test_long_persistent_chains_have_no_bias(machine, data, exact):
    """Ten chains of one step at a time, 300 times; the first 50 are thrown away."""
    term = persistent_contrastive_divergence(jnp.zeros((10, UNITS)), 1)
    gradients = replicates(term, machine, jnp.tile(data, (100, 1, 1)), 300, thrown_away=50)
    assert np.max(np.abs(z_scores(gradients, exact))) < LARGEST
