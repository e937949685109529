import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.densities import exponential_families, moment_matching

pytestmark = pytest.mark.usefixtures("x64")
STEPS = 400


@pytest.mark.parametrize(
    ("family", "mean", "start", "size"),
    [
        (exponential_families.bernoulli, np.array([0.2, 0.9]), np.zeros(2), 4.0),
        (exponential_families.poisson, np.array([0.5, 3.0]), np.zeros(2), 0.3),
        (exponential_families.exponential, np.array(0.8), np.array(-1.0), 0.5),
        (exponential_families.normal, (0.3, 0.5), (0.0, -0.5), 0.4),
        (exponential_families.gamma, (-0.6, 1.0), (0.5, -1.5), 0.3),
    ],
    ids=["bernoulli", "poisson", "exponential", "normal", "gamma"],
)
def test_exact_gradients_find_the_closed_form(family, mean, start, size):
    expectation = moment_matching.exact(family)
    sizes = jnp.full(STEPS, size)
    run = jax.jit(lambda key, mean: moment_matching.match(key, mean, start, expectation, sizes))
    mean, start = (jax.tree.map(lambda leaf: jnp.asarray(leaf, float), v) for v in (mean, start))
    result = run(jax.random.key(0), mean)
    expected = family.natural_from_mean(mean)
    pairs = zip(jax.tree.leaves(result.natural), jax.tree.leaves(expected), strict=True)
    for got, theta in pairs:
        np.testing.assert_allclose(got, theta, atol=1e-6)
    assert result.gap[-1] < 1e-6 < result.gap[0]


def test_monte_carlo_gradients_come_near():
    """The average of 2,000 steps with 10 draws each, within 5 of its asymptotic standard errors.

    Those are sqrt(I^-1 / (10 * 1,000)), Polyak & Juditsky's; false alarm below 1e-5, fixed key.
    """
    family, mean = exponential_families.bernoulli, jnp.array([0.2, 0.6])
    sizes = 4.0 / jnp.sqrt(1.0 + jnp.arange(2000))
    expectation = moment_matching.monte_carlo(family, 10)
    run = jax.jit(lambda key: moment_matching.match(key, mean, jnp.zeros(2), expectation, sizes))
    result = run(jax.random.key(0))
    error = np.sqrt(1 / (mean * (1 - mean)) / 10_000)
    assert np.all(np.abs(result.average - family.natural_from_mean(mean)) < 5 * error)


def test_the_average_is_that_of_the_last_half_and_the_gap_that_of_all_parameters():
    family, mean = exponential_families.normal, (jnp.array(0.3), jnp.array(1.2))
    start, sizes = (jnp.array(0.0), jnp.array(-0.5)), np.array([0.1, 0.2, 0.1, 0.05, 0.1])
    args = jax.random.key(0), mean, start, moment_matching.exact(family), sizes
    result = moment_matching.match(*args)
    natural, visited, gaps = np.array(start), [], []
    for size in sizes:
        variance = -0.5 / natural[1]
        loc = natural[0] * variance
        gap = np.array(mean) - [loc, loc**2 + variance]
        gaps.append(np.sqrt(np.sum(gap**2)))
        natural = natural + size * gap
        visited.append(natural)
    np.testing.assert_allclose(result.gap, gaps, rtol=1e-10)
    np.testing.assert_allclose(jnp.stack(result.natural), natural, rtol=1e-10)
    np.testing.assert_allclose(jnp.stack(result.average), np.mean(visited[2:], axis=0), rtol=1e-10)


def test_the_carry_reaches_the_expectation():
    family = exponential_families.bernoulli

    def counting(key, natural, carry):
        return family.mean_from_natural(natural), carry + 1

    args = jax.random.key(0), jnp.array(0.5), jnp.array(0.0), counting, jnp.ones(7)
    assert moment_matching.match(*args, carry=jnp.array(0)).carry == 7


def test_refusals():
    family = exponential_families.bernoulli
    exact, key = moment_matching.exact(family), jax.random.key(0)
    with pytest.raises(ValueError, match="step_sizes must hold a number for each step, got shape"):
        moment_matching.match(key, jnp.zeros(2), jnp.zeros(2), exact, jnp.zeros(0))
    with pytest.raises(ValueError, match="mean and start must have one structure"):
        moment_matching.match(key, jnp.zeros(2), (jnp.zeros(2),), exact, jnp.ones(3))
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        moment_matching.monte_carlo(family, 0)
