"""Each kernel leaves a skewed target exactly invariant: exact draws stay exact.

Each test starts 20,000 chains at exact draws and compares where they are some steps later with the
target, by Kolmogorov-Smirnov (or chi-square for discrete targets). Keys are fixed; over keys each
comparison alarms falsely with probability 1e-4. A kernel whose correction is broken must be found
out by the same test.
"""

import re
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix import mcmc
from genmix.mcmc import (
    binary_gibbs,
    discrete_gibbs,
    gibbs,
    hmc,
    independent,
    langevin,
    mala,
    metropolis_hastings,
    random_walk,
    tempering,
)

NUM_CHAINS = 20_000
SHAPES = np.array([2.0, 0.7])  # of the Gamma variables whose logs are the target's coordinates
COVARIANCE = np.array([[0.6, -0.3], [-0.3, 1.8]])


def make_target():
    """A new function each time, so that nothing compiled before a patch is used after it."""
    return lambda x: jnp.sum(SHAPES * x - jnp.exp(x))


def exact_draws(key):
    # log Gamma(a) = log Gamma(a + 1) + log(U) / a does not underflow
    gamma_key, uniform_key = jax.random.split(key)
    y = jnp.log(jax.random.gamma(gamma_key, SHAPES + 1, (NUM_CHAINS, 2)))
    u = jax.random.uniform(uniform_key, (NUM_CHAINS, 2), minval=1e-30)
    return y + jnp.log(u) / SHAPES[None, :]


def p_value(draws):
    tests = [stats.kstest(draws[:, i], stats.loggamma(a).cdf).pvalue for i, a in enumerate(SHAPES)]
    return min(tests)


def moved(kernel, num_steps=6, positions=exact_draws):
    chains = mcmc.start(jax.random.key(1), kernel, positions(jax.random.key(0)))
    return mcmc.advance(chains, kernel, num_steps=num_steps)


def shift(key, old):
    """An asymmetric proposal: it drifts upwards."""
    return old + 0.4 + 0.8 * jax.random.normal(key, old.shape)


def shift_log_prob(new, old):
    return -0.5 * jnp.sum(((new - old - 0.4) / 0.8) ** 2)


class Normals:
    """Independent proposals from N(-0.3, 1.7^2)."""

    def sample(self, key):
        return -0.3 + 1.7 * jax.random.normal(key, (2,))

    def log_prob(self, x):
        return -0.5 * jnp.sum(((x + 0.3) / 1.7) ** 2)


class Flat(Normals):
    def log_prob(self, x):
        return jnp.zeros(())


def build(name, target):
    match name:
        case "random_walk":
            return random_walk.build(target, 0.8)
        case "random_walk dense":
            return random_walk.build(target, 0.9, covariance=COVARIANCE)
        case "mala":
            return mala.build(target, 0.3)
        case "mala dense":
            return mala.build(target, 0.4, covariance=COVARIANCE)
        case "hmc":
            return hmc.build(target, 0.45, 3)
        case "hmc much jitter":
            return hmc.build(target, 0.45, 3, jitter=0.9)
        case "hmc one leapfrog":
            return hmc.build(target, 0.6, 1)
        case "hmc diagonal":
            return hmc.build(target, 0.5, 3, inverse_mass=np.diag(COVARIANCE))
        case "hmc dense":
            return hmc.build(target, 0.5, 3, inverse_mass=COVARIANCE)
        case "metropolis_hastings":
            return metropolis_hastings.build(target, shift, shift_log_prob)
        case "independent":
            return independent.build(target, Normals())
    raise AssertionError(name)


NAMES = [
    *("random_walk", "random_walk dense", "mala", "mala dense", "metropolis_hastings"),
    *("hmc", "hmc much jitter", "hmc one leapfrog", "hmc diagonal", "hmc dense", "independent"),
]


