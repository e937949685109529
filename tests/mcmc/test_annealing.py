"""Importance sampling, AIS and SMC against integrals that are known.

References: log Z of exp(-U1), the first test density of Rezende & Mohamed (2015), is 1.8775 by
quadrature. Keys are fixed; where a tolerance is in standard errors, 4 of them alarm falsely with
probability below 1e-4.
"""

import importlib
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from scipy import stats

from genmix.mcmc import (
    annealed_importance,
    bridge,
    finite_chain,
    hmc,
    importance,
    independent,
    mala,
    metropolis_hastings,
    random_walk,
    resampling,
    sequential_monte_carlo,
)

LOG_Z_U1 = 1.8775


class Normal:
    """N(0, scale^2 I) in dim dimensions."""

    def __init__(self, dim, scale):
        self.dim, self.scale = dim, scale

    def sample(self, key, cond=None):
        return self.scale * jax.random.normal(key, (self.dim,))

    def log_prob(self, x, cond=None):
        return jnp.sum(norm.logpdf(x, 0.0, self.scale))


def log_u1(z):
    """-U1(z): a ring of radius 2, heavier at its left and right."""
    ring = 0.5 * ((jnp.sqrt(jnp.sum(z**2) + 1e-12) - 2) / 0.4) ** 2
    sides = jnp.logaddexp(-0.5 * ((z[0] - 2) / 0.6) ** 2, -0.5 * ((z[0] + 2) / 0.6) ** 2)
    return sides - ring


def log_gaussian(x):
    """Not normalized: log Z = 3 + the usual constants, at mean 1 and scale 0.5."""
    return 3.0 - 0.5 * jnp.sum(((x - 1) / 0.5) ** 2)


LOG_Z_GAUSSIAN = 3.0 + 2 * np.log(0.5 * np.sqrt(2 * np.pi))  # in two dimensions


def exact_kernel(base_scale):
    """Independent draws from the bridge between N(0, base_scale^2) and `log_gaussian`."""

    def make(logdensity_fn, beta):
        precision = (1 - beta) / base_scale**2 + beta / 0.25
        loc, scale = beta * 4 / precision, precision**-0.5

        class Bridge:
            def sample(self, key):
                return loc + scale * jax.random.normal(key, (2,))

            def log_prob(self, x):
                return jnp.sum(norm.logpdf(x, loc, scale))

        return independent.build(logdensity_fn, Bridge())

    return make


@pytest.mark.usefixtures("x64")
def test_bridges_between_gaussians_have_the_right_constants():
    """Thermodynamic integration over exact draws: both directions within errors of log Z."""
    betas = bridge.linear(40)
    base = Normal(2, 2.0)
    run = partial(
        annealed_importance.run,
        path=bridge.Geometric(base, log_gaussian, exact_kernel(2.0)),
        inverse_temperatures=betas,
    )
    particles = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 2000))
    lower = importance.log_evidence(particles.log_weight)
    assert abs(lower.value - LOG_Z_GAUSSIAN) < 4 * lower.standard_error < 0.08
    mean = np.mean(particles.log_weight)
    assert mean < lower.value

    exact = 1 + 0.5 * jax.random.normal(jax.random.key(1), (2000, 2))
    back = partial(
        annealed_importance.reverse,
        path=bridge.Geometric(base, log_gaussian, exact_kernel(2.0)),
        inverse_temperatures=betas,
    )
    ends = jax.jit(jax.vmap(back))(jax.random.split(jax.random.key(2), 2000), exact)
    upper = importance.log_evidence(-ends.log_weight)
    assert abs(-upper.value - LOG_Z_GAUSSIAN) < 4 * upper.standard_error < 0.08
    assert np.mean(ends.log_weight) > LOG_Z_GAUSSIAN > mean
    # paths end at the bridge next to the base, distributed as that is
    precision = (1 - betas[1]) / 4 + betas[1] * 4
    end = stats.norm(betas[1] * 4 / precision, precision**-0.5)
    assert stats.kstest(ends.position[:, 0], end.cdf).pvalue > 1e-4


def test_a_target_that_is_the_base_has_weights_of_its_constant_exactly():
    base = Normal(2, 1.5)
    particle = annealed_importance.run(
        jax.random.key(0),
        bridge.Geometric(
            base,
            lambda x: base.log_prob(x) + 0.7,
            lambda logdensity_fn, beta: random_walk.build(logdensity_fn, 0.5),
        ),
        bridge.sigmoidal(10),
    )
    np.testing.assert_allclose(particle.log_weight, 0.7, rtol=1e-5)


def kernel_for_u1(logdensity_fn, beta):
    return hmc.build(logdensity_fn, 0.5 - 0.3 * beta, 3)


