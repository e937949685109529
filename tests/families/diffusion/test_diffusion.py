"""The bound in continuous time against what it is for data of N(0, s^2), and its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix.families.diffusion import denoiser, schedules
from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.decoders import Continuous, Levels
from genmix.families.diffusion.diffusion import Diffusion, antithetic_times
from tests.families.diffusion import normal_data

pytestmark = pytest.mark.usefixtures("x64")

LEARNED = "learned"
NAMES = [*normal_data.SCHEDULES, LEARNED]


def schedule(name):
    if name == LEARNED:
        part = schedules.LearnedMonotone(-7.0, 5.0, rngs=nnx.Rngs(0))
        part.raw_weights[...] = jnp.linspace(-3.0, 2.0, 16)
        return part
    return normal_data.SCHEDULES[name]()


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_rises_and_its_kernel_preserves_variance(name):
    gamma = schedule(name)
    levels = jax.vmap(gamma)(jnp.linspace(0, 1, 200))
    assert jnp.all(jnp.diff(levels) > 0)
    alpha, sigma = jax.vmap(kernel.alpha)(levels), jax.vmap(kernel.sigma)(levels)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-12)
    np.testing.assert_allclose(sigma**2 / alpha**2, np.exp(levels), rtol=1e-12)


def test_learned_schedules_meet_their_ends():
    gamma = schedule(LEARNED)
    np.testing.assert_allclose(gamma(jnp.zeros(())), -7.0, rtol=1e-12)
    np.testing.assert_allclose(gamma(jnp.ones(())), 5.0, rtol=1e-12)


def test_two_kernels_make_the_third():
    """q(z_t | x) is q(z_t | z_s) after q(z_s | x), and Bayes' rule gives q(z_s | z_t, x)."""
    s, t, x, noise = map(jnp.array, (-1.3, 0.4, 0.7, -0.2))
    mean, scale = kernel.forward(kernel.alpha(s) * x, s, t)
    np.testing.assert_allclose(mean, kernel.alpha(t) * x, rtol=1e-12)
    ratio = kernel.alpha(t) / kernel.alpha(s)
    np.testing.assert_allclose(
        (ratio * kernel.sigma(s)) ** 2 + scale**2, kernel.sigma(t) ** 2, rtol=1e-12
    )
    variance = 1 / (1 / kernel.sigma(s) ** 2 + (ratio / scale) ** 2)
    np.testing.assert_allclose(kernel.backward_variance(s, t), variance, rtol=1e-12)
    z = kernel.diffuse(x, noise, t)
    expected = variance * (kernel.alpha(s) * x / kernel.sigma(s) ** 2 + ratio * z / scale**2)
    np.testing.assert_allclose(kernel.backward_mean(x, noise, s, t), expected, rtol=1e-12)


def mean_loss(model, s, t):
    """The loss at t averaged over x and noise: a quadratic, so two points each are exact."""
    at = lambda x, noise: model.loss_at(noise, t, x)
    signs = jnp.array([-1.0, 1.0])
    return jnp.mean(jax.vmap(jax.vmap(at, (None, 0)), (0, None))(s * signs, signs))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("s", [0.4, 1.7])
def test_the_loss_of_normal_data_depends_on_the_ends_alone(name, s):
    """1/2 ln[(1 + s^2 e^-gamma(0)) / (1 + s^2 e^-gamma(1))] for every schedule."""
    model = Diffusion(normal_data.Optimal(s), shape=(), schedule=schedule(name))
    points, weights = np.polynomial.legendre.leggauss(300)
    times = jnp.asarray((points + 1) / 2)
    losses = jax.jit(jax.vmap(lambda t: mean_loss(model, s, t)))(times)
    low, high = model.levels(jnp.array([0.0, 1.0]))
    expected = 0.5 * jnp.log((1 + s**2 * jnp.exp(-low)) / (1 + s**2 * jnp.exp(-high)))
    np.testing.assert_allclose(losses @ (weights / 2), expected, rtol=1e-9)


def test_the_bound_is_nearly_the_likelihood_of_normal_data():
    """Its mean over x and noise is at most minus the entropy, which wide ends come close to."""
    s = 0.8
    model = Diffusion(normal_data.Optimal(s), shape=(), schedule=schedules.Linear(-12.0, 10.0))
    keys = jax.random.split(jax.random.key(0), 20_000)
    x = s * jax.random.normal(jax.random.key(1), (20_000,))
    times = antithetic_times(jax.random.key(2), 20_000)
    bounds = jax.jit(jax.vmap(model.log_bound_at))(keys, times, x)
    gap = np.asarray(bounds - stats.norm.logpdf(x, scale=s))
    # Within 5 standard errors: the false alarm is 6e-7.
    assert abs(gap.mean()) < 5 * gap.std() / np.sqrt(len(gap)) + 1e-3
    assert gap.std() < 12


