import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy import special, stats

from genmix.densities import bernoulli

LOGITS = [-jnp.inf, -1e4, -40.0, -1.3, 0.0, 0.2, 15.0, 1e4, jnp.inf]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.int32, jnp.uint8, bool])
def test_log_prob_matches_scipy(variant, dtype):
    x, logits = jnp.array(list(itertools.product([0.0, 1.0], LOGITS))).T
    got = variant(bernoulli.log_prob)(x.astype(dtype), logits)
    # not stats.bernoulli, whose probability of 1 would round to 1 from logits of 37 on
    expected = special.log_expit(np.where(x == 1, logits, -logits))
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_float32_keeps_its_digits_in_the_tail():
    """log sigmoid(17) = -exp(-17) (1 - exp(-17) / 2 ...), where 17 - softplus(17) is 0."""
    np.testing.assert_allclose(bernoulli.log_prob(1, 17.0), -np.exp(-17.0), rtol=1e-6)


_value_and_grad = jax.jit(jax.value_and_grad(bernoulli.log_prob, argnums=(0, 1)))


@settings(deadline=None, max_examples=50)
@given(
    # XLA flushes subnormal numbers to zero
    x=st.floats(width=32, allow_subnormal=False) | st.sampled_from([0.0, 1.0]),
    logits=st.floats(-1e4, 1e4, width=32),
)
def test_support_is_zero_and_one(x, logits):
    value, gradient = _value_and_grad(jnp.float32(x), jnp.float32(logits))
    if np.isnan(x):
        assert jnp.isnan(value)
    elif x in (0.0, 1.0):
        assert -1e4 - 1 < value <= 0
        np.testing.assert_allclose(gradient[1], x - special.expit(logits), atol=1e-6)
    else:
        assert value == -jnp.inf
        assert gradient == (0.0, 0.0)


def test_other_integers_are_minus_inf_with_zero_gradient():
    for x in (-1, 2, 255):
        value_and_grad = jax.value_and_grad(lambda logits, x=x: bernoulli.log_prob(x, logits))
        assert value_and_grad(0.3) == (-jnp.inf, 0.0)


def test_nan_in_is_nan_out():
    for x in (0.0, 0.5, 1.0):
        assert jnp.isnan(bernoulli.log_prob(x, jnp.nan))
    assert jnp.isnan(bernoulli.log_prob(jnp.nan, 0.3))
    assert jnp.isnan(bernoulli.entropy(jnp.nan))
    assert jnp.isnan(bernoulli.kl(jnp.nan, 0.3))
    assert jnp.isnan(bernoulli.kl(0.3, jnp.nan))
    assert jnp.isnan(bernoulli.kl(jnp.nan, jnp.inf))
    assert jnp.isnan(bernoulli.sample(jax.random.key(0), jnp.nan))


@pytest.mark.usefixtures("x64")
def test_entropy_and_kl_match_scipy(variant):
    logits = jnp.array(LOGITS)
    both = np.clip(np.stack([logits, -logits]), -1e5, 1e5)
    entropy = -(special.expit(both) * special.log_expit(both)).sum(0)
    np.testing.assert_allclose(variant(bernoulli.entropy)(logits), entropy, rtol=1e-10)

    logits_p, logits_q = jnp.array([-3.0, 0.2, 5.0, -jnp.inf]), jnp.array([1.0, 0.3, -2.0, 0.7])
    outcomes = lambda logits: np.stack([special.expit(logits), special.expit(-logits)])
    expected = special.rel_entr(outcomes(logits_p), outcomes(logits_q)).sum(0)
    np.testing.assert_allclose(variant(bernoulli.kl)(logits_p, logits_q), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("logits_p", "logits_q", "expected"),
    [
        (1e4, 1e4, 0.0),
        (1e4, -1e4, 1e4),
        (-1e4, 1e4, 1e4),
        (0.0, 1e4, 5e3 - np.log(2)),
        (1e4, 0.0, np.log(2)),
        (jnp.inf, jnp.inf, 0.0),
        (jnp.inf, 0.0, np.log(2)),
        (0.0, jnp.inf, jnp.inf),
        (-jnp.inf, jnp.inf, jnp.inf),
    ],
)
def test_extreme_kl(logits_p, logits_q, expected):
    value, gradient = jax.value_and_grad(bernoulli.kl, argnums=(0, 1))(logits_p, logits_q)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))