def test_ais_finds_log_z_of_u1():
    run = partial(
        annealed_importance.run,
        path=bridge.Geometric(Normal(2, 2.0), log_u1, kernel_for_u1),
        inverse_temperatures=bridge.sigmoidal(60),
    )
    particles = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(3), 4000))
    estimate = importance.log_evidence(particles.log_weight)
    assert abs(estimate.value - LOG_Z_U1) < 4 * estimate.standard_error < 0.08
    first = importance.expectation(particles.log_weight, particles.position[:, 0])
    assert abs(first.value) < 4 * first.standard_error < 0.3


@pytest.mark.parametrize(
    "scheme",
    [
        "systematic",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("multinomial", "stratified")),
        pytest.param("residual", marks=pytest.mark.slow),
    ],
)
def test_smc_finds_log_z_of_u1(scheme):
    """Over 16 runs: the mean of Z-hat / Z is 1 within four standard errors."""
    run = partial(
        sequential_monte_carlo.run,
        path=bridge.Geometric(Normal(2, 2.0), log_u1, kernel_for_u1),
        inverse_temperatures=bridge.linear(8),
        num_particles=250,
        threshold=0.8,
        resample=getattr(resampling, scheme),
    )
    results = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(4), 16))
    ratio = np.exp(np.asarray(results.log_evidence) - LOG_Z_U1)
    error = np.std(ratio, ddof=1) / 4
    assert abs(np.mean(ratio) - 1) < 4 * error < 0.12
    assert np.min(results.ess) < 200, "some run must have resampled"


def test_smc_without_resampling_is_ais():
    run = partial(
        sequential_monte_carlo.run,
        path=bridge.Geometric(Normal(2, 2.0), log_gaussian, exact_kernel(2.0)),
        inverse_temperatures=bridge.linear(10),
        num_particles=2000,
    )
    result = run(jax.random.key(5), threshold=0.0)
    assert np.ptp(result.log_weight) > 0
    both = importance.log_evidence(result.log_weight)
    np.testing.assert_allclose(result.log_evidence, both.value, rtol=1e-5)
    assert abs(result.log_evidence - LOG_Z_GAUSSIAN) < 4 * both.standard_error < 0.3
    always = run(jax.random.key(13), threshold=1.0)
    assert np.ptp(always.log_weight) == 0
    assert abs(always.log_evidence - LOG_Z_GAUSSIAN) < 0.1


def test_wrong_weights_of_smc_would_be_found_out(monkeypatch):
    """Dropping the normalizer when resampling, a known bug, moves log Z far beyond its error."""
    good = sequential_monte_carlo.importance.log_evidence
    zero = lambda w: importance.Estimate(jnp.zeros(()), good(w).standard_error)
    monkeypatch.setattr(sequential_monte_carlo.importance, "log_evidence", zero)
    result = sequential_monte_carlo.run(
        jax.random.key(6),
        bridge.Geometric(Normal(2, 2.0), log_u1, kernel_for_u1),
        bridge.linear(8),
        num_particles=500,
    )
    assert abs(result.log_evidence - LOG_Z_U1) > 0.5


@pytest.mark.slow
def test_an_adaptive_schedule_keeps_the_ess():
    make = lambda logdensity_fn, beta: mala.build(logdensity_fn, 0.15)
    path = bridge.Geometric(Normal(2, 4.0), log_u1, make)
    betas = sequential_monte_carlo.adaptive_schedule(
        jax.random.key(7), path, num_particles=1000, num_steps=3, ess=0.7
    )
    assert betas[0] == 0
    assert betas[-1] == 1
    assert 3 < len(betas) < 15
    result = sequential_monte_carlo.run(
        jax.random.key(8), path, betas, num_particles=1000, num_steps=3, threshold=1.0
    )
    np.testing.assert_allclose(result.ess[:-1] / 1000, 0.7, atol=0.07)
    assert abs(result.log_evidence - LOG_Z_U1) < 0.3


def test_a_target_without_support_at_the_base_has_no_schedule():
    far = lambda x: jnp.where(jnp.sum(x) > 1e6, 0.0, -jnp.inf)
    make = lambda logdensity_fn, beta: random_walk.build(logdensity_fn, 1.0)
    with pytest.raises(ValueError, match=r"reached .* after \d+ temperatures, not 1"):
        sequential_monte_carlo.adaptive_schedule(
            jax.random.key(0), bridge.Geometric(Normal(2, 1.0), far, make), num_particles=10
        )