@pytest.mark.parametrize("name", NAMES)
def test_kernel_leaves_the_target_invariant(name):
    chains, info = moved(build(name, make_target()))
    assert 0.2 < np.mean(info["acceptance_rate"]) < 0.97
    assert abs(np.mean(info["is_accepted"]) - np.mean(info["acceptance_rate"])) < 0.01
    assert p_value(chains.state.position) > 1e-4


def always_accept(uniform, log_ratio, new, old, accept=metropolis_hastings.accept):
    return accept(uniform, jnp.zeros_like(log_ratio), new, old)


def negated(uniform, log_ratio, new, old, accept=metropolis_hastings.accept):
    return accept(uniform, -log_ratio, new, old)


@pytest.mark.parametrize("name", ["random_walk", "mala", "hmc"])
@pytest.mark.parametrize("accept", [always_accept, negated])
def test_a_broken_acceptance_is_found_out(monkeypatch, name, accept):
    monkeypatch.setattr(metropolis_hastings, "accept", accept)
    chains, _ = moved(build(name, make_target()))
    assert p_value(chains.state.position) < 1e-4


def test_a_jitter_that_knows_where_the_chain_is_is_found_out(monkeypatch):
    """Step sizes may be random, but not follow the position: here small ones where it is low."""

    def move(self, noise, state, over):
        size = self.step_size * jax.nn.sigmoid(state.position[0])
        new, momentum = self.trajectory(state, noise.normal, size)
        return hmc._accept(noise.normal, noise.uniform, state, new, momentum)

    monkeypatch.setattr(hmc.Kernel, "_move", move)
    monkeypatch.delattr(hmc.Kernel, "move_all")
    chains, _ = moved(hmc.build(make_target(), 0.9, 3))
    assert p_value(chains.state.position) < 1e-4


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [("mala", mala, "_half_square"), ("hmc", hmc, "_kinetic"), ("hmc dense", hmc, "_kinetic")],
)
def test_a_ratio_without_the_proposal_is_found_out(monkeypatch, name, module, function):
    monkeypatch.setattr(module, function, lambda x: 0.0)
    chains, _ = moved(build(name, make_target()))
    assert p_value(chains.state.position) < 1e-4


@pytest.mark.parametrize(
    "broken",
    [
        lambda: metropolis_hastings.build(make_target(), shift),  # said to be symmetric
        lambda: metropolis_hastings.build(
            make_target(), shift, lambda new, old: shift_log_prob(old, new)
        ),
        lambda: independent.build(make_target(), Flat()),
        lambda: langevin.build(make_target(), 0.3),
    ],
    ids=["symmetric", "swapped", "independent without q", "langevin"],
)
def test_a_wrong_proposal_density_is_found_out(broken):
    chains, _ = moved(broken())
    assert p_value(chains.state.position) < 1e-4


def test_langevin_is_right_for_small_steps():
    """Its bias is O(step_size): after a time of 0.3, five hundredths of the step tested above."""
    chains, info = moved(langevin.build(make_target(), 0.006), num_steps=50)
    assert p_value(chains.state.position) > 1e-4
    assert np.mean(info["is_accepted"]) == 1


def replicas(key):
    """Exact draws of the bridges between two normals, the first N(0, 3^2), the last N(1, 1)."""
    betas = np.array([0.0, 0.4, 1.0])
    precision = (1 - betas) / 9 + betas
    noise = jax.random.normal(key, (NUM_CHAINS, 3))
    return (betas / precision)[None, :] + noise / np.sqrt(precision)[None, :]


def tempered(log_target):
    return tempering.build(
        lambda x: -0.5 * (x / 3) ** 2,
        log_target,
        lambda logdensity_fn, beta: random_walk.build(logdensity_fn, 2.0 - beta),
        [0.0, 0.4, 1.0],
    )


def replica_p_value(position):
    last = stats.kstest(position[:, 2], stats.norm(1, 1).cdf).pvalue
    first = stats.kstest(position[:, 0], stats.norm(0, 3).cdf).pvalue
    return min(last, first)


