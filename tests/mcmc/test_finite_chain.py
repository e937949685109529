"""Finite chains against closed forms, and the matrices of the kernels against detailed balance."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.mcmc import (
    binary_gibbs,
    discrete_gibbs,
    finite_chain,
    independent,
    metropolis_hastings,
)
from genmix.mcmc.engine.noise import Noise

RNG = np.random.default_rng(0)
TARGETS = {2: np.array([0.3, 0.7]), 5: np.array([0.05, 0.3, 0.1, 0.35, 0.2])}


def stochastic(num):
    matrix = RNG.uniform(0.1, 1, size=(num, num))
    return matrix / np.sum(matrix, axis=1, keepdims=True)


def two_states(p, q):
    return np.array([[1 - p, p], [q, 1 - q]])


def cycle(num, stay):
    """A walk on a cycle that stays with the given probability."""
    step = (np.roll(np.eye(num), 1, axis=1) + np.roll(np.eye(num), -1, axis=1)) / 2
    return stay * np.eye(num) + (1 - stay) * step


@pytest.mark.parametrize(("p", "q"), [(0.2, 0.5), (0.9, 0.8), (1e-9, 1e-7)])
def test_two_states_have_closed_forms(p, q):
    P = two_states(p, q)
    np.testing.assert_allclose(finite_chain.stationary(P), [q / (p + q), p / (p + q)], rtol=1e-14)
    np.testing.assert_allclose(finite_chain.spectral_gap(P), 1 - abs(1 - p - q), atol=1e-14)
    assert finite_chain.is_irreducible(P)
    assert finite_chain.period(P) == 1
    assert finite_chain.detailed_balance_error(P, [q, p]) < 1e-16
    # total variation after t steps: max(pi) |1 - p - q|^t
    if p > 1e-3:
        pi = max(p, q) / (p + q)
        times = np.arange(1, 50)
        expected = times[pi * abs(1 - p - q) ** times <= 0.01][0]
        assert finite_chain.mixing_time(P, distance=0.01) == expected


@pytest.mark.parametrize("num", [3, 6, 7])
def test_walks_on_a_cycle_have_closed_forms(num):
    eigenvalues = np.abs(0.5 + 0.5 * np.cos(2 * np.pi * np.arange(num) / num))
    P = cycle(num, 0.5)
    np.testing.assert_allclose(finite_chain.stationary(P), np.full(num, 1 / num), rtol=1e-13)
    expected = 1 - np.sort(eigenvalues)[-2]
    np.testing.assert_allclose(finite_chain.spectral_gap(P), expected, atol=1e-12)
    assert finite_chain.period(cycle(num, 0.0)) == (2 if num % 2 == 0 else 1)
    assert finite_chain.period(np.roll(np.eye(num), 1, axis=1)) == num
    assert finite_chain.spectral_gap(np.roll(np.eye(num), 1, axis=1)) < 1e-12


def test_mixing_time_is_the_first_time_near_enough():
    P = cycle(9, 0.3)
    pi = finite_chain.stationary(P)
    far = lambda t: np.max(np.sum(np.abs(np.linalg.matrix_power(P, t) - pi), axis=1)) / 2
    for distance in (0.6, 0.25, 0.1, 1e-4):
        time = finite_chain.mixing_time(P, distance=distance)
        assert far(time) <= distance < far(time - 1)


def test_transient_states_have_no_stationary_probability():
    P = np.array([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.0, 0.4, 0.6]])
    np.testing.assert_allclose(finite_chain.stationary(P), [0, 1 / 3, 2 / 3], rtol=1e-14)
    assert not finite_chain.is_irreducible(P)


def test_two_closed_classes_are_refused():
    with pytest.raises(ValueError, match="several stationary distributions"):
        finite_chain.stationary(np.eye(2))
    with pytest.raises(ValueError, match="must be irreducible"):
        finite_chain.period(np.eye(2))
    with pytest.raises(ValueError, match=r"must be aperiodic to mix, its period is 2"):
        finite_chain.mixing_time([[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0.5, 0.5]], r"square matrix, got shape \[1, 2\]"),
        ([[1.5, -0.5], [0.5, 0.5]], "no negative entry"),
        ([[np.nan, 0.5], [0.5, 0.5]], "no NaN"),
        ([[0.5, 0.5], [0.5, 0.6]], r"row 1 of matrix must sum to 1, got 1.1"),
    ],
)
def test_what_is_no_stochastic_matrix_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        finite_chain.stationary(matrix)


@pytest.mark.parametrize("target", [[0.5], [0.5, -0.5], [0.0, 0.0], [np.inf, 1.0]])
def test_what_is_no_target_is_refused(target):
    with pytest.raises(ValueError, match="target must"):
        finite_chain.metropolis_hastings(two_states(0.5, 0.5), target)
    with pytest.raises(ValueError, match=r"distance must be between 0 and 1, got 1.5"):
        finite_chain.mixing_time(two_states(0.5, 0.5), distance=1.5)


def kernel_matrix(accepted, proposal):
    """Transition matrix from each proposal's acceptance rate."""
    P = proposal * accepted
    np.fill_diagonal(P, 0)
    return P + np.diag(1 - np.sum(P, axis=1))


