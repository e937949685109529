"""What is exact about linear-Gaussian and hidden Markov models, against one large joint density."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.capabilities import ExactDensity
from genmix.families.sequence.hidden_markov import HiddenMarkov
from genmix.families.sequence.padded import Padded
from genmix.families.sequence.unrolled import generate
from tests.families.sequence import models

T = 5
pytestmark = pytest.mark.usefixtures("x64")


def normal_log_prob(x: Any, mean: Any, cov: Any) -> Any:
    return stats.multivariate_normal.logpdf(x, mean, cov)


def conditioned(mean, cov, known, values):
    """Mean and covariance of the other entries of a normal vector."""
    rest = np.setdiff1d(np.arange(mean.size), known)
    gain = np.linalg.solve(cov[np.ix_(known, known)], cov[np.ix_(known, rest)]).T
    return (
        mean[rest] + gain @ (values - mean[known]),
        cov[np.ix_(rest, rest)] - gain @ cov[np.ix_(known, rest)],
    )


@pytest.fixture
def x():
    return models.plane().sample_path(jax.random.key(3), T)[1]


def test_kalman_filter_is_the_joint_density(x):
    model = models.plane()
    mean, cov, size = models.joint(model, T)
    expected = normal_log_prob(np.ravel(x), mean[size:], cov[size:, size:])
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-12)
    assert isinstance(model, ExactDensity)


def test_smoother_is_the_joint_density_given_x(x):
    model = models.plane()
    mean, cov, size = models.joint(model, T)
    known = np.arange(size, mean.size)
    expected_mean, expected_cov = conditioned(mean, cov, known, np.ravel(x))
    smoothed = jax.jit(type(model).smooth)(model, x)
    np.testing.assert_allclose(np.ravel(smoothed.mean), expected_mean, rtol=1e-10)
    for t in range(T):
        block = expected_cov[2 * t : 2 * t + 2, 2 * t : 2 * t + 2]
        np.testing.assert_allclose(smoothed.covariance[t], block, rtol=1e-9, atol=1e-12)


def test_look_ahead_and_best_proposal_are_the_joint_density_given_z(x):
    """log p(x_t+1..x_T | z_t), and p(z_t | z_t-1, x_t..x_T), for t = 2."""
    model = models.plane()
    mean, cov, size = models.joint(model, T)
    ahead = jax.jit(type(model).ahead)(model, x)
    matrix, offset, covariance = jax.jit(type(model).best_proposal)(model, x)
    z = np.array([0.7, -1.1])
    later = np.arange(size + 3 * 2, mean.size)  # x_3 .. x_5
    given = np.concatenate([np.arange(2, 4), later])
    loc, spread = conditioned(mean[given], cov[np.ix_(given, given)], np.arange(2), z)
    expected = normal_log_prob(np.ravel(x[2:]), loc, spread)
    value = ahead.constant[1] + ahead.shift[1] @ z - 0.5 * z @ ahead.precision[1] @ z
    np.testing.assert_allclose(value, expected, rtol=1e-10)

    seen = np.arange(size + 3, mean.size)  # x_2 .. x_5
    entries = np.concatenate([np.arange(4), seen])
    known = np.concatenate([np.arange(2), np.arange(4, 4 + seen.size)])
    values = np.concatenate([z, np.ravel(x[1:])])
    loc, spread = conditioned(mean[entries], cov[np.ix_(entries, entries)], known, values)
    np.testing.assert_allclose(matrix[1] @ z + offset[1], loc, rtol=1e-10)
    np.testing.assert_allclose(covariance[1], spread, rtol=1e-9, atol=1e-12)
    first = jax.jit(type(model).smooth)(model, x)
    np.testing.assert_allclose(offset[0], first.mean[0], rtol=1e-10)
    np.testing.assert_allclose(covariance[0], first.covariance[0], rtol=1e-9, atol=1e-12)


def coins():
    emission = models.Scalar(1.0, 0.0, 0.7)

    class Emission:
        def log_prob(self, x, cond=None):
            return emission.log_prob(x, jnp.asarray(cond, float)[None])

        def sample(self, key, cond=None):
            return emission.sample(key, jnp.asarray(cond, float)[None])

    log = lambda p: jnp.log(jnp.asarray(p)) + 0.7  # logits need no normalization
    return HiddenMarkov(log(models.Coins.INITIAL), log(models.Coins.TRANSITION), Emission())


def enumerated(x):
    """(hidden path, p(x, path)) of all paths."""
    for path in itertools.product(range(2), repeat=len(x)):
        p = models.Coins.INITIAL[path[0]]
        for a, b in itertools.pairwise(path):
            p *= models.Coins.TRANSITION[a, b]
        yield np.array(path), p * np.prod(stats.norm.pdf(np.ravel(x), np.array(path), 0.7))


def test_forward_algorithm_sums_all_hidden_paths():
    x = jnp.array([0.3, 1.2, -0.4, 0.9])[:, None]
    paths, weights = zip(*enumerated(x), strict=True)
    model = coins()
    np.testing.assert_allclose(model.log_prob(x), np.log(sum(weights)), rtol=1e-12)
    share = np.array(weights) @ np.array(paths) / sum(weights)
    np.testing.assert_allclose(jnp.exp(model.smooth(x))[:, 1], share, rtol=1e-10)


def test_draws_of_a_hidden_markov_model_have_its_moments():
    """Mean of x_3 over 20,000 draws within 4 standard errors: false alarm 6e-5."""
    draw = jax.vmap(lambda key: generate(coins(), key, 3))
    x = np.asarray(jax.jit(draw)(jax.random.split(jax.random.key(1), 20_000)))[:, 2, 0]
    hidden = models.Coins.INITIAL @ np.linalg.matrix_power(models.Coins.TRANSITION, 2)
    assert abs(x.mean() - hidden[1]) < 4 * x.std() / np.sqrt(len(x))


@pytest.mark.parametrize("build", [models.plane, coins])
def test_padding_of_exact_models_changes_no_bit(build, x):
    x = x if build is models.plane else x[:, :1]
    model: Any = build()
    longer = jnp.concatenate([x, jnp.full((3, x.shape[1]), jnp.nan)])
    assert model.log_prob(Padded(longer, jnp.asarray(T))) == model.log_prob(x)
    gradient = jax.grad(lambda v: model.log_prob(Padded(v, jnp.asarray(T))))(longer)
    assert np.isfinite(gradient).all()
    assert not gradient[T:].any()


def test_refusals_say_why():
    with pytest.raises(ValueError, match="transition must have a row and a column"):
        HiddenMarkov(jnp.zeros(2), jnp.zeros((3, 3)), models.Scalar(1.0, 0.0, 1.0))
    with pytest.raises(TypeError, match="object cannot be the emission"):
        HiddenMarkov(jnp.zeros(2), jnp.zeros((2, 2)), object())
