"""A deep Boltzmann machine of 6, 5 and 4 units against sums over all its states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from genmix import objectives
from genmix.families.energy import restricted_boltzmann as rbm
from genmix.families.energy.deep_boltzmann import DeepBoltzmann, composed
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.mcmc import kernel
from genmix.training import Player, compile_rounds, layerwise, start

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
    bound = lambda k: jax.jit(jax.vmap(lambda v: model.bound(v, k)))(v)
    bounds = jnp.stack([bound(k) for k in (1, 2, 40)])
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
    moved = jax.vmap(lambda key, x: kernel.run(key, model.chain_kernel(), x, 3).position)
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
    term = objectives.mean_field_contrastive_divergence(chains, 30, mean_field_steps=20)
    loss = lambda model: term(model, jax.random.key(4), x, term.init(model))[0]
    got, expected = jax.jit(jax.grad(loss))(model), exact_gradient(model, x, 20)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, -b, atol=5 * 0.5 / np.sqrt(n))
    assert max(np.max(np.abs(b)) for b in jax.tree.leaves(expected)) > 0.1


DATA = jnp.array([3, 27, 50, 62])


def likelihood(model):
    joint = log_joint(model)
    log_prob = jax.nn.logsumexp(joint, axis=1) - jax.nn.logsumexp(joint)
    return log_prob[DATA].mean()


def trained(model, term, num_rounds, transform=None, seed=5):
    x = jnp.repeat(states(6)[DATA], 16, axis=0)
    rate = optax.linear_schedule(0.02, 0.0, num_rounds)
    player = Player(loss=term, optimizer=optax.adam(rate))
    program = compile_rounds([player], batch_size=64, num_rounds=num_rounds, transform=transform)
    return program(start(jax.random.key(seed), model, [player]), x)[0].model


def jointly(model, num_rounds):
    chains = tuple(jnp.zeros((64, size)) for size in SIZES)
    return trained(
        model,
        objectives.mean_field_contrastive_divergence(chains, 5, mean_field_steps=10),
        num_rounds,
    )


@pytest.mark.slow
def test_training_raises_the_likelihood():
    model = DeepBoltzmann(SIZES, rngs=nnx.Rngs(0))
    assert likelihood(model) < -4.0
    assert likelihood(jointly(model, 1500)) > -np.log(4) - 0.6


@pytest.mark.slow
def test_training_raises_the_likelihood_of_a_start_by_layers():
    """Machines with two copies of v and of h2, then all layers together."""
    first = RestrictedBoltzmann(6, 5, rngs=nnx.Rngs(0))
    second = RestrictedBoltzmann(5, 4, rngs=nnx.Rngs(1))
    unknowing = likelihood(composed([first, second]))
    term = objectives.contrastive_divergence(5).of(lambda m: m.copied(visible=2))
    first = trained(first, term, 300, layerwise.twice())
    term = objectives.contrastive_divergence(5).of(lambda m: m.copied(hidden=2))
    upward = layerwise.upward([first.copied(visible=2)], layerwise.twice())
    second = trained(second, term, 300, upward)
    model = composed([first, second])
    assert likelihood(model) > unknowing + 1.5
    after = likelihood(jointly(model, 1000))
    assert after > likelihood(model) + 0.2


def restricted_machine(num_visible, num_hidden, seed):
    model = RestrictedBoltzmann(num_visible, num_hidden, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(seed)
    for parameter in (model.weights, model.visible_bias, model.hidden_bias):
        parameter[...] = jnp.asarray(rng.normal(size=parameter[...].shape), jnp.float32)
    return model


def test_a_deep_machine_is_composed_as_salakhutdinov_and_hinton_do():
    """Fields of inner layers are the means of what the machines on both sides give them.

    Below the first has the field 2 v W + c upwards, above the last 2 W h + b downwards.
    """
    first, middle, last = (
        restricted_machine(v, h, i) for i, (v, h) in enumerate(itertools.pairwise((4, 3, 2, 3)))
    )
    rng = np.random.default_rng(4)
    layers = tuple(jnp.asarray(rng.integers(0, 2, n), jnp.float32) for n in (4, 3, 2, 3))
    v, h1, h2, h3 = layers
    of_first = 2 * v @ first.weights[...] + first.hidden_bias[...]
    of_last = 2 * last.weights[...] @ h3 + last.visible_bias[...]
    pair = lambda x: jnp.concatenate([x, x])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    close(first.copied(visible=2).hidden_field(pair(v)), of_first)
    close(first.copied(visible=2).visible_field(h1), pair(first.visible_field(h1)))
    close(last.copied(hidden=2).visible_field(pair(h3)), of_last)
    close(last.copied(hidden=2).hidden_field(h2), pair(last.hidden_field(h2)))

    deep = composed([first, middle, last])
    close(deep.field(layers, 0), first.visible_field(h1))
    close(deep.field(layers, 1), (of_first + middle.visible_field(h2)) / 2)
    close(deep.field(layers, 2), (middle.hidden_field(h1) + of_last) / 2)
    close(deep.field(layers, 3), last.hidden_field(h2))
    two = composed([first, restricted_machine(3, 2, 5)])
    assert [b[...].size for b in two.biases] == [4, 3, 2]

    data = layerwise.twice(lambda key, x: 1 - x)(jax.random.key(0), v[None])
    close(data[0], pair(1 - v))


def test_refusals():
    with pytest.raises(ValueError, match=r"three layers or more, .* got \(4, 3\)"):
        DeepBoltzmann((4, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"at least 1 each, got \(4, 0, 2\)"):
        DeepBoltzmann((4, 0, 2), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(5,\), \(4,\)\], got \[\(6,\), \(5,\)\]"):
        machine().log_unnormalized((jnp.zeros(6), jnp.zeros(5)))
    with pytest.raises(
        ValueError, match=r"got hidden \[5, 4\] and, above the first, visible \[6\]"
    ):
        composed([RestrictedBoltzmann(6, n, rngs=nnx.Rngs(0)) for n in (5, 4)])
    chains = tuple(jnp.zeros((2, size)) for size in SIZES)
    with pytest.raises(ValueError, match="mean_field_steps must be at least 1, got 0"):
        objectives.mean_field_contrastive_divergence(chains, 1, mean_field_steps=0)
    term = objectives.mean_field_contrastive_divergence(chains, 1, mean_field_steps=1)
    with pytest.raises(TypeError, match="trains a DeepBoltzmann, got RestrictedBoltzmann"):
        term.init(RestrictedBoltzmann(6, 5, rngs=nnx.Rngs(0)))