def test_targets_with_less_support_than_the_base_are_fine():
    """A half-normal: half the particles die, weights are finite or zero, and log Z is right."""
    half = lambda x: jnp.where(x[0] > 0, -0.5 * x[0] ** 2, -jnp.inf)
    make = lambda logdensity_fn, beta: random_walk.build(logdensity_fn, 1.0)
    result = sequential_monte_carlo.run(
        jax.random.key(9),
        bridge.Geometric(Normal(1, 1.5), half, make),
        bridge.linear(5),
        num_particles=2000,
    )
    assert np.all(np.isfinite(result.log_weight))
    assert abs(result.log_evidence - 0.5 * np.log(np.pi / 2)) < 0.15
    assert np.all(result.position > 0)


@pytest.mark.parametrize("scheme", ["multinomial", "stratified", "systematic", "residual"])
def test_resampling_is_unbiased(scheme):
    """Mean copies n w_i over 4,000 runs, within 4.5 errors; none of weight zero, even at u = 0."""
    weights = np.array([0.0, 0.4, 0.05, 0.25, 0.3, 0.0])
    resample = getattr(resampling, scheme)
    run = jax.jit(jax.vmap(lambda key: resample(key, jnp.log(weights))))
    ancestors = np.asarray(run(jax.random.split(jax.random.key(10), 4000)))
    counts = np.stack([np.bincount(a, minlength=6) for a in ancestors])
    error = np.std(counts, axis=0, ddof=1) / np.sqrt(len(counts))
    assert np.all(np.abs(np.mean(counts, axis=0) - 6 * weights) <= 4.5 * error + 1e-12)
    assert not counts[:, [0, 5]].any()
    if scheme != "multinomial":
        assert np.all(counts >= np.floor(6 * weights) - (scheme == "stratified"))


@pytest.mark.parametrize("scheme", ["multinomial", "stratified", "systematic", "residual"])
@pytest.mark.parametrize(
    "log_weights", [[0.0, jnp.nan, 0.0, 1.0], [-jnp.inf] * 4, [0.0, jnp.inf, 0.0, 1.0]]
)
def test_without_usable_weights_each_particle_is_its_own_ancestor(scheme, log_weights):
    chosen = getattr(resampling, scheme)(jax.random.key(0), jnp.asarray(log_weights))
    np.testing.assert_array_equal(chosen, np.arange(4))


def test_residual_resampling_keeps_whole_copies():
    weights = jnp.log(jnp.array([0.5, 0.25, 0.25, 0.0]))
    chosen = resampling.residual(jax.random.key(0), weights)
    np.testing.assert_array_equal(np.sort(chosen), [0, 0, 1, 2])


def test_importance_estimates_are_within_their_errors():
    draws = importance.draw(jax.random.key(11), log_gaussian, Normal(2, 2.0), num_samples=20_000)
    estimate = importance.log_evidence(draws.log_weight)
    assert abs(estimate.value - LOG_Z_GAUSSIAN) < 4 * estimate.standard_error < 0.1
    mean = importance.expectation(draws.log_weight, draws.position)
    assert np.all(np.abs(mean.value - 1) < 4 * mean.standard_error)
    assert np.all(mean.standard_error < 0.05)
    smoothed = importance.pareto_smoothed(draws.log_weight)
    np.testing.assert_allclose(jax.nn.logsumexp(smoothed.log_weight), 0, atol=1e-5)
    size = importance.effective_sample_size(smoothed.log_weight)
    np.testing.assert_allclose(size, importance.effective_sample_size(draws.log_weight), rtol=0.2)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("k", [-0.2, 0.2, 0.5, 0.9])
def test_k_hat_of_known_tails(k):
    """Weights from a generalized Pareto distribution: k-hat is its shape, the prior taken off."""
    weights = stats.genpareto(k).rvs(size=100_000, random_state=np.random.default_rng(0))
    got = importance.pareto_smoothed(jnp.log(weights))
    # the tail has 949 weights, so that k-hat's error is (1 + k) / sqrt(949) < 0.062
    assert abs(got.k_hat - k) < 4 * (1 + k) / np.sqrt(949)


@pytest.mark.usefixtures("x64")
@pytest.mark.filterwarnings("ignore")
def test_pareto_smoothing_matches_arviz():
    arviz = importlib.import_module("arviz_stats.base").array_stats  # it warns
    # sizes at which the tail's length is whole: ArviZ rounds it down, the paper up
    for seed, num in ((0, 25), (1, 400), (2, 2500)):
        log_weights = 1.5 * np.random.default_rng(seed).standard_t(5, size=num)
        want, want_k = arviz.psislw(-log_weights)  # ArviZ takes the ratios' negative
        got = jax.jit(importance.pareto_smoothed)(jnp.asarray(log_weights))
        np.testing.assert_allclose(got.k_hat, want_k, rtol=1e-6)
        np.testing.assert_allclose(got.log_weight, want, rtol=1e-6, atol=1e-8)