def test_from_a_state_of_weight_zero_all_proposals_of_positive_weight_are_accepted():
    proposal = np.array([[0.1, 0.3, 0.2, 0.4], [0.2, 0.2, 0.5, 0.1], [0.3] * 3 + [0.1], [0.25] * 4])
    matrix = finite_chain.metropolis_hastings(proposal, [0.0, 2.0, 0.0, 1.0])
    np.testing.assert_allclose(matrix[0], [0.3, 0.3, 0.0, 0.4], rtol=1e-12)
    np.testing.assert_allclose(matrix[:, 2], [0.0, 0.0, 0.6, 0.0], rtol=1e-12)
    np.testing.assert_allclose(finite_chain.stationary(matrix), [0, 2 / 3, 0, 1 / 3], atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num", [2, 5])
def test_metropolis_hastings_has_detailed_balance(num):
    """The kernel's own acceptance rates of every proposal from every state make the matrix."""
    pi, proposal = TARGETS[num], stochastic(num)
    log_pi, log_q = jnp.log(pi), jnp.log(proposal)

    def rate(old, new):
        kernel = metropolis_hastings.build(
            lambda x: log_pi[x], lambda key, x: new, lambda new, old: log_q[old, new]
        )
        return kernel.step(jax.random.key(0), kernel.init(old))[1].acceptance_rate

    states = jnp.arange(num)
    accepted = jax.vmap(lambda old: jax.vmap(lambda new: rate(old, new))(states))(states)
    P = kernel_matrix(np.asarray(accepted), proposal)
    assert finite_chain.detailed_balance_error(P, pi) < 1e-12
    expected = finite_chain.metropolis_hastings(proposal, pi)
    np.testing.assert_allclose(P, expected, atol=1e-12)
    np.testing.assert_allclose(finite_chain.stationary(P), pi, atol=1e-12)


class Independent:
    def __init__(self, log_q, draw):
        self.log_q, self.draw = log_q, draw

    def sample(self, key):
        return self.draw

    def log_prob(self, x):
        return self.log_q[x]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num", [2, 5])
def test_independent_proposals_have_detailed_balance(num):
    pi, q = TARGETS[num], stochastic(num)[0]

    def rate(old, new):
        kernel = independent.build(lambda x: jnp.log(pi)[x], Independent(jnp.log(q), new))
        return kernel.step(jax.random.key(0), kernel.init(old))[1].acceptance_rate

    states = jnp.arange(num)
    accepted = jax.vmap(lambda old: jax.vmap(lambda new: rate(old, new))(states))(states)
    P = kernel_matrix(np.asarray(accepted), np.tile(q, (num, 1)))
    assert finite_chain.detailed_balance_error(P, pi) < 1e-12


def thresholds(value, num):
    """Where a rising step function of u in [0, 1) first exceeds k, for k < num - 1."""
    k = jnp.arange(num - 1)

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        is_above = jax.vmap(value)(middle) > k
        return jnp.where(is_above, low, middle), jnp.where(is_above, middle, high)

    bounds = jnp.zeros(num - 1), jnp.ones(num - 1)
    _, high = jax.lax.fori_loop(0, 55, halve, bounds)
    return jnp.concatenate([jnp.zeros(1), high, jnp.ones(1)])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("num", [2, 5])
def test_enumerated_gibbs_has_detailed_balance(num):
    """Two variables; each one's update, as a matrix on the num^2 states measured from the code."""
    log_pi = jnp.asarray(RNG.normal(size=(num, num)))
    pi = np.exp(np.ravel(log_pi))
    kernel = discrete_gibbs.build(lambda x: log_pi[x[0], x[1]], num)

    def rows(x, site):
        state = kernel.init(x)
        value = lambda u: kernel.update(u, site, state)[0].position[site]
        return jnp.diff(thresholds(value, num))

    states = list(itertools.product(range(num), repeat=2))
    for site in (0, 1):
        probabilities = jax.jit(jax.vmap(partial(rows, site=site)))(jnp.array(states))
        P = np.zeros((num**2, num**2))
        for (i, x), v in itertools.product(enumerate(states), range(num)):
            new = (v, x[1]) if site == 0 else (x[0], v)
            P[i, states.index(new)] = probabilities[i, v]
        assert finite_chain.detailed_balance_error(P, pi) < 1e-12
        np.testing.assert_allclose(P @ P, P, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_binary_gibbs_has_detailed_balance_in_each_variable():
    """Updates of one variable are reversible; sweeps are not, but keep the distribution."""
    upper = np.triu(RNG.normal(size=(3, 3)), 1)
    weights, bias = upper + upper.T, RNG.normal(size=3)
    states = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    logits = 0.5 * np.einsum("ni,ij,nj->n", states, weights, states) + states @ bias
    pi = np.exp(logits) / np.sum(np.exp(logits))
    kernel = binary_gibbs.build(weights, bias)
    number = lambda x: int(x @ [4, 2, 1])

    def probability(x, site):
        """That of a one: the measured length of the u that give it."""

        def value(u):
            # The variables before this one stay as they are with these uniform numbers.
            uniform = jnp.where(x == 1, 0.0, 1.0).at[site].set(u)
            state, _ = kernel.move(Noise(uniform=uniform), kernel.init(x))
            return 1 - state.position[site].astype(int)

        return thresholds(value, 2)[1]

    sweep = np.eye(8)
    for site in range(3):
        ones = jax.jit(jax.vmap(partial(probability, site=site)))(jnp.asarray(states))
        P = np.zeros((8, 8))
        for i, x in enumerate(states):
            for value, p in ((1.0, ones[i]), (0.0, 1 - ones[i])):
                new = x.copy()
                new[site] = value
                P[i, number(new)] = p
        assert finite_chain.detailed_balance_error(P, pi) < 1e-12
        sweep = sweep @ P
    np.testing.assert_allclose(pi @ sweep, pi, atol=1e-12)
    assert finite_chain.detailed_balance_error(sweep, pi) > 1e-3
