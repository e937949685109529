import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special, stats

from genmix.densities import categorical

LOGITS = [0.3, -jnp.inf, 2.0, -1.0]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_log_prob_matches_scipy(variant, shift):
    logits = jnp.array(LOGITS) + shift
    expected = special.log_softmax(np.array(LOGITS))
    for i in range(4):
        got = variant(categorical.log_prob)(jnp.asarray(i), logits)
        np.testing.assert_allclose(got, expected[i], rtol=1e-10)


@pytest.mark.parametrize("x", [-1, -4, 4, 1000, jnp.uint8(255), jnp.int8(-128)])
def test_index_out_of_range_is_minus_inf_with_zero_gradient(x):
    log_prob = lambda logits: categorical.log_prob(x, logits)
    value, gradient = jax.value_and_grad(log_prob)(jnp.array([0.3, 1.0, 2.0, -1.0]))
    assert value == -jnp.inf
    np.testing.assert_array_equal(gradient, np.zeros(4))


@pytest.mark.parametrize(
    "logits", [[0.0, jnp.nan], [0.0, jnp.inf], [-jnp.inf, -jnp.inf]], ids=["nan", "inf", "empty"]
)
def test_bad_logits_are_nan(logits):
    bad, good = jnp.array(logits), jnp.zeros(2)
    for x in (0, 1, 2):
        assert jnp.isnan(categorical.log_prob(x, bad))
    assert jnp.isnan(categorical.entropy(bad))
    assert jnp.isnan(categorical.kl(bad, good))
    assert jnp.isnan(categorical.kl(good, bad))


@pytest.mark.usefixtures("x64")
def test_entropy_and_kl_match_scipy(variant):
    logits_p, logits_q = jnp.array(LOGITS), jnp.array([1.0, 0.4, -2.0, 0.1])
    p, q = special.softmax(np.asarray(logits_p)), special.softmax(np.asarray(logits_q))
    np.testing.assert_allclose(variant(categorical.entropy)(logits_p), stats.entropy(p), rtol=1e-10)
    got = variant(categorical.kl)(logits_p, logits_q)
    np.testing.assert_allclose(got, stats.entropy(p, q), rtol=1e-10)


def test_kl_to_a_smaller_support_is_inf():
    logits = jnp.array(LOGITS)
    assert categorical.kl(jnp.zeros(4), logits) == jnp.inf
    assert categorical.kl(logits, logits) == 0.0


def test_kl_refuses_another_number_of_logits():
    with pytest.raises(ValueError, match=r"logits_q must have shape \(2,\), got \(3,\)"):
        categorical.kl(jnp.zeros(2), jnp.zeros(3))


def test_extreme_logits_are_finite_in_value_and_gradient():
    logits, mild = jnp.array([1e4, -1e4, 0.0, -jnp.inf]), jnp.zeros(4)
    for f in (lambda l: categorical.log_prob(1, l), categorical.entropy):
        value, gradient = jax.value_and_grad(f)(logits)
        assert jnp.all(jnp.isfinite(jnp.append(gradient, value)))
    value, gradient = jax.value_and_grad(categorical.kl, argnums=(0, 1))(logits, mild)
    np.testing.assert_allclose(value, np.log(4), rtol=1e-6)
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))
    value, gradient = jax.value_and_grad(categorical.kl, argnums=(0, 1))(mild, logits)
    assert value == jnp.inf
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))
    assert jax.grad(lambda l: categorical.log_prob(3, l))(logits)[0] == -1.0  # minus softmax


@pytest.mark.usefixtures("x64")
def test_derivatives_match_finite_differences():
    logits_p, logits_q = jnp.array([0.3, 2.0, -1.0]), jnp.array([0.0, 0.1, 0.5])
    check_grads(jax.jit(categorical.entropy), (logits_p,), 2, ["rev"], rtol=1e-6)
    check_grads(jax.jit(categorical.kl), (logits_p, logits_q), 2, ["rev"], rtol=1e-6)


def test_sample_frequencies():
    """Chi-square, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    logits = jnp.array(LOGITS)
    keys = jax.random.split(jax.random.key(0), 20_000)
    x = jax.vmap(categorical.sample, in_axes=(0, None))(keys, logits)
    assert x.dtype == jnp.int32
    counts = np.bincount(x, minlength=4)
    expected = 20_000 * special.softmax(np.array(LOGITS))
    assert counts[1] == 0
    possible = expected > 0
    assert stats.chisquare(counts[possible], expected[possible]).pvalue > 1e-4
