import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from genmix.densities import normal, poisson, relaxed_bernoulli
from genmix.families.energy import restricted_boltzmann as rbm
from genmix.families.energy.energy import Energy
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.mcmc import bridge, kernel
from genmix.nets import MLP
from genmix.objectives import contrastive_divergence, persistent_contrastive_divergence
from genmix.training import Player, compile_rounds, start

V, H = 4, 3
NORMAL = normal.Normal(scale=1.0)
STATES = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=V)))


def machine(num_visible=V, num_hidden=H, scale=1.0, visible: Any = None, seed=0):
    model = RestrictedBoltzmann(num_visible, num_hidden, visible=visible, rngs=nnx.Rngs(seed))
    rng = np.random.default_rng(seed)
    for parameter in (model.weights, model.visible_bias, model.hidden_bias):
        shape = parameter[...].shape
        parameter[...] = jnp.asarray(scale * rng.normal(size=shape), parameter[...].dtype)
    return model


def exact_log_probs(model):
    log_weights = jax.vmap(model.log_unnormalized)(STATES)
    return log_weights - jax.nn.logsumexp(log_weights)


@pytest.mark.usefixtures("x64")
def test_the_partition_function_is_the_sum_over_both_layers():
    model = machine()
    hidden = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=H)))
    energies = [
        v @ model.visible_bias[...] + h @ model.hidden_bias[...] + v @ model.weights[...] @ h
        for v in STATES
        for h in hidden
    ]
    expected = jax.nn.logsumexp(jnp.stack(energies))
    np.testing.assert_allclose(rbm.log_partition(model), expected, rtol=1e-12)
    of_visible = jax.nn.logsumexp(jax.vmap(model.log_unnormalized)(STATES))
    np.testing.assert_allclose(of_visible, expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_normal_units_integrate_to_the_partition_function():
    model = machine(1, H, visible=NORMAL)
    grid = jnp.linspace(-15.0, 15.0, 3001)
    density = jnp.exp(jax.vmap(model.log_unnormalized)(grid[:, None]))
    integral = jnp.sum(density) * (grid[1] - grid[0])
    np.testing.assert_allclose(jnp.log(integral), rbm.log_partition(model), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_units_of_other_records():
    """A known scale and counts, against integrals of exp(-energy) and the conditionals it gives."""
    for record, grid in (
        (normal.Normal(scale=0.5), jnp.linspace(-15.0, 15.0, 3001)),
        (poisson.Poisson(), jnp.arange(400.0)),
    ):
        model = machine(1, H, visible=record)
        density = jnp.exp(jax.vmap(model.log_unnormalized)(grid[:, None])) * (grid[1] - grid[0])
        np.testing.assert_allclose(jnp.log(jnp.sum(density)), rbm.log_partition(model), rtol=1e-9)
        h = jnp.array([1.0, 0.0, 1.0])
        field = model.visible_field(h)
        joint = jnp.exp(model.visible.log_base(grid) + grid * field)
        np.testing.assert_allclose(model.mean(h), joint @ grid / jnp.sum(joint), rtol=1e-8)
        np.testing.assert_allclose(model.visible.field_of_mean(model.mean(h)), field, rtol=1e-10)
    with pytest.raises(
        ValueError, match=r"one number each, their field, and Normal\(.* has 2: use"
    ):
        machine(2, H, visible=normal.Normal())
    with pytest.raises(TypeError, match="of no exponential family"):
        machine(2, H, visible=relaxed_bernoulli.RelaxedBernoulli(temperature=1.0))


def test_the_chain_leaves_the_distribution_invariant():
    """Chi-squared of 20,000 exact draws after a step, 15 degrees: false alarm 1e-4."""
    model, n = machine(), 20_000
    log_probs = exact_log_probs(model)
    keys = jax.random.split(jax.random.key(0), 2)
    v = STATES[jax.random.categorical(keys[0], log_probs, shape=(n,))]
    move = lambda key, v: kernel.run(key, model.chain_kernel(), v, 1).position
    moved = jax.jit(jax.vmap(move))(jax.random.split(keys[1], n), v)
    number = np.asarray(moved @ (2.0 ** jnp.arange(V)[::-1]), int)
    observed = np.bincount(number, minlength=2**V)
    expected = n * np.exp(np.asarray(log_probs, np.float64))
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert statistic < stats.chi2.isf(1e-4, 2**V - 1)
    assert np.any(moved != v)


def test_the_chain_of_normal_units_leaves_the_distribution_invariant():
    """Kolmogorov-Smirnov of 20,000 exact draws after three steps: false alarm 2e-4 at most."""
    model, n = machine(2, H, visible=NORMAL, scale=0.8), 20_000
    hidden = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=H)))
    fields = jax.vmap(model.visible_field)(hidden)
    log_weights = hidden @ model.hidden_bias[...] + 0.5 * jnp.sum(fields**2, axis=1)
    share = np.asarray(jax.nn.softmax(log_weights), np.float64)
    keys = jax.random.split(jax.random.key(0), 3)
    h = jax.random.categorical(keys[0], log_weights, shape=(n,))
    v = fields[h] + jax.random.normal(keys[1], (n, 2))
    moved = jax.vmap(lambda key, v: kernel.run(key, model.chain_kernel(), v, 3).position)
    after = np.asarray(jax.jit(moved)(jax.random.split(keys[2], n), v))
    for i in range(2):
        loc = np.asarray(fields[:, i])
        cdf = lambda x, loc=loc: stats.norm.cdf(x[:, None] - loc) @ share
        assert stats.kstest(after[:, i], cdf).pvalue > 1e-4
    assert np.ptp(np.asarray(fields[:, 1])) > 0.5