def test_extreme_logits_have_finite_gradients():
    for f in (
        lambda logits: bernoulli.log_prob(1, logits),
        lambda logits: bernoulli.log_prob(0, logits),
        bernoulli.entropy,
    ):
        gradient = jax.jit(jax.vmap(jax.grad(f)))(jnp.array(LOGITS))
        assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.usefixtures("x64")
def test_derivatives_match_finite_differences():
    logits = jnp.array([-2.0, 0.0, 0.7])  # at 0 a formula in |logits| has a wrong curvature
    log_prob = jax.jit(lambda logits: bernoulli.log_prob(1, logits))
    check_grads(log_prob, (logits,), 2, ["rev"], rtol=1e-6)
    check_grads(jax.jit(bernoulli.entropy), (logits,), 2, ["rev"], rtol=1e-6)
    check_grads(jax.jit(bernoulli.kl), (logits, logits[::-1]), 2, ["rev"], rtol=1e-6)


def plain_sum(x, logits):
    return jnp.sum(bernoulli.log_prob(x, logits))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("size", [1, 15, 16, 17, 784])
def test_joint_log_prob_is_the_sum(variant, size):
    rng = np.random.default_rng(size)
    logits = jnp.asarray(rng.normal(0, 5, size))
    x = jnp.asarray(rng.random(size) < 0.3)
    got = variant(bernoulli.joint_log_prob)(x, logits)
    np.testing.assert_allclose(got, plain_sum(x, logits), rtol=1e-13, atol=1e-14 * size)
    gradient = variant(jax.grad(bernoulli.joint_log_prob, argnums=1))(x, logits)
    np.testing.assert_allclose(gradient, x - special.expit(logits), rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("size", [1, 15, 16, 17, 784])
def test_joint_log_prob_has_its_second_derivatives(size):
    rng = np.random.default_rng(size)
    logits = jnp.asarray(rng.normal(0, 5, size))
    x = jnp.asarray(rng.random(size) < 0.3)
    log_prob = jax.jit(lambda logits: bernoulli.joint_log_prob(x, logits))
    check_grads(log_prob, (logits,), 2, rtol=1e-6)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
@pytest.mark.parametrize("logit", [-jnp.inf, -1e4, -88.0, -1e-30, 0.0, 88.0, 1e4, jnp.inf])
def test_joint_log_prob_does_not_overflow_and_has_a_finite_gradient(outcome, logit):
    x, logits = jnp.full(300, outcome), jnp.full(300, logit)
    value, gradient = jax.value_and_grad(bernoulli.joint_log_prob, argnums=1)(x, logits)
    np.testing.assert_allclose(value, plain_sum(x, logits), rtol=1e-6, atol=300 * 1.2e-7)
    assert jnp.all(jnp.isfinite(gradient))


def test_joint_log_prob_has_its_curvature_at_zero_logits():
    x = jnp.array([0.0, 1.0])
    hessian = jax.jit(jax.hessian(bernoulli.joint_log_prob, argnums=1))(x, jnp.zeros(2))
    np.testing.assert_allclose(hessian, -0.25 * np.eye(2), rtol=1e-6)


def test_joint_log_prob_off_the_support():
    joint = jax.value_and_grad(bernoulli.joint_log_prob, argnums=1)
    value, gradient = joint(jnp.array([0.0, 0.5, 1.0]), jnp.array([1.0, 2.0, 3.0]))
    assert value == -jnp.inf
    assert gradient[1] == 0
    assert jnp.all(jnp.isfinite(gradient))
    assert jnp.isnan(joint(jnp.array([0.0, jnp.nan]), jnp.zeros(2))[0])
    assert jnp.isnan(joint(jnp.array([0.5, 1.0]), jnp.array([0.0, jnp.nan]))[0])


def test_sample_frequency():
    """Exact binomial test, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    x = bernoulli.sample(jax.random.key(0), jnp.full(20_000, -1.3))
    assert x.dtype == jnp.float32
    ones = int(jnp.sum(x == 1))
    assert ones + int(jnp.sum(x == 0)) == 20_000
    assert stats.binomtest(ones, 20_000, special.expit(-1.3)).pvalue > 1e-4


def test_sample_of_a_certain_outcome():
    x = bernoulli.sample(jax.random.key(0), jnp.array([-1e4, 1e4, -jnp.inf, jnp.inf]))
    np.testing.assert_array_equal(x, [0.0, 1.0, 0.0, 1.0])
