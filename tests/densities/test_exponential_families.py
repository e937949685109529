from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats
from scipy.special import digamma, polygamma

from genmix.densities import bernoulli, dirichlet, exponential_families, gamma, normal
from genmix.densities import multivariate_normal as mvn
from genmix.densities.digamma_equations import solve_dirichlet, solve_gamma
from genmix.densities.exponential_family import ExponentialFamily

LOC = np.array([0.3, -1.2, 0.5])
TRIL = np.array([[0.8, 0.0, 0.0], [0.4, 1.3, 0.0], [-0.2, 0.3, 0.6]])
COVARIANCE: Any = TRIL @ TRIL.T  # scipy's types take it for an int
NORMAL = stats.multivariate_normal(LOC, COVARIANCE)


class Case(NamedTuple):
    """Events, parameters of p and of q, and scipy's log-density of one event under p."""

    family: ExponentialFamily
    p: tuple
    q: tuple
    x: np.ndarray
    log_prob: object
    is_minimal: bool = True


CASES = {
    "bernoulli": Case(
        exponential_families.bernoulli,
        (np.array([0.7, -2.0]),),
        (np.array([0.1, 0.4]),),
        np.array([[0, 1], [1, 1], [0, 0], [1, 0]]),
        lambda x: stats.bernoulli.logpmf(x, 1 / (1 + np.exp([-0.7, 2.0]))).sum(),
    ),
    "categorical": Case(
        exponential_families.categorical(3),
        (np.log([0.2, 0.5, 0.3]),),
        (np.log([0.6, 0.1, 0.3]),),
        np.array([0, 1, 2, 1]),
        lambda x: np.log([0.2, 0.5, 0.3])[x],
        is_minimal=False,
    ),
    "poisson": Case(
        exponential_families.poisson,
        (np.array([0.4, 7.0]),),
        (np.array([1.0, 5.0]),),
        np.array([[0, 3], [2, 11], [1, 7]]),
        lambda x: stats.poisson.logpmf(x, [0.4, 7.0]).sum(),
    ),
    "exponential": Case(
        exponential_families.exponential,
        (np.array(2.5),),
        (np.array(0.4),),
        np.array([0.2, 0.1, 3.0]),
        lambda x: stats.expon.logpdf(x, scale=1 / 2.5),
    ),
    "normal_of_scale": Case(
        exponential_families.normal_of_scale(np.array([0.5, 2.0])),
        (np.array([1.0, -0.4]),),
        (np.array([0.0, 0.3]),),
        np.array([[0.2, 3.0], [1.4, -1.0], [0.9, 0.1]]),
        lambda x: stats.norm.logpdf(x, [1.0, -0.4], [0.5, 2.0]).sum(),
    ),
    "normal": Case(
        exponential_families.normal,
        (np.array([1.0, -0.4]), np.array([0.5, 2.0])),
        (np.array([0.0, 0.3]), np.array([1.5, 0.7])),
        np.array([[0.2, 3.0], [1.4, -1.0], [0.9, 0.1]]),
        lambda x: stats.norm.logpdf(x, [1.0, -0.4], [0.5, 2.0]).sum(),
    ),
    "multivariate_normal": Case(
        exponential_families.multivariate_normal,
        (LOC, TRIL),
        (np.zeros(3), np.eye(3) + 0.1 * TRIL),
        np.random.default_rng(0).normal(size=(6, 3)),
        lambda x: NORMAL.logpdf(x),
    ),
    "gamma": Case(
        exponential_families.gamma,
        (np.array([0.4, 9.0]), np.array([2.0, 0.3])),
        (np.array([1.0, 3.0]), np.array([1.0, 0.7])),
        np.array([[0.01, 20.0], [0.5, 40.0], [1.3, 31.0]]),
        lambda x: stats.gamma.logpdf(x, [0.4, 9.0], scale=[1 / 2.0, 1 / 0.3]).sum(),
    ),
    "beta": Case(
        exponential_families.beta,
        (np.array([0.4, 9.0]), np.array([2.0, 9.0])),
        (np.array([1.0, 3.0]), np.array([1.0, 0.7])),
        np.array([[0.01, 0.4], [0.5, 0.6], [0.2, 0.55]]),
        lambda x: stats.beta.logpdf(x, [0.4, 9.0], [2.0, 9.0]).sum(),
    ),
    "dirichlet": Case(
        exponential_families.dirichlet,
        (np.array([0.4, 9.0, 2.0]),),
        (np.array([1.0, 1.0, 3.0]),),
        np.random.default_rng(0).dirichlet([1.0, 6.0, 2.0], 5),
        lambda x: stats.dirichlet.logpdf(x, [0.4, 9.0, 2.0]),
    ),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SOLVE_GAMMA = jax.jit(solve_gamma)
SOLVE_DIRICHLET = jax.jit(lambda mean: (solve_dirichlet(mean), jax.jacrev(solve_dirichlet)(mean)))
pytestmark = pytest.mark.usefixtures("x64")


def naturals(case):
    return (case.family.natural_from_parameters(*map(jnp.asarray, v)) for v in (case.p, case.q))


def assert_close(got, expected, rtol=1e-10, atol=1e-10):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


@EVERY
def test_log_prob_matches_scipy(case):
    natural, _ = naturals(case)
    got = jax.jit(jax.vmap(case.family.log_prob, (0, None)))(jnp.asarray(case.x), natural)
    expected = [case.log_prob(x) for x in case.x]
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@EVERY
def test_conversions_return(case):
    natural, _ = naturals(case)
    mean = jax.jit(case.family.mean_from_natural)(natural)
    back = jax.jit(case.family.natural_from_mean)(mean)
    assert_close(back, natural)
    assert_close(case.family.parameters_from_natural(natural), tuple(map(jnp.asarray, case.p)))


@EVERY
def test_legendre_duality(case):
    """grad A and grad A* are inverse, their Hessians too, and A + A* = <theta, mu>."""
    natural, _ = naturals(case)
    mean = case.family.mean_from_natural(natural)
    value, slope = jax.jit(jax.value_and_grad(case.family.dual))(mean)
    pairs = zip(jax.tree.leaves(natural), jax.tree.leaves(mean), strict=True)
    product = sum(np.sum(theta * mu) for theta, mu in pairs)
    np.testing.assert_allclose(value, product - case.family.log_partition(natural), atol=1e-10)
    if not case.is_minimal:
        slope = jax.tree.map(lambda t: t - 1, slope)  # a constant is free
    assert_close(slope, natural)
    flat, unravel = ravel_pytree(natural)
    flat_mean, _ = ravel_pytree(mean)
    to_natural = lambda mu: ravel_pytree(case.family.natural_from_mean(unravel(mu)))[0]
    to_mean = lambda theta: ravel_pytree(case.family.mean_from_natural(unravel(theta)))[0]
    fisher = jax.jit(jax.jacfwd(to_mean))(flat)
    inverse = jax.jit(jax.jacrev(to_natural))(flat_mean)
    if case.is_minimal and flat.size < 12:
        np.testing.assert_allclose(fisher @ inverse, np.eye(flat.size), atol=1e-8)
    np.testing.assert_allclose(fisher, fisher.T, atol=1e-9)


@EVERY
def test_kl_is_the_mean_log_ratio(case):
    """KL(p || q) = <theta_p - theta_q, mu_p> - A(p) + A(q), against scipy's log p elsewhere."""
    p, q = naturals(case)
    kl = jax.jit(case.family.kl)
    assert kl(p, p) == 0.0
    references = {
        "gamma": lambda: gamma.kl(*case.p, *case.q).sum(),
        "normal": lambda: normal.kl(*case.p, *case.q).sum(),
        "bernoulli": lambda: bernoulli.kl(*case.p, *case.q).sum(),
        "multivariate_normal": lambda: mvn.kl(*map(jnp.asarray, case.p + case.q)),
        "dirichlet": lambda: dirichlet.kl(*map(jnp.asarray, case.p + case.q)),
    }
    for name, reference in references.items():
        if case is CASES[name]:
            np.testing.assert_allclose(kl(p, q), reference(), rtol=1e-10)
    assert kl(p, q) > 1e-3


@pytest.mark.parametrize(
    ("name", "entropy"),
    [
        ("bernoulli", stats.bernoulli(1 / (1 + np.exp([-0.7, 2.0]))).entropy().sum()),
        ("categorical", stats.entropy([0.2, 0.5, 0.3])),
        ("exponential", stats.expon(scale=1 / 2.5).entropy()),
        ("normal", stats.norm(0, [0.5, 2.0]).entropy().sum()),
        ("multivariate_normal", NORMAL.entropy()),
        ("gamma", stats.gamma([0.4, 9.0], scale=[1 / 2.0, 1 / 0.3]).entropy().sum()),
        ("beta", stats.beta([0.4, 9.0], [2.0, 9.0]).entropy().sum()),
        ("dirichlet", stats.dirichlet([0.4, 9.0, 2.0]).entropy()),
    ],
)
def test_entropy_matches_scipy(name, entropy):
    natural, _ = naturals(CASES[name])
    family = CASES[name].family
    np.testing.assert_allclose(jax.jit(family.entropy)(natural), entropy, rtol=1e-10)
    dual = family.dual(family.mean_from_natural(natural))
    np.testing.assert_allclose(-dual, entropy, rtol=1e-9)


def test_entropy_of_the_poisson_is_relative_to_its_base():
    natural, _ = naturals(CASES["poisson"])
    x = np.arange(80)
    base = sum(
        np.sum(stats.poisson.pmf(x, rate) * stats.poisson.logpmf(x, 1.0) + 0 * x)
        + np.sum(stats.poisson.pmf(x, rate))
        for rate in (0.4, 7.0)
    )  # E[log 1/x!], as log Poisson(x; 1) = -1 - log x!
    shannon = stats.poisson([0.4, 7.0]).entropy().sum()
    got = exponential_families.poisson.entropy(natural)
    np.testing.assert_allclose(got, shannon + base, rtol=1e-8)


@pytest.mark.slow
@EVERY
def test_fit_has_the_greatest_likelihood(case):
    """The average score vanishes at the fit, with and without weights."""
    x = jnp.asarray(case.x)
    weights = jnp.linspace(0.5, 2.0, len(x))
    fit = jax.jit(case.family.fit)

    def loss(natural, weights):
        return jnp.average(jax.vmap(case.family.log_prob, (0, None))(x, natural), weights=weights)

    for natural, w in ((fit(x), jnp.ones(len(x))), (fit(x, weights), weights)):
        score = jax.grad(loss)(natural, w)
        assert_close(score, jax.tree.map(jnp.zeros_like, score), atol=1e-8)


@pytest.mark.slow
@EVERY
def test_samples_have_the_mean_parameters(case):
    """20,000 draws, every mean within 5 standard errors: false alarm 1e-5, the key is fixed."""
    natural, _ = naturals(case)
    keys = jax.random.split(jax.random.key(1), 20_000)
    x = jax.jit(jax.vmap(case.family.sample, (0, None)))(keys, natural)
    statistics = jax.vmap(case.family.statistics)(x)
    expected = case.family.mean_from_natural(natural)
    for t, mu in zip(jax.tree.leaves(statistics), jax.tree.leaves(expected), strict=True):
        error = np.std(t, axis=0) / np.sqrt(len(t))
        assert np.all(np.abs(np.mean(t, axis=0) - mu) < 5 * error + 1e-12)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("bernoulli", [2, 1]),
        ("categorical", 3),
        ("categorical", -1),
        ("poisson", [-1.0, 2.0]),
        ("poisson", [0.5, 2.0]),
        ("exponential", -0.1),
        ("exponential", np.inf),
        ("normal", [np.inf, 0.0]),
        ("normal_of_scale", [0.0, -np.inf]),
        ("multivariate_normal", [0.0, np.inf, 0.0]),
        ("gamma", [-1.0, 1.0]),
        ("gamma", [1.0, np.inf]),
        ("beta", [-0.1, 0.5]),
        ("beta", [0.5, 1.1]),
        ("dirichlet", [0.5, 0.4, 0.3]),
        ("dirichlet", [1.2, -0.1, -0.1]),
    ],
)
def test_off_support_is_minus_inf_with_zero_gradient(name, x):
    natural, _ = naturals(CASES[name])
    log_prob = CASES[name].family.log_prob
    value, gradient = jax.value_and_grad(log_prob, argnums=1)(jnp.asarray(x), natural)
    assert value == -jnp.inf
    assert_close(gradient, jax.tree.map(jnp.zeros_like, gradient), atol=0, rtol=0)
    if name not in ("bernoulli", "categorical"):
        assert jnp.all(jax.grad(log_prob)(jnp.asarray(x, float), natural) == 0)


