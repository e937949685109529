from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from genmix.inference import bayesian_mixture, bayesian_regression, coordinate_ascent, normal_gamma
from genmix.inference.bayesian_mixture import BayesianMixture, NormalWishart
from genmix.inference.bayesian_regression import BayesianRegression
from genmix.inference.normal_gamma import NormalGamma

RNG = np.random.default_rng(0)
X = 1.5 + 0.7 * RNG.standard_normal(20)
INPUTS = RNG.standard_normal((15, 3))
TARGETS = INPUTS @ [1.0, -2.0, 0.0] + 0.5 * RNG.standard_normal(15)
POINTS = np.concatenate([RNG.standard_normal((40, 2)), RNG.standard_normal((40, 2)) / 2 + [4, 3]])


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def models():
    prior = normal_gamma.Prior(0.5, 0.3, 2.0, 1.5)
    wishart = NormalWishart(jnp.zeros(2), 0.5, jnp.eye(2), 3.0)
    regression = BayesianRegression(jnp.asarray(INPUTS), jnp.asarray(TARGETS))
    mixture = BayesianMixture(jnp.asarray(POINTS), wishart, jnp.full(3, 1e-2))
    small = NormalGamma(jnp.asarray(X), prior)
    return {
        "normal_gamma": (small, small.start()),
        "regression": (regression, regression.start()),
        "mixture": (mixture, mixture.start(jax.random.key(0))),
    }


@pytest.fixture(scope="module")
def ascents():
    ascend = jax.jit(lambda model, start: coordinate_ascent.ascend(model, start, tolerance=1e-11))
    with jax.enable_x64(True):
        return {name: ascend(*pair) for name, pair in models().items()}


@pytest.mark.parametrize("name", ["normal_gamma", "regression", "mixture"])
def test_the_bound_never_falls(ascents, name):
    ascent = ascents[name]
    history = np.array(ascent.history[: int(ascent.num_sweeps)])
    assert ascent.converged
    assert len(history) > 2
    assert np.all(np.diff([*history, ascent.bound]) > -1e-9)
    assert np.all(np.isnan(ascent.history[int(ascent.num_sweeps) :]))


@pytest.mark.parametrize("name", ["normal_gamma", "regression"])
def test_no_step_of_any_parameter_raises_the_bound_at_the_end(ascents, name):
    model, _ = models()[name]
    slopes = jax.jit(jax.grad(type(model).bound, argnums=1))(model, ascents[name].factors)
    for slope in jax.tree.leaves(slopes):
        np.testing.assert_allclose(slope, 0, atol=1e-4)


def test_normal_gamma_is_below_the_evidence_that_quadrature_gives(ascents):
    model, _ = models()["normal_gamma"]
    prior, evidence = model.prior, float(model.evidence())

    def joint(mu, log_tau):
        tau = np.exp(log_tau)
        value = stats.norm.logpdf(X, mu, tau**-0.5).sum()
        value += stats.norm.logpdf(mu, prior.loc, (prior.strength * tau) ** -0.5)
        return np.exp(value + stats.gamma.logpdf(tau, prior.concentration, scale=1 / prior.rate)
                      + log_tau - evidence)  # fmt: skip

    total = integrate.dblquad(joint, -2, 3, -1, 4, epsabs=1e-10, epsrel=1e-9)[0]
    np.testing.assert_allclose(total, 1.0, rtol=1e-8)
    gap = evidence - ascents["normal_gamma"].bound
    assert 0 < gap < 0.1


def test_the_bound_of_normal_gamma_is_the_mean_of_log_p_minus_log_q(ascents):
    """Within 4 standard errors of 1e5 draws; false alarm 6e-5 over keys, the key is fixed."""
    model, _ = models()["normal_gamma"]
    q, prior = ascents["normal_gamma"].factors, model.prior
    rng = np.random.default_rng(1)
    mu = rng.normal(q.loc, q.precision**-0.5, 100_000)
    tau = rng.gamma(q.concentration, 1 / q.rate, 100_000)
    log_p = stats.norm.logpdf(X[:, None], mu, tau**-0.5).sum(0)
    log_p += stats.norm.logpdf(mu, prior.loc, (prior.strength * tau) ** -0.5)
    log_p += stats.gamma.logpdf(tau, prior.concentration, scale=1 / prior.rate)
    log_q = stats.norm.logpdf(mu, q.loc, q.precision**-0.5)
    log_q += stats.gamma.logpdf(tau, q.concentration, scale=1 / q.rate)
    values = log_p - log_q
    assert abs(values.mean() - model.bound(q)) < 4 * values.std() / 100_000**0.5


