import decimal
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix import bounds
from genmix.bounds import elbo, iwae, renyi, vr_max
from genmix.bounds.estimator import require_estimator
from tests.bounds import conjugate

LOG_WEIGHTS = jnp.array([-1.0, -3.5, 0.25, -80.0])


def test_values(variant):
    w = np.exp(np.asarray(LOG_WEIGHTS, float))
    np.testing.assert_allclose(variant(elbo.bound)(LOG_WEIGHTS), np.mean(np.log(w)), rtol=1e-6)
    np.testing.assert_allclose(variant(iwae.bound)(LOG_WEIGHTS), np.log(np.mean(w)), rtol=1e-6)
    np.testing.assert_allclose(
        variant(functools.partial(renyi.bound, alpha=0.5))(LOG_WEIGHTS),
        2 * np.log(np.mean(np.sqrt(w))),
        rtol=1e-6,
    )
    assert variant(vr_max.bound)(LOG_WEIGHTS) == 0.25


def test_renyi_contains_the_others():
    assert renyi.bound(LOG_WEIGHTS, 1) == elbo.bound(LOG_WEIGHTS)
    np.testing.assert_allclose(renyi.bound(LOG_WEIGHTS, 0), iwae.bound(LOG_WEIGHTS), rtol=1e-6)
    np.testing.assert_allclose(
        renyi.bound(LOG_WEIGHTS, 1 - 1e-3), elbo.bound(LOG_WEIGHTS), rtol=0.1
    )
    np.testing.assert_allclose(renyi.bound(LOG_WEIGHTS, -500.0), 0.25, atol=0.01)


@pytest.mark.parametrize("distance", [1e-12, -1e-9, 1e-6, -1e-6, 1e-4, -1e-2, 0.1])
def test_renyi_near_the_elbo_does_not_cancel(distance):
    """In float32, with its two derivatives, against exact decimals; it once was off by 0.24."""
    log_weights = np.random.default_rng(0).normal(-90, 3, 64).astype(np.float32)
    alpha = 1 + distance
    with decimal.localcontext(prec=60):
        power = 1 - decimal.Decimal(alpha)
        powers = [(power * decimal.Decimal(float(w))).exp() for w in log_weights]
        total = sum(powers, decimal.Decimal())
        expected = float((total / 64).ln() / power)
        shares = np.array([float(p / total) for p in powers])
    bound = functools.partial(renyi.bound, alpha=alpha)
    np.testing.assert_allclose(bound(jnp.asarray(log_weights)), expected, rtol=2e-7)
    np.testing.assert_allclose(jax.grad(bound)(jnp.asarray(log_weights)), shares, rtol=2e-6)
    curvature = jnp.diag(jax.hessian(bound)(jnp.asarray(log_weights)))
    np.testing.assert_allclose(curvature, (1 - alpha) * shares * (1 - shares), rtol=1e-5, atol=1e-9)


def test_renyi_near_the_elbo_off_the_support():
    """An empty particle weighs nothing below alpha = 1, and all at and above it."""
    log_weights = jnp.array([-jnp.inf, 0.0])
    np.testing.assert_allclose(renyi.bound(log_weights, 0.999), -1000 * np.log(2), rtol=1e-6)
    assert renyi.bound(log_weights, 1 + 1e-6) == renyi.bound(log_weights, 1) == -jnp.inf
    assert jnp.isnan(renyi.bound(jnp.array([jnp.nan, 0.0]), 1 - 1e-6))


def test_renyi_falls_with_its_order():
    values = [renyi.bound(LOG_WEIGHTS, a) for a in (-2.0, 0.0, 0.5, 1.0, 3.0)]
    assert all(a > b for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("alpha", [math.inf, -math.inf, math.nan])
def test_renyi_refuses_orders_that_are_not_finite(alpha):
    with pytest.raises(ValueError, match=r"alpha must be finite, got .*; alpha = -inf is vr_max"):
        renyi.bound(LOG_WEIGHTS, alpha)


def test_bounds_and_gradients_are_finite_for_extreme_weights():
    for log_weights in (
        jnp.array([-1e30, -1e30]),
        jnp.array([1e4, -1e4]),
        jnp.array([0.0, -jnp.inf]),
    ):
        for bound in (iwae.bound, vr_max.bound, functools.partial(renyi.bound, alpha=0.5)):
            value, gradient = jax.value_and_grad(bound)(log_weights)
            assert jnp.isfinite(value)
            assert jnp.all(jnp.isfinite(gradient))


def test_order_of_the_bounds_where_the_evidence_is_known(x64):
    """ELBO < L_2 < log p(x), each as its quadrature says."""
    p = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), conjugate.PARAMETERS)
    evidence = conjugate.log_evidence(p["slope"])
    l1 = conjugate.expected_bound(elbo.bound, p, 1)
    l2 = conjugate.expected_bound(iwae.bound, p, 2)
    variance = p["slope"] ** 2 / conjugate.NOISE**2 + 1
    loc, scale = p["slope"] * conjugate.X / conjugate.NOISE**2 / variance, variance**-0.5
    kl = (
        jnp.log(scale / p["scale"])
        + (p["scale"] ** 2 + (p["loc"] - loc) ** 2) / (2 * scale**2)
        - 0.5
    )
    np.testing.assert_allclose(l1, evidence - kl, rtol=1e-9)
    assert l1 < l2 < evidence
    exact = {**p, "loc": loc, "scale": scale}
    np.testing.assert_allclose(conjugate.expected_bound(iwae.bound, exact, 2), evidence, rtol=1e-9)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (bounds.score_function, "estimator"),  # without its baseline
        (bounds.doubly_reparameterized.estimate, "estimate"),
        ("stl", "str"),
    ],
)
def test_what_is_no_estimator_is_refused_in_words(given, name):
    message = rf"must be one of genmix.bounds, such as bounds.doubly_\w+ or .* got {name}\."
    with pytest.raises(TypeError, match=message):
        require_estimator(given)