def test_tempering_leaves_every_temperature_invariant():
    kernel = tempered(lambda x: -0.5 * (x - 1) ** 2)
    chains, info = moved(kernel, positions=replicas)
    assert 0.3 < np.mean(info["swap_rate"]) < 0.95
    assert replica_p_value(chains.state.position) > 1e-4


def test_exchanges_without_correction_are_found_out(monkeypatch):
    monkeypatch.setattr(tempering.bridge, "log_ratio", lambda base, end, x: jnp.zeros(()))
    chains, _ = moved(tempered(lambda x: -0.5 * (x - 1) ** 2), positions=replicas)
    assert replica_p_value(chains.state.position) < 1e-4


def test_exchanges_are_as_likely_as_detailed_balance_asks():
    """Replicas that only exchange, against their joint density; 5 standard errors: 1e-6."""
    log_base, log_target = (lambda x: -0.5 * (x / 3) ** 2), (lambda x: -0.5 * (x - 1) ** 2)
    no, one = jnp.zeros((), bool), jnp.ones(())
    stays: Any = types.SimpleNamespace(
        init=lambda x: types.SimpleNamespace(position=x),
        step=lambda _, state: (state, tempering.Info(one, one, no, no)),
    )
    betas = np.array([0.3, 1.0])
    kernel = tempering.build(log_base, log_target, lambda f, beta: stays, betas)
    log_joint = lambda x: np.sum((1 - betas) * log_base(x) + betas * log_target(x))
    x = np.array([-0.2, 1.1])
    expected = np.exp(log_joint(x[::-1]) - log_joint(x))
    assert 0.3 < expected < 0.7
    step = jax.jit(jax.vmap(lambda key: kernel.step(key, kernel.init(jnp.asarray(x)))))
    state, info = step(jax.random.split(jax.random.key(0), 40_000))
    np.testing.assert_allclose(info.swap_rate, expected, rtol=1e-5)
    share = np.mean(np.all(np.isclose(state.position, x[::-1]), axis=1))
    assert abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / 40_000)
    certain = kernel.step(jax.random.key(1), kernel.init(jnp.asarray(x[::-1])))
    np.testing.assert_allclose(certain[0].position, x, rtol=1e-6)


TABLE = np.array([[0.05, 0.25, 0.1], [0.3, 0.1, 0.2]])  # p(a, b)