def test_the_bound_of_the_regression_is_the_mean_of_log_p_minus_log_q(ascents):
    """Within 4 standard errors of 1e5 draws; false alarm 6e-5 over keys, the key is fixed."""
    model, _ = models()["regression"]
    q = ascents["regression"].factors
    rng = np.random.default_rng(1)
    w = rng.multivariate_normal(q.loc, q.cov, 100_000)
    log_p = np.zeros(100_000)
    log_q = stats.multivariate_normal.logpdf(w, q.loc, q.cov)
    for factor, prior, values, zeros in [
        (q.weights, model.weights, w.T, 0.0),
        (q.noise, model.noise, TARGETS[:, None], INPUTS @ w.T),
    ]:
        precision = rng.gamma(factor.concentration, 1 / factor.rate, 100_000)
        log_p += stats.norm.logpdf(values, zeros, precision**-0.5).sum(0)
        log_p += stats.gamma.logpdf(precision, prior.concentration, scale=1 / prior.rate)
        log_q += stats.gamma.logpdf(precision, factor.concentration, scale=1 / factor.rate)
    values = log_p - log_q
    assert abs(values.mean() - model.bound(q)) < 4 * values.std() / 100_000**0.5


def test_one_component_has_no_gap():
    """Normal and Wishart are conjugate together: the bound is log p(x), a chain of Student's t."""
    prior = NormalWishart(jnp.array([0.5, -1.0]), 0.4, jnp.array([[2.0, 0.3], [0.3, 1.0]]), 3.5)
    model = BayesianMixture(jnp.asarray(POINTS[:6]), prior, jnp.array([0.7]))
    ascent = coordinate_ascent.ascend(model, model.start(jax.random.key(0)), max_sweeps=3)
    exact = 0.0
    for n, x in enumerate(POINTS[:6]):
        seen = BayesianMixture(jnp.asarray(POINTS[:n]), prior, jnp.array([0.7]))
        q = bayesian_mixture._posterior(prior, seen.x, jnp.ones(n))
        degrees: Any = q.degrees - 1
        shape: Any = q.inverse_scale * (q.strength + 1) / (q.strength * degrees)
        exact += stats.multivariate_t(q.loc, shape, degrees).logpdf(x)
    np.testing.assert_allclose(ascent.bound, exact, rtol=1e-10)


def test_superfluous_components_empty_at_the_best_of_several_starts():
    model, _ = models()["mixture"]
    starts = jax.vmap(model.start)(jax.random.split(jax.random.key(0), 8))
    ascents = jax.jit(jax.vmap(lambda start: coordinate_ascent.ascend(model, start)))(starts)
    weights = ascents.factors.concentration[jnp.argmax(ascents.bound)]
    shares = np.sort(weights / weights.sum())[::-1]
    np.testing.assert_allclose(shares[:2], 0.5, atol=0.05)
    assert shares[2] < 0.01


def test_a_component_without_events_is_the_prior():
    wishart = NormalWishart(jnp.ones(2), 0.5, jnp.eye(2), 3.0)
    alone = bayesian_mixture._posterior(wishart, jnp.asarray(POINTS), jnp.zeros(len(POINTS)))
    for a, b in zip(alone, wishart, strict=True):
        np.testing.assert_allclose(a, b)


def test_bad_arguments():
    model, start = models()["normal_gamma"]
    with pytest.raises(ValueError, match="max_sweeps must be at least 1, got 0"):
        coordinate_ascent.ascend(model, start, max_sweeps=0)
    with pytest.raises(ValueError, match="tolerance must not be negative, got -1"):
        coordinate_ascent.ascend(model, start, tolerance=-1.0)
    mixture, _ = models()["mixture"]
    with pytest.raises(ValueError, match="3 components but x only 2 events"):
        mixture._replace(x=mixture.x[:2]).start(jax.random.key(0))
    assert bayesian_regression.Gamma(2.0, 4.0).mean == 0.5
