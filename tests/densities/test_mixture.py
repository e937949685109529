import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from genmix.densities import gamma, mixture, normal

LOC, SCALE = np.array([-1.0, 0.5, 3.0]), np.array([0.5, 1.0, 2.0])
LOGITS = np.array([0.3, -1.0, 1.2])
WEIGHTS = special.softmax(LOGITS)
VALUE_AND_GRAD = jax.jit(jax.value_and_grad(mixture.log_prob, argnums=(0, 1)))


def log_prob_of_normals(x, loc, scale, logits):
    return mixture.log_prob(jax.vmap(normal.log_prob, (None, 0, 0))(x, loc, scale), logits)


@pytest.mark.usefixtures("x64")
def test_log_prob_and_responsibilities_match_scipy(variant):
    joint = WEIGHTS * stats.norm.pdf(0.7, LOC, SCALE)
    arguments = [jnp.array(v) for v in (0.7, LOC, SCALE, LOGITS)]
    got = variant(log_prob_of_normals)(*arguments)
    np.testing.assert_allclose(got, np.log(joint.sum()), rtol=1e-12)
    log_probs = jnp.array(stats.norm.logpdf(0.7, LOC, SCALE))
    got = variant(mixture.responsibilities)(log_probs, arguments[-1])
    np.testing.assert_allclose(got, joint / joint.sum(), rtol=1e-12)
    np.testing.assert_allclose(
        jax.grad(mixture.log_prob)(log_probs, arguments[-1]), got, rtol=1e-12
    )


@pytest.mark.usefixtures("x64")
def test_mixture_of_gammas_on_both_sides_of_its_support():
    a, b, x = jnp.array([0.7, 1.0, 4.0]), jnp.array([1.0, 2.0, 0.5]), jnp.array([-1.0, 0.3, 9.0])
    log_prob = lambda x: mixture.log_prob(
        jax.vmap(gamma.log_prob, (None, 0, 0))(x, a, b), jnp.array(LOGITS)
    )
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(log_prob)))(x)
    pdf = lambda x: stats.gamma.pdf(x[:, None], a, scale=1 / b) @ WEIGHTS
    np.testing.assert_allclose(value[1:], np.log(pdf(x[1:])), rtol=1e-12)
    expected = (pdf(x[1:] + 1e-6) - pdf(x[1:] - 1e-6)) / 2e-6 / pdf(x[1:])
    np.testing.assert_allclose(slope[1:], expected, rtol=1e-6)
    assert (value[0], slope[0]) == (-jnp.inf, 0.0)


def test_infinite_log_probs():
    inf, logits = jnp.inf, jnp.float32(LOGITS)
    for log_probs, expected in [([-inf, -inf, -inf], -inf), ([0.0, -inf, inf], inf)]:
        value, gradient = VALUE_AND_GRAD(jnp.array(log_probs), logits)
        assert value == expected
        np.testing.assert_array_equal(jnp.stack(gradient), np.zeros((2, 3)))
        shares = mixture.responsibilities(jnp.array(log_probs), logits)
        np.testing.assert_array_equal(shares, np.zeros(3))
    value, gradient = VALUE_AND_GRAD(jnp.array([-inf, 2.0, -inf]), logits)
    np.testing.assert_allclose(value, 2.0 + np.log(WEIGHTS[1]), rtol=1e-6)
    np.testing.assert_allclose(gradient[0], [0.0, 1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(gradient[1], [0.0, 1.0, 0.0] - WEIGHTS, rtol=1e-5)


def test_logit_of_minus_inf_switches_its_component_off():
    log_probs = jnp.array([5.0, -1.0, -2.0])
    value, gradient = VALUE_AND_GRAD(log_probs, jnp.array([-jnp.inf, 0.3, 0.4]))
    expected, kept = VALUE_AND_GRAD(log_probs[1:], jnp.array([0.3, 0.4]))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for got, want in zip(gradient, kept, strict=True):
        np.testing.assert_allclose(got, [0.0, *want], rtol=1e-5)


def test_nan_passes_through():
    nan, ones = jnp.array([0.0, jnp.nan, -jnp.inf]), jnp.ones(3)
    for arguments in [(nan, ones), (ones, nan), (ones, jnp.full(3, -jnp.inf))]:
        assert jnp.isnan(mixture.log_prob(*arguments))
        assert jnp.all(jnp.isnan(mixture.responsibilities(*arguments)))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32) | st.just(-np.inf), min_size=3, max_size=3),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3),
)
def test_between_its_best_component_and_that_with_its_weight(log_probs, logits):
    log_probs, logits = jnp.array(log_probs), jnp.array(logits)
    value, gradient = VALUE_AND_GRAD(log_probs, logits)
    best = jnp.max(jax.nn.log_softmax(logits) + log_probs)
    slack = 1e-6 * jnp.maximum(jnp.abs(best), 1) if jnp.isfinite(best) else 0.0
    assert best - slack <= value <= best + np.log(3) + slack
    assert jnp.all(jnp.isfinite(jnp.stack(gradient)))


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"log_probs must have shape \(3,\), got \(1,\)"):
        mixture.log_prob(jnp.ones(1), jnp.ones(3))


def test_samples_follow_the_density():
    """Kolmogorov-Smirnov, 20,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    loc, scale = jnp.float32(LOC), jnp.float32(SCALE)
    component = lambda key, j: normal.sample(key, loc[j], scale[j])
    draw = lambda key: mixture.sample(key, jnp.float32(LOGITS), component)
    x = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 20_000))
    cdf = lambda x: stats.norm.cdf(x[:, None], LOC, SCALE) @ WEIGHTS
    assert stats.kstest(x, cdf).pvalue > 1e-4


def test_components_of_several_kinds():
    """Kolmogorov-Smirnov, 2,000 draws; false alarm 1e-4 over keys, the key is fixed."""
    samplers = [lambda key: normal.sample(key, -2.0, 0.5), lambda key: gamma.sample(key, 2.0, 1.0)]
    draw = lambda key: mixture.sample(
        key, jnp.array([0.0, 1.0]), lambda key, j: jax.lax.switch(j, samplers, key)
    )
    run = jax.jit(lambda keys: jax.lax.map(draw, keys))
    x = np.asarray(run(jax.random.split(jax.random.key(1), 2_000)))
    weight = special.expit(1.0)
    cdf = lambda x: (1 - weight) * stats.norm.cdf(x, -2, 0.5) + weight * stats.gamma.cdf(x, 2)
    assert stats.kstest(x, cdf).pvalue > 1e-4


def test_sample_is_differentiable_in_the_component_it_chose():
    component = lambda loc: lambda key, j: normal.sample(key, loc[j], 1.0)
    draw = lambda loc: mixture.sample(jax.random.key(0), jnp.float32(LOGITS), component(loc))
    gradient = jax.grad(draw)(jnp.float32(LOC))
    assert sorted(gradient.tolist()) == [0.0, 0.0, 1.0]


def test_nan_is_kept_in_a_large_batch():
    """XLA's maximum over NaN and -inf forgets the NaN in some of its loops."""
    log_probs = np.tile(np.array([-1.0, -np.inf, 3.0], np.float32), (200_000, 1))
    logits = np.tile(np.array([0.0, 0.0, np.nan], np.float32), (200_000, 1))
    value = jax.jit(jax.vmap(jax.value_and_grad(mixture.log_prob, (0, 1))))(log_probs, logits)[0]
    assert jnp.all(jnp.isnan(value))