def network(z, gamma, cond):
    return jnp.tanh(0.3 * z + 0.1 * gamma)


def test_parametrizations_agree():
    """A prediction said in three ways is one prediction, and one bound."""
    z, gamma = jnp.array([0.3, -1.2]), jnp.array(0.7)
    noise = network(z, gamma, None)
    said = denoiser.predicts_noise(noise, z, gamma)
    alpha, sigma = kernel.alpha(gamma), kernel.sigma(gamma)
    data = denoiser.predicts_data(said.data, z, gamma)
    velocity = denoiser.predicts_velocity(alpha * noise - sigma * said.data, z, gamma)
    for other in (data, velocity):
        np.testing.assert_allclose(other.data, said.data, rtol=1e-12)
        np.testing.assert_allclose(other.noise, said.noise, rtol=1e-12)

    def converted(parametrization):
        def output(z, gamma, cond):
            alpha, sigma = kernel.alpha(gamma), kernel.sigma(gamma)
            noise = network(z, gamma, cond)
            data = (z - sigma * noise) / alpha
            return {
                denoiser.predicts_noise: noise,
                denoiser.predicts_data: data,
                denoiser.predicts_velocity: alpha * noise - sigma * data,
            }[parametrization]

        part = denoiser.Denoiser(output, parametrization)
        model = Diffusion(part, shape=(2,), schedule=normal_data.SCHEDULES["cosine"]())
        return model.log_bound(jax.random.key(0), z)

    first, *others = map(
        converted,
        (denoiser.predicts_noise, denoiser.predicts_data, denoiser.predicts_velocity),
    )
    np.testing.assert_allclose(others, [first, first], rtol=1e-9)


def test_levels_are_a_distribution_and_refuse_what_is_none():
    decoder, gamma, data_of = Levels(3), jnp.array(-1.0), lambda z, gamma: z
    z = jnp.array([0.4])
    log_p = jnp.stack([decoder.log_prob(jnp.array([k]), z, gamma, data_of) for k in range(3)])
    np.testing.assert_allclose(jnp.sum(jnp.exp(log_p)), 1.0, rtol=1e-12)
    by_bayes = stats.norm.pdf(z, kernel.alpha(gamma) * np.array([-1.0, 0, 1]), kernel.sigma(gamma))
    np.testing.assert_allclose(jnp.exp(log_p), by_bayes / by_bayes.sum(), rtol=1e-10)
    assert decoder.log_prob(jnp.array([0.5]), z, gamma, data_of) == -jnp.inf
    assert jnp.isnan(decoder.log_prob(jnp.array([jnp.nan]), z, gamma, data_of))
    draws = jax.vmap(lambda key: decoder.sample(key, z, gamma, data_of))(
        jax.random.split(jax.random.key(0), 5000)
    )
    counts = np.bincount(np.asarray(draws[:, 0], int), minlength=3)
    assert stats.chisquare(counts, 5000 * np.exp(log_p)).pvalue > 1e-4


def test_antithetic_times_cover_the_unit_interval_evenly():
    times = np.sort(antithetic_times(jax.random.key(3), 8))
    np.testing.assert_allclose(np.diff(times), 1 / 8)
    assert times[0] >= 0
    assert times[-1] < 1


def test_times_outside_have_no_bound():
    model = normal_data.diffusion(1.0)
    at = lambda t: model.log_bound_at(jax.random.key(0), jnp.array(t), jnp.array(0.3))
    assert jnp.isnan(at(-0.01))
    assert jnp.isnan(at(1.01))
    assert jnp.isfinite(at(1.0))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"finite gamma_min < gamma_max.*must fall; got 5.0 and 1"):
        schedules.Linear(5.0, 1.0)
    with pytest.raises(ValueError, match="Cosine needs finite gamma_min < gamma_max"):
        schedules.Cosine(2.0, 2.0)
    with pytest.raises(ValueError, match="LearnedMonotone needs finite"):
        schedules.LearnedMonotone(float("nan"), 2.0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="num_units must be at least 1, got 0"):
        schedules.LearnedMonotone(num_units=0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="0 < beta_min <= beta_max"):
        schedules.LinearBeta(2.0, 1.0)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        normal_data.diffusion(1.0, num_steps=0)
    with pytest.raises(ValueError, match="num_levels must be at least 2, got 1"):
        Levels(1)
    with pytest.raises(ValueError, match=r"one event of shape \(\), got \(2,\)"):
        normal_data.diffusion(1.0).log_bound(jax.random.key(0), jnp.zeros(2))
    wide = denoiser.Denoiser(lambda z, gamma, cond: jnp.zeros(3))
    with pytest.raises(ValueError, match=r"event's shape \(2,\), got \(3,\)"):
        wide(jnp.zeros(2), jnp.array(0.0))
    assert Continuous() == Continuous()