@pytest.mark.slow
def test_annealing_of_784_units():
    """Log Z of 784 x 20 units within 0.1 nats of the sum over 2^20 states, and 4 errors."""
    model = machine(784, 20, scale=0.1)
    schedule = rbm.salakhutdinov_schedule(1000)
    base_mean = jax.nn.sigmoid(model.visible_bias[...])
    estimate = jax.jit(
        lambda key: rbm.annealed_log_partition(key, model, base_mean, schedule, num_paths=100)
    )(jax.random.key(0))
    exact = jax.jit(rbm.log_partition)(model)
    assert abs(estimate.value - exact) < min(0.1, 4 * estimate.standard_error)


@pytest.mark.parametrize("visible", [None, NORMAL])
def test_annealing_finds_the_partition_function(visible):
    """The mean of 500 weights is within 5 standard errors of Z: false alarm below 1e-5."""
    model = machine(6, 4, visible=visible, scale=0.7)
    estimate = jax.jit(
        jax.vmap(
            lambda key: rbm.log_partition_ais(
                key, model, jnp.full(6, 0.4), rbm.salakhutdinov_schedule(300)
            )
        )
    )
    log_weights = estimate(jax.random.split(jax.random.key(0), 500))
    ratios = np.exp(np.asarray(log_weights - rbm.log_partition(model), np.float64))
    error = ratios.std() / np.sqrt(500)
    assert error < 0.1
    assert abs(ratios.mean() - 1) < 5 * error


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("visible", [None, NORMAL])
def test_the_path_is_that_of_machines_between_the_base_and_the_model(visible):
    """Its weights are of machines whose parameters lie between, the hidden units summed over."""
    model = machine(6, 4, visible=visible)
    path = rbm.Path(model, jnp.linspace(-1.0, 1.0, 6))
    assert isinstance(path, bridge.Path)

    def between(beta):
        middle = machine(6, 4, visible=visible)
        middle.weights[...] = beta * model.weights[...]
        middle.hidden_bias[...] = beta * model.hidden_bias[...]
        middle.visible_bias[...] = (1 - beta) * path.base_field + beta * model.visible_bias[...]
        return middle

    v = path.sample(jax.random.key(0))
    low, high = jnp.asarray(0.3), jnp.asarray(0.8)
    expected = between(high).log_unnormalized(v) - between(low).log_unnormalized(v)
    np.testing.assert_allclose(path.log_ratio(v, low, high), expected, rtol=1e-12)
    np.testing.assert_allclose(path.log_partition(), rbm.log_partition(between(0.0)), rtol=1e-12)
    end = lambda moves: kernel.run(jax.random.key(1), moves, v, 5).position
    np.testing.assert_allclose(
        end(path.kernel(high)), end(between(high).chain_kernel()), rtol=1e-12
    )