def pairs(key):
    chosen = jax.random.categorical(key, jnp.log(TABLE.ravel()), shape=(NUM_CHAINS,))
    return {"a": chosen // 3, "b": chosen % 3}


def blocks(table):
    log_table = jnp.log(table)
    draw = lambda key, logits: jax.random.categorical(key, logits)
    return [
        lambda key, x: {"a": draw(key, log_table[:, x["b"]]), "b": x["b"]},
        lambda key, x: {"a": x["a"], "b": draw(key, log_table[x["a"]])},
    ]


def chi_square(position):
    counts = np.bincount(3 * np.asarray(position["a"]) + np.asarray(position["b"]), minlength=6)
    return stats.chisquare(counts, NUM_CHAINS * TABLE.ravel()).pvalue


@pytest.mark.parametrize("scan", ["systematic", "random"])
def test_gibbs_by_blocks_leaves_a_table_invariant(scan):
    chains, info = moved(gibbs.build(blocks(TABLE), scan=scan), positions=pairs)
    assert chi_square(chains.state.position) > 1e-4
    assert np.all(info["is_divergent"] == 0)
    wrong = gibbs.build(blocks(TABLE + 0.02), scan=scan)
    assert chi_square(moved(wrong, positions=pairs)[0].state.position) < 1e-4


WEIGHTS = np.array([[0, 0, 0.8, -1.1], [0, 0, -0.5, 0.4], [0.8, -0.5, 0, 0], [-1.1, 0.4, 0, 0]])
BIAS = np.array([0.3, -0.2, 0.5, 0.1])
STATES = np.array([[int(bit) for bit in f"{i:04b}"] for i in range(16)], float)
LOGITS = 0.5 * np.einsum("ni,ij,nj->n", STATES, WEIGHTS, STATES) + STATES @ BIAS
PROBABILITIES = np.exp(LOGITS) / np.sum(np.exp(LOGITS))


def binary_draws(key):
    chosen = jax.random.categorical(key, jnp.asarray(LOGITS), shape=(NUM_CHAINS,))
    return jnp.asarray(STATES, jnp.float32)[chosen]


@pytest.mark.parametrize(
    ("kernel", "is_right"),
    [
        (lambda: binary_gibbs.build(WEIGHTS, BIAS), True),
        (lambda: binary_gibbs.build(WEIGHTS, BIAS, blocks=[[0, 1], [2, 3]]), True),
        (lambda: binary_gibbs.build(1.2 * WEIGHTS, BIAS), False),
        (
            lambda: discrete_gibbs.build(lambda x: 0.5 * x @ WEIGHTS @ x + BIAS @ x, 2),
            True,
        ),
    ],
    ids=["sites", "layers", "wrong weights", "enumerated"],
)
def test_gibbs_of_a_binary_model_leaves_the_enumerated_one_invariant(kernel, is_right):
    chains, _ = moved(kernel(), positions=binary_draws)
    number = np.asarray(chains.state.position) @ [8, 4, 2, 1]
    counts = np.bincount(number.astype(int), minlength=16)
    assert (stats.chisquare(counts, NUM_CHAINS * PROBABILITIES).pvalue > 1e-4) == is_right


def test_mala_is_hmc_with_one_leapfrog_step():
    """With leapfrog step e, Langevin step e^2 / 2: the same moves from the same noise."""
    target = make_target()
    start = exact_draws(jax.random.key(3))[:64]
    ends = []
    for kernel in (hmc.build(target, 0.6, 1, jitter=0.0), mala.build(target, 0.18)):
        chains = mcmc.start(jax.random.key(4), kernel, start)
        ends.append(mcmc.advance(chains, kernel, num_steps=5)[0].state.position)
    np.testing.assert_allclose(*ends, rtol=2e-5, atol=2e-5)


def test_hmc_trajectories_come_back():
    """Reversible: the end with its momentum reversed leads to the start."""
    kernel = hmc.build(make_target(), 0.3, 7, inverse_mass=COVARIANCE)
    state = kernel.init(jnp.array([0.3, -1.0]))
    end, momentum = kernel.trajectory(state, jnp.array([0.5, -0.2]), kernel.step_size)
    back, momentum = kernel.trajectory(end, -momentum, kernel.step_size)
    np.testing.assert_allclose(back.position, state.position, atol=1e-5)
    np.testing.assert_allclose(momentum, [-0.5, 0.2], atol=1e-5)


def test_hmc_evaluates_only_gradients_inside_the_trajectory():
    """The value of this target needs a cosine, its gradient does not; L leapfrogs take just one."""

    @jax.custom_vjp
    def bowl(x):
        return jnp.cos(jnp.sum(x))

    bowl.defvjp(lambda x: (jnp.cos(jnp.sum(x)), x), lambda x, g: (-g * x,))
    kernel = hmc.build(bowl, 0.1, 5)
    state = jax.vmap(kernel.init)(jnp.ones((3, 2)))
    step = jax.jit(jax.vmap(kernel.step))
    text = step.lower(jax.random.split(jax.random.key(0), 3), state).compile().as_text()
    assert text is not None
    computations = {part.split(" ")[0]: part for part in text.split("\n\n")}
    loops = re.findall(r"body=(%\S+?)[,\s]", text)
    called = lambda name: [name, *(n for c in callees(computations[name]) for n in called(c))]
    assert loops
    assert " cosine(" in text
    for loop in loops:
        assert not any(" cosine(" in computations[name] for name in called(loop))


def callees(computation):
    return re.findall(r"(?:calls|to_apply)=(%\S+?)[,\s]", computation)
