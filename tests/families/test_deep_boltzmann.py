"""A deep Boltzmann machine of 6, 5 and 4 units against sums over all its states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from genmix.families import chain
from genmix.families import restricted_boltzmann as rbm
from genmix.families.deep_boltzmann import DeepBoltzmann
from genmix.families.restricted_boltzmann import RestrictedBoltzmann
from genmix.training import Player, compile_rounds, mean_field, start

SIZES = (6, 5, 4)


def states(n):
    return jnp.asarray(list(itertools.product([0.0, 1.0], repeat=n)))


def machine(sizes=SIZES, scale=0.7, seed=0):
    model = DeepBoltzmann(sizes, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(seed)
    for parameter in (*model.weights, *model.biases):
        parameter[...] = jnp.asarray(scale * rng.normal(size=parameter[...].shape))
    return model


def split(x, sizes=SIZES):
    return tuple(jnp.split(x, np.cumsum(sizes)[:-1]))


@jax.jit
def log_joint(model):
    """Minus the energies of all states, [2^6, 2^5 * 2^4]."""
    everything = states(sum(SIZES))
    values = jax.vmap(lambda x: model.log_unnormalized(split(x)))(everything)
    return values.reshape(2 ** SIZES[0], -1)


def test_normalizer_bound_and_weights_agree_with_enumeration():
    """Estimates within 5 of their standard errors: false alarm below 1e-4."""
    model = machine()
    joint = log_joint(model)
    log_z = jax.nn.logsumexp(joint)
    restricted = model.restricted()
    np.testing.assert_allclose(jax.jit(rbm.log_partition)(restricted), log_z, rtol=1e-5)

    schedule = rbm.salakhutdinov_schedule(100)
    path = lambda key: rbm.log_partition_ais(key, restricted, jnp.full(10, 0.5), schedule)
    estimates = jax.jit(jax.vmap(path))(jax.random.split(jax.random.key(0), 500))
    ratios = np.exp(np.asarray(estimates - log_z, np.float64))
    error = ratios.std() / np.sqrt(500)
    assert error < 0.1
    assert abs(ratios.mean() - 1) < 5 * error

    v, exact = states(6), jax.nn.logsumexp(joint, axis=1)
    bounds = jnp.stack([jax.vmap(lambda v, k=k: model.bound(v, k))(v) for k in (1, 2, 40)])
    assert np.all(bounds <= exact[None] + 1e-4)
    assert np.all(np.diff(bounds, axis=0) >= -1e-4)
    assert 0.05 < np.mean(exact - bounds[-1]) < 1

    weight = jax.vmap(lambda key, v: model.log_unnormalized_weight(key, v, 40), (0, None))
    keys = jax.random.split(jax.random.key(1), (64, 4000))
    weights = np.asarray(jax.jit(jax.vmap(weight))(keys, v), np.float64)
    ratios = np.exp(weights - np.asarray(exact)[:, None])
    error = np.std(ratios, axis=1) / np.sqrt(4000)
    assert np.all(np.abs(np.mean(ratios, axis=1) - 1) < 5 * error)
    assert np.all(np.mean(weights, axis=1) > bounds[-1] - 0.05)


def test_four_layers_are_one_restricted_machine():
    """Summed over either half, the restricted machine has the energies of the deep one."""
    model, sizes = machine((3, 2, 3, 2)), (3, 2, 3, 2)
    restricted = model.restricted()
    x = states(10)
    values = jax.jit(jax.vmap(lambda x: model.log_unnormalized(split(x, sizes))))(x)
    log_z = jax.jit(rbm.log_partition)(restricted)
    np.testing.assert_allclose(log_z, jax.nn.logsumexp(values), rtol=1e-5)
    v, h1, h2, h3 = split(x[357], sizes)
    field = jnp.concatenate([model.field((v, h1, h2, h3), l) for l in (1, 3)])
    got = restricted.hidden_field(jnp.concatenate([v, h2]))
    np.testing.assert_allclose(got, field, rtol=1e-5)


def test_the_chain_leaves_the_distribution_invariant():
    """Chi-squared of v in 20,000 exact draws after a step, 63 degrees: false alarm 1e-4.

    The parameters are large, so that a wrong conditional of any layer would show in v.
    """
    model, n = machine(scale=1.0), 20_000
    joint = np.asarray(log_joint(model), np.float64)
    probabilities = np.exp(joint - joint.max()) / np.sum(np.exp(joint - joint.max()))
    rng = np.random.default_rng(2)
    index = rng.choice(joint.size, size=n, p=probabilities.reshape(-1))
    layers = jax.vmap(split)(states(sum(SIZES))[index])
    keys = jax.random.split(jax.random.key(2), n)
    moved = jax.vmap(lambda key, x: chain.end(key, model.transition, x, 3))
    after = jax.jit(moved)(keys, layers)
    numbers = np.asarray(after[0] @ (2.0 ** jnp.arange(6)[::-1]), int)
    expected = n * probabilities.sum(axis=1)
    common = expected > 5
    observed = np.bincount(numbers, minlength=64)
    observed = np.append(observed[common], observed[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert statistic < stats.chi2.isf(1e-4, common.sum())
    assert all(np.any(a != b) for a, b in zip(after, layers, strict=True))


def exact_gradient(model, x, mean_field_steps):
    def value(model):
        layers = jax.vmap(lambda v: model.mean_field(v, mean_field_steps))(x)
        layers = jax.lax.stop_gradient(layers)
        log_z = jax.nn.logsumexp(log_joint(model))
        return jnp.mean(jax.vmap(model.log_unnormalized)(layers)) - log_z

    return jax.grad(value)(model)


def test_training_follows_the_gradient_of_the_bound():
    """20,000 chains of 30 steps: each entry within 5 standard errors, at most 0.5 / sqrt(20,000).

    False alarm below 1e-4 over the 65 entries.
    """
    model, n = machine(scale=0.4), 20_000
    rng = np.random.default_rng(3)
    chains = tuple(jnp.asarray(rng.integers(0, 2, (n, s)), jnp.float32) for s in SIZES)
    x = states(6)[jnp.array([3, 27, 50, 62])]
    term = mean_field.persistent(chains, 30, mean_field_steps=20)
    loss = lambda model: term(model, jax.random.key(4), x, term.init(model))[0]
    got, expected = jax.jit(jax.grad(loss))(model), exact_gradient(model, x, 20)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, -b, atol=5 * 0.5 / np.sqrt(n))
    assert max(np.max(np.abs(b)) for b in jax.tree.leaves(expected)) > 0.1


@pytest.mark.slow
def test_training_raises_the_likelihood():
    model = DeepBoltzmann(SIZES, rngs=nnx.Rngs(0))
    x = jnp.repeat(states(6)[jnp.array([3, 27, 50, 62])], 16, axis=0)
    chains = tuple(jnp.zeros((64, size)) for size in SIZES)

    def likelihood(model):
        joint = log_joint(model)
        log_prob = jax.nn.logsumexp(joint, axis=1) - jax.nn.logsumexp(joint)
        return log_prob[jnp.array([3, 27, 50, 62])].mean()

    term = mean_field.persistent(chains, 5, mean_field_steps=10)
    player = Player(loss=term, optimizer=optax.adam(optax.linear_schedule(0.02, 0.0, 1500)))
    program = compile_rounds([player], batch_size=64, num_rounds=1500)
    state, _ = program(start(jax.random.key(5), model, [player]), x)
    assert likelihood(model) < -4.0
    assert likelihood(state.model) > -np.log(4) - 0.6


def test_refusals():
    with pytest.raises(ValueError, match=r"three layers or more, .* got \(4, 3\)"):
        DeepBoltzmann((4, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"at least 1 each, got \(4, 0, 2\)"):
        DeepBoltzmann((4, 0, 2), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(5,\), \(4,\)\], got \[\(6,\), \(5,\)\]"):
        machine().log_unnormalized((jnp.zeros(6), jnp.zeros(5)))
    chains = tuple(jnp.zeros((2, size)) for size in SIZES)
    with pytest.raises(ValueError, match="mean_field_steps must be at least 1, got 0"):
        mean_field.persistent(chains, 1, mean_field_steps=0)
    term = mean_field.persistent(chains, 1, mean_field_steps=1)
    with pytest.raises(TypeError, match="trains a DeepBoltzmann, got RestrictedBoltzmann"):
        term.init(RestrictedBoltzmann(6, 5, rngs=nnx.Rngs(0)))