def test_edge_of_the_support():
    log_prob = exponential_families.gamma.log_prob
    for a, expected in [(0.5, np.inf), (1.0, np.log(2.0)), (3.0, -np.inf)]:
        natural = exponential_families.gamma.natural_from_parameters(a, 2.0)
        value, gradients = jax.value_and_grad(log_prob, (0, 1))(jnp.asarray(0.0), natural)
        np.testing.assert_allclose(value, expected)
        assert all(jnp.isfinite(g) for g in jax.tree.leaves(gradients))
    natural = exponential_families.dirichlet.natural_from_parameters(jnp.array([0.5, 3.0, 1.0]))
    assert exponential_families.dirichlet.log_prob(jnp.array([0.0, 0.0, 1.0]), natural) == -jnp.inf
    assert exponential_families.dirichlet.log_prob(jnp.array([0.0, 0.5, 0.5]), natural) == jnp.inf
    for x, a, b in [(0.0, 1.0, 3.0), (1.0, 3.0, 1.0)]:
        natural = exponential_families.beta.natural_from_parameters(a, b)
        np.testing.assert_allclose(exponential_families.beta.log_prob(x, natural), np.log(3.0))


def test_outside_the_domain_is_nan():
    families = exponential_families
    bad = {
        families.exponential: (jnp.array(0.1), jnp.array(-1.0)),
        families.normal: ((jnp.array(0.0), jnp.array(0.1)), (jnp.array(1.0), jnp.array(0.5))),
        families.gamma: ((jnp.array(-1.5), jnp.array(-1.0)), (jnp.array(0.1), jnp.array(1.0))),
        families.beta: ((jnp.array(-1.5), jnp.array(0.0)), (jnp.array(-0.1), jnp.array(-0.1))),
        families.dirichlet: (jnp.array([-1.5, 0.0]), jnp.array([-0.1, -0.2])),
        families.multivariate_normal: (
            (jnp.zeros(2), jnp.eye(2)),
            (jnp.zeros(2), jnp.array([[1.0, 2.0], [2.0, 1.0]])),
        ),
    }
    for family, (natural, mean) in bad.items():
        assert jnp.isnan(family.log_partition(natural))
        means = jax.tree.leaves(family.mean_from_natural(natural))
        assert all(jnp.all(jnp.isnan(m)) for m in means)
        theta = jax.tree.leaves(jax.jit(family.natural_from_mean)(mean))
        assert any(jnp.any(jnp.isnan(t)) for t in theta)


