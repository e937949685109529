"""Each critic's loss against its divergence on a set of four outcomes, and its other properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.divergences import feature_matching, gan

P = np.array([4, 3, 2, 1]) / 10
Q = np.array([1, 1, 3, 5]) / 10
KL = lambda a, b: np.sum(a * np.log(a / b))
CASES = {
    "minimax": (gan.minimax, np.log(P / Q), (KL(P, (P + Q) / 2) + KL(Q, (P + Q) / 2)) / 2),
    "non_saturating": (
        gan.non_saturating,
        np.log(P / Q),
        (KL(P, (P + Q) / 2) + KL(Q, (P + Q) / 2)) / 2,
    ),
    "least_squares": (gan.least_squares, (P - Q) / (P + Q), np.sum((P - Q) ** 2 / (P + Q))),
    "hinge": (gan.hinge, np.sign(P - Q), np.sum(np.abs(P - Q)) / 2),
    # Outcomes 0, 1, 2, 3 on a line; the cumulative functions tell W_1.
    "wasserstein": (gan.wasserstein, -np.arange(4.0), np.sum(np.abs(np.cumsum(P - Q)))),
}


def outcomes(probabilities):
    return jnp.asarray(np.repeat(np.arange(4), np.round(10 * probabilities).astype(int)))


def estimate(losses, scores):
    return losses.divergence(losses.critic(scores[outcomes(P)], scores[outcomes(Q)]))


@pytest.mark.parametrize("name", CASES)
def test_the_best_critic_reaches_the_divergence(name):
    losses, best, divergence = CASES[name]
    scores = jnp.asarray(best, jnp.float32)
    np.testing.assert_allclose(estimate(losses, scores), divergence, atol=1e-5)
    if name in ("minimax", "least_squares"):  # smooth, so the gradient vanishes at the best critic
        np.testing.assert_allclose(
            jax.grad(lambda s: losses.divergence(estimate(losses, s)))(scores), 0.0, atol=1e-6
        )


@pytest.mark.parametrize("name", [name for name in CASES if name != "wasserstein"])
def test_no_critic_passes_it(name):
    """Nor, for Wasserstein, does one of slope 1: an unrestricted one does."""
    losses, _, divergence = CASES[name]
    scores = 3 * jax.random.normal(jax.random.key(0), (200, 4))
    assert jnp.all(jax.vmap(lambda s: estimate(losses, s))(scores) < divergence)


def test_where_real_and_fake_are_alike_the_value_is_minus_log_four():
    zeros = jnp.zeros(5)
    np.testing.assert_allclose(-gan.minimax.critic(zeros, zeros), -np.log(4), rtol=1e-6)
    assert gan.minimax.divergence(gan.minimax.critic(zeros, zeros)) == pytest.approx(0, abs=1e-7)


def test_the_generator_of_the_minimax_game_minimises_the_value():
    """With minus the scores of real events it is the whole value, for joints of two samplers."""
    real, fake = jnp.array([0.3, 2.0]), jnp.array([-1.0, 0.7])
    value = -gan.minimax.critic(real, fake)
    np.testing.assert_allclose(
        gan.minimax.generator(fake) + gan.minimax.generator(-real), value, rtol=1e-6
    )


def test_where_the_critic_is_sure_only_minimax_saturates():
    scores = jnp.array([-30.0])
    slope = lambda losses: float(jax.grad(losses.generator)(scores)[0])
    assert abs(slope(gan.minimax)) < 1e-12
    np.testing.assert_allclose(slope(gan.non_saturating), -1.0, rtol=1e-6)
    for losses in (gan.least_squares, gan.hinge, gan.wasserstein):
        assert slope(losses) <= -1.0


@pytest.mark.parametrize("name", CASES)
def test_extreme_scores_have_finite_losses_and_gradients(name):
    losses = CASES[name][0]
    scores = jnp.array([1e4, -1e4, 0.0])
    for f in (lambda s: losses.critic(s, s[::-1]), losses.generator):
        value, gradient = jax.value_and_grad(f)(scores)
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("name", gan.BY_NAME)
def test_the_generator_gains_where_fakes_look_more_real(name):
    """And that of least squares aims at the score of real events."""
    slopes = jax.grad(gan.BY_NAME[name].generator)(jnp.array([-3.0, -0.5, 0.5]))
    assert jnp.all(slopes < 0)
    assert gan.least_squares.generator(jnp.ones(3)) == 0.0


def test_accuracy():
    assert gan.accuracy(jnp.array([1.0, 2.0]), jnp.array([0.0, -3.0, 0.5])) == 1.0
    assert gan.accuracy(jnp.ones(3), jnp.ones(2)) == 0.5
    np.testing.assert_allclose(gan.accuracy(jnp.array([1.0, 3.0]), jnp.array([2.0, 3.0])), 0.375)


def test_feature_matching():
    real = jnp.array([[1.0, 2.0], [3.0, 4.0]])
    assert feature_matching.squared(real, jnp.array([[0.0, 1.0]])) == 8.0
    with pytest.raises(ValueError, match=r"must have one shape, got \(2,\) and \(3,\)"):
        feature_matching.squared(real, jnp.zeros((2, 3)))