def test_equal_weights_have_no_tail():
    smoothed = importance.pareto_smoothed(jnp.zeros(100))
    assert smoothed.k_hat == np.inf
    np.testing.assert_allclose(smoothed.log_weight, -np.log(100), rtol=1e-6)


def test_weights_that_are_all_zero_say_so():
    dead = jnp.full(8, -jnp.inf)
    assert importance.log_evidence(dead).value == -np.inf
    assert jnp.isnan(importance.expectation(dead, jnp.ones(8)).value)
    assert jnp.isnan(importance.log_evidence(dead.at[0].set(jnp.nan)).value)


def ais(**options):
    make = lambda logdensity_fn, beta: random_walk.build(logdensity_fn, 0.5)
    settings: dict[str, Any] = {"inverse_temperatures": [0.0, 1.0]} | options
    path = bridge.Geometric(Normal(2, 1.0), log_gaussian, make)
    return annealed_importance.run(jax.random.key(0), path, **settings)


def smc(**options):
    make = lambda logdensity_fn, beta: random_walk.build(logdensity_fn, 0.5)
    settings: dict[str, Any] = {"inverse_temperatures": [0.0, 1.0], "num_particles": 4}
    settings |= options
    path = bridge.Geometric(Normal(2, 1.0), log_gaussian, make)
    return sequential_monte_carlo.run(jax.random.key(0), path, **settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ais(inverse_temperatures=[0.0, 0.6, 0.5, 1.0]), "rise strictly from 0 to 1"),
        (lambda: ais(inverse_temperatures=[0.1, 1.0]), "rise strictly from 0 to 1"),
        (lambda: ais(inverse_temperatures=[0.0, 0.9]), "rise strictly from 0 to 1"),
        (lambda: ais(inverse_temperatures=[1.0]), r"vector of at least two, got shape \[1\]"),
        (lambda: ais(num_steps=0), "num_steps must be at least 1, got 0"),
        (lambda: smc(num_particles=0), "num_particles must be at least 1, got 0"),
        (lambda: smc(threshold=2.0), "threshold must be between 0 and 1, got 2.0"),
        (lambda: importance.pareto_smoothed(jnp.zeros(19)), "at least 25 weights"),
        (lambda: importance.expectation(jnp.zeros(3), jnp.zeros(4)), "must have 3 rows"),
        (
            lambda: importance.draw(jax.random.key(0), log_u1, Normal(2, 1.0), num_samples=0),
            "num_samples must be at least 1, got 0",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_proposal_without_density_is_refused():
    class Sampler:
        def sample(self, key):
            return jnp.zeros(2)

    with pytest.raises(TypeError, match="Sampler cannot propose: a weight needs"):
        importance.draw(jax.random.key(0), log_u1, cast(Any, Sampler()), num_samples=2)
    with pytest.raises(TypeError, match="Sampler cannot propose: it has no log_prob"):
        independent.build(log_u1, Sampler())


def test_ais_of_two_states_is_unbiased_by_enumeration():
    """All paths of a chain of two states: the weights' mean is Z exactly."""
    base, weights = np.array([0.7, 0.3]), np.array([0.5, 4.0])
    betas = np.array([0.0, 0.3, 1.0])
    flip = np.array([[0.0, 1.0], [1.0, 0.0]])
    middle = base**0.7 * weights**0.3
    P = finite_chain.metropolis_hastings(flip, middle)
    total = sum(
        base[i] * P[i, j] * (weights / base)[i] ** betas[1] * (weights / base)[j] ** 0.7
        for i in range(2)
        for j in range(2)
    )
    np.testing.assert_allclose(total, np.sum(weights), rtol=1e-12)

    class Bernoulli:
        def sample(self, key):
            return jax.random.bernoulli(key, 0.3).astype(int)

        def log_prob(self, x):
            return jnp.log(jnp.asarray(base))[x]

    def make(logdensity_fn, beta):
        return metropolis_hastings.build(logdensity_fn, lambda key, x: 1 - x)

    run = partial(
        annealed_importance.run,
        path=bridge.Geometric(Bernoulli(), lambda x: jnp.log(jnp.asarray(weights))[x], make),
        inverse_temperatures=betas,
    )
    paths = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(12), 20_000))
    estimate = importance.log_evidence(paths.log_weight)
    assert abs(estimate.value - np.log(4.5)) < 4 * estimate.standard_error < 0.1
    # each weight is one of the four enumerated
    ratio = np.log(weights / base)
    four = np.array([0.3 * ratio[i] + 0.7 * ratio[j] for i in range(2) for j in range(2)])
    nearest = np.min(np.abs(np.asarray(paths.log_weight)[:, None] - four), axis=1)
    assert np.max(nearest) < 1e-5