def test_dual_on_the_boundary():
    """The limit, with a finite gradient: a sure outcome has entropy 0."""
    families = exponential_families
    for dual, mean, expected in [
        (families.bernoulli.dual, jnp.array([0.0, 1.0]), 0.0),
        (families.categorical(3).dual, jnp.array([0.0, 1.0, 0.0]), 0.0),
        (families.poisson.dual, jnp.array(0.0), 0.0),
    ]:
        value, gradient = jax.value_and_grad(dual)(mean)
        assert value == expected
        assert jnp.all(jnp.isfinite(gradient))
    never = exponential_families.poisson.natural_from_mean(jnp.array(0.0))
    assert exponential_families.poisson.log_prob(0, never) == 0.0
    assert exponential_families.poisson.log_prob(2, never) == -jnp.inf


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 30.0, 1e4])
def test_solvers_over_many_magnitudes(scale):
    a = scale * np.array([0.3, 1.0, 1.0, 4.0])
    got = SOLVE_GAMMA(jnp.asarray(np.log(a) - digamma(a)))
    # The equation itself loses digits: a relative error of eps a log(a) or so is in its gap.
    np.testing.assert_allclose(got, a, rtol=1e-11 * max(1.0, scale))
    mean_log = jnp.asarray(digamma(a) - digamma(a.sum()))
    got, slope = SOLVE_DIRICHLET(mean_log)
    np.testing.assert_allclose(got, a, rtol=1e-10 * max(1.0, scale))
    if scale <= 30:
        fisher = np.diag(polygamma(1, a)) - polygamma(1, a.sum())
        np.testing.assert_allclose(slope @ fisher, np.eye(4), atol=1e-6)


def test_refusals():
    family = exponential_families.normal
    with pytest.raises(ValueError, match="x must hold events along its first axis, got shape"):
        family.fit(jnp.array(1.0))
    with pytest.raises(ValueError, match="3 events need as many weights, got 2"):
        family.fit(jnp.ones(3), jnp.ones(2))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        exponential_families.categorical(0)
    with pytest.raises(ValueError, match="scale_tril must have shape"):
        exponential_families.multivariate_normal.natural_from_parameters(jnp.ones(2), jnp.eye(3))