def exact_gradient(model, x):
    value = lambda model: jnp.mean(jax.vmap(model.log_unnormalized)(x)) - rbm.log_partition(model)
    return jax.grad(value)(model)


@pytest.mark.parametrize("kind", ["contrastive divergence", "persistent"])
def test_long_chains_give_the_gradient_of_the_likelihood(kind):
    """20,000 chains of 30 steps: each entry within 5 standard errors, at most 0.5 / sqrt(20,000).

    False alarm below 1e-4 over the 19 entries.
    """
    model, n = machine(scale=0.5), 20_000
    x = jnp.tile(STATES[:5], (n // 5, 1))
    term = (
        contrastive_divergence(30)
        if kind == "contrastive divergence"
        else persistent_contrastive_divergence(x, 30)
    )
    loss = lambda model: term(model, jax.random.key(1), x, term.init(model))[0]
    got, expected = jax.jit(jax.grad(loss))(model), exact_gradient(model, x)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, -b, atol=5 * 0.5 / np.sqrt(n))
        assert np.max(np.abs(b)) > 0.025


def test_chains_travel_in_the_carry_and_few_at_once_move():
    chains = jnp.zeros((8, V))
    term = persistent_contrastive_divergence(
        chains, 1, chains_at_once=3, restart=lambda key: jnp.full(V, 1.0)
    )
    player = Player(loss=term, optimizer=optax.sgd(0.1))
    state = start(jax.random.key(0), machine(), [player])
    program = compile_rounds([player], batch_size=4, num_rounds=1)
    after, metrics = program(state, STATES)
    (carry,) = jax.tree.leaves(after.carries)
    assert carry.shape == (8, V)
    assert 1 <= int(np.sum(np.any(np.asarray(carry) != 0, axis=1))) <= 3
    assert np.isfinite(metrics["contrast"]).all()


def test_what_is_no_state_has_density_zero():
    model = machine()
    assert model.log_unnormalized(jnp.array([0.0, 0.5, 1.0, 0.0])) == -jnp.inf
    assert jnp.isnan(model.log_unnormalized(jnp.array([0.0, jnp.nan, 1.0, 0.0])))


def test_refusals():
    model, key = machine(), jax.random.key(0)
    with pytest.raises(ValueError, match=r"expects one v of shape \(4,\), got \(2, 4\)"):
        model.log_unnormalized(jnp.zeros((2, V)))
    with pytest.raises(ValueError, match="num_hidden must be at least 1, got 0"):
        RestrictedBoltzmann(V, 0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"sums over 2\^23 states; up to 22 hidden units"):
        rbm.log_partition(machine(2, 23))
    with pytest.raises(ValueError, match=r"base_mean must have shape \(4,\), got \(3,\)"):
        rbm.log_partition_ais(key, model, jnp.full(3, 0.5), rbm.salakhutdinov_schedule(29))
    with pytest.raises(ValueError, match=r"base_mean of binary units must be inside \(0, 1\)"):
        rbm.log_partition_ais(key, model, jnp.ones(V), rbm.salakhutdinov_schedule(29))
    with pytest.raises(ValueError, match="num_temperatures must be at least 29, got 3"):
        rbm.salakhutdinov_schedule(3)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        contrastive_divergence(0)
    with pytest.raises(ValueError, match=r"chains_at_once must be between 1 and .* 2; got 3"):
        persistent_contrastive_divergence(jnp.zeros((2, V)), 1, chains_at_once=3)
    with pytest.raises(ValueError, match="restart_rate must be between 0 and 1, got 2"):
        persistent_contrastive_divergence(jnp.zeros((2, V)), 1, restart_rate=2.0)
    with pytest.raises(TypeError, match="Energy has no kernel of its own: pass one, such as "):
        contrastive_divergence(1).init(Energy(MLP(2, (3,), 1, rngs=nnx.Rngs(0))))
    with pytest.raises(TypeError, match="MLP has no log_unnormalized"):
        contrastive_divergence(1).init(MLP(2, (3,), 1, rngs=nnx.Rngs(0)))
