"""Chains, samplers and flows of a diffusion on data of N(0, s^2)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion import variances
from genmix.families.diffusion.chain import DiffusionChain
from genmix.families.diffusion.ddim import DDIM
from genmix.families.diffusion.decoders import Levels
from genmix.families.diffusion.denoiser import Denoiser, predicts_data
from genmix.families.diffusion.diffusion import Diffusion
from genmix.families.diffusion.guidance import Guided
from genmix.families.diffusion.multiplication import Multiplied, inpainted
from genmix.families.diffusion.probability_flow import ProbabilityFlow
from genmix.families.diffusion.schedules import Cosine
from tests.families.diffusion import normal_data

pytestmark = pytest.mark.usefixtures("x64")

X = np.array([0.3, -1.1, 2.0])


@pytest.mark.parametrize("name", normal_data.SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 7])
def test_every_path_of_standard_normal_data_weighs_what_x_does(name, num_steps):
    """Data of N(0, I) is reversible: the reverse kernel is the forward one."""
    model = normal_data.diffusion(1.0, schedule=name, shape=(3,))
    chain = DiffusionChain(model, num_steps, variances.beta)
    keys = jax.random.split(jax.random.key(0), 5)
    weights = jax.vmap(lambda key: chain.log_weight(key, jnp.asarray(X)))(keys)
    np.testing.assert_allclose(weights, stats.norm.logpdf(X).sum(), rtol=1e-9)


def test_the_mean_weight_is_the_likelihood():
    """Of data with another scale than the chain's: within 5 standard errors, 6e-7."""
    chain = DiffusionChain(normal_data.diffusion(0.8, schedule="cosine"), 6)
    keys = jax.random.split(jax.random.key(1), 50_000)
    weigh = jax.jit(jax.vmap(lambda key: chain.log_weight(key, jnp.array(0.4))))
    weights = np.exp(np.asarray(weigh(keys)))
    # The variance of p(x) that the chain has is not s^2; its exact value is a product of scalars.
    loc, variance = 0.0, 1.0
    gammas = np.asarray(normal_data.gammas(chain.diffusion, 7))
    for s, t in zip(gammas[-2::-1], gammas[:0:-1], strict=True):
        said = normal_data.Optimal(0.8)(jnp.array(1.0), jnp.array(t))
        slope = float(kernel.backward_mean(*said, jnp.array(s), jnp.array(t)))
        loc, variance = (
            slope * loc,
            slope**2 * variance + float(kernel.backward_variance(jnp.array(s), jnp.array(t))),
        )
    slope = float(normal_data.Optimal(0.8)(jnp.array(1.0), jnp.array(gammas[0])).data)
    variance = slope**2 * variance + float(kernel.sigma(jnp.array(gammas[0]))) ** 2
    expected = stats.norm.pdf(0.4, scale=np.sqrt(variance))
    error = weights.std() / np.sqrt(len(weights))
    assert error < 0.02 * expected
    assert abs(weights.mean() - expected) < 5 * error


@pytest.mark.parametrize("num_steps", [1, 2, 4, 16])
def test_a_steps_kl_is_the_fall_of_the_signal_to_noise_ratio(num_steps):
    """1/2 (SNR(s) - SNR(t)) |x - predicted x|^2 with the variance beta-tilde."""
    model = normal_data.diffusion(1.3)
    chain, noise, x = DiffusionChain(model, num_steps), jnp.array(0.4), jnp.array(-0.9)
    gammas = normal_data.gammas(model, num_steps + 1)
    for i in range(1, num_steps + 1):
        z = kernel.diffuse(x, noise, gammas[i])
        away = (x - model.denoiser(z, gammas[i]).data) ** 2
        expected = 0.5 * (jnp.exp(-gammas[i - 1]) - jnp.exp(-gammas[i])) * away
        got = chain.step_kl(noise, jnp.array(i), x)
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_the_excess_of_few_steps_falls_to_nothing():
    """The loss of T steps of N(0, s^2) data is a sum in closed form, above the integral's."""
    s, excess = 1.3, []
    signs = jnp.array([-1.0, 1.0])
    for num_steps in (1, 4, 16, 64):
        chain = DiffusionChain(normal_data.diffusion(s), num_steps)
        gammas = np.asarray(normal_data.gammas(chain.diffusion, num_steps + 1))
        over_noise = jax.vmap(chain.step_kl, (0, None, None))
        over = jax.vmap(jax.vmap(over_noise, (None, None, 0)), (None, 0, None))
        kls = jnp.mean(jax.jit(over)(signs, jnp.arange(1, num_steps + 1), s * signs), (1, 2))
        ratio = np.exp(-gammas)
        expected = 0.5 * (ratio[:-1] - ratio[1:]) * s**2 / (1 + s**2 * ratio[1:])
        np.testing.assert_allclose(kls, expected, rtol=1e-9)
        exact = 0.5 * np.log((1 + s**2 * ratio[0]) / (1 + s**2 * ratio[-1]))
        excess.append(float(jnp.sum(kls)) - exact)
    assert excess == sorted(excess, reverse=True)
    assert 0 < excess[-1] < 0.5


def test_one_random_step_is_unbiased_for_the_whole_bound():
    """Antithetic times, one in each step, make the sum itself."""
    chain = DiffusionChain(normal_data.diffusion(0.7), 8)
    key, x = lambda: jax.random.key(0), jnp.array(0.5)
    times = (jnp.arange(8) + 0.5) / 8
    mean = jnp.mean(jax.vmap(lambda t: chain.log_bound_at(key(), t, x))(times))
    end_key, noise_key = jax.random.split(key())
    noise = jax.random.normal(noise_key, (), jnp.float64)
    kls = jax.vmap(lambda i: chain.step_kl(noise, i, x))(jnp.arange(1, 9))
    np.testing.assert_allclose(
        mean, chain.diffusion.log_ends(end_key, x) - jnp.sum(kls), rtol=1e-12
    )
    assert jnp.isnan(chain.log_bound_at(key(), jnp.array(1.5), x))


def test_learned_variances_lie_between_the_two():
    s, t, z = jnp.array(-2.0), jnp.array(0.5), jnp.zeros(3)
    low, high = variances.beta_tilde(z, s, t), variances.beta(z, s, t)
    learned = variances.Learned(lambda z, gamma, cond: jnp.array([-50.0, 0.0, 50.0]))(z, s, t)
    np.testing.assert_allclose(learned, [low, jnp.sqrt(low * high), high], rtol=1e-9)
    with pytest.raises(ValueError, match=r"event's shape \(3,\), got \(2,\)"):
        variances.Learned(lambda z, gamma, cond: jnp.zeros(2))(z, s, t)


def test_ddim_of_eta_one_is_the_ancestral_sampler():
    """Bit for bit, with the same keys."""
    model = normal_data.diffusion(0.6, schedule="cosine", shape=(2,), num_steps=9)
    key, times = lambda: jax.random.key(0), np.linspace(0, 1, 10)
    ancestral = DiffusionChain(model, 9, variances.beta_tilde).sample(key())
    np.testing.assert_array_equal(DDIM(model, times, eta=1.0).sample(key()), ancestral)
    np.testing.assert_array_equal(model.sample(key()), ancestral)


def test_ddim_of_eta_zero_tends_to_the_flow_at_first_order():
    s = 0.7
    model = normal_data.diffusion(s)
    low, high = model.levels(jnp.array([0.0, 1.0]))
    scale = lambda g: np.sqrt((kernel.alpha(g) * s) ** 2 + kernel.sigma(g) ** 2)
    expected = float(scale(low) / scale(high))
    errors = []
    for num_steps in (50, 200, 800):
        path = DDIM(model, np.linspace(0, 1, num_steps + 1)).path(jax.random.key(0))
        errors.append(abs(float(path[0] / path[-1]) / expected - 1))
    assert errors[0] < 0.3
    for coarse, fine in itertools.pairwise(errors):
        assert 3 < coarse / fine < 5


def test_any_subsequence_of_times_will_do():
    model = normal_data.diffusion(0.7, shape=(2,))
    path = DDIM(model, [0.0, 0.1, 0.5, 1.0], eta=0.3).path(jax.random.key(0))
    assert path.shape == (4, 2)
    assert jnp.all(jnp.isfinite(path))


@pytest.mark.parametrize("s", [0.5, 1.6])
def test_the_flows_density_is_exact_for_normal_data(s):
    """That of the data with the smallest noise; divergences are exact in both ways in 1-D."""
    model = normal_data.diffusion(s, schedule="cosine", shape=(3,))
    flow = ProbabilityFlow(model, 400)
    low, high = model.levels(jnp.array([0.0, 1.0]))
    # It starts from N(0, I), where the data at gamma(1) has nearly that scale.
    start = np.sqrt((kernel.alpha(high) * s) ** 2 + kernel.sigma(high) ** 2)
    scale = np.sqrt(s**2 + np.exp(low)) / start
    expected = stats.norm.logpdf(X, scale=scale).sum()
    np.testing.assert_allclose(flow.log_prob(jnp.asarray(X)), expected, rtol=1e-8)
    estimate = flow.log_bound(jax.random.key(0), jnp.asarray(X))
    np.testing.assert_allclose(estimate, expected, rtol=1e-8)


def test_the_traces_agree_on_average_where_entries_depend_on_each_other():
    """Within 5 standard errors: the false alarm is 6e-7."""
    mix = jnp.array([[0.6, 0.3], [-0.2, 0.5]])
    network = lambda z, gamma, cond: jnp.tanh(mix @ z + 0.1 * gamma)
    model = Diffusion(
        Denoiser(network), shape=(2,), schedule=normal_data.SCHEDULES["cosine"](), num_steps=4
    )
    flow, x = ProbabilityFlow(model, 12), jnp.array([0.4, -0.3])
    exact = jax.jit(flow.log_prob)(x)
    estimate = jax.jit(jax.vmap(lambda key: flow.log_bound(key, x)))
    estimates = np.asarray(estimate(jax.random.split(jax.random.key(0), 4000)))
    error = estimates.std() / np.sqrt(len(estimates))
    assert error > 0
    assert abs(estimates.mean() - exact) < 5 * error


def test_the_flow_draws_from_its_density():
    """Kolmogorov-Smirnov at 1e-4."""
    model = normal_data.diffusion(0.5, schedule="cosine")
    flow = ProbabilityFlow(model, 30)
    draws = jax.jit(jax.vmap(flow.sample))(jax.random.split(jax.random.key(0), 2000))
    low, high = model.levels(jnp.array([0.0, 1.0]))
    start = np.sqrt((kernel.alpha(high) * 0.5) ** 2 + kernel.sigma(high) ** 2)
    scale = float(np.sqrt(0.25 + np.exp(low)) / start)
    assert stats.kstest(np.asarray(draws), stats.norm(scale=scale).cdf).pvalue > 1e-4


def conditional(z, gamma, cond=None):
    """Denoiser of N(cond, 1)."""
    alpha = kernel.alpha(gamma)
    return Denoiser(lambda z, g, c: alpha * (z - alpha * c) + c, predicts_data)(z, gamma, cond)


def test_guidance_adds_the_scores():
    z, gamma = jnp.array([0.2, 0.5]), jnp.array(0.3)
    cond, nothing = jnp.array([1.0, -1.0]), jnp.zeros(2)
    same = Guided(conditional, 0.0, nothing)(z, gamma, cond)
    for a, b in zip(same, conditional(z, gamma, cond), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    guided = Guided(conditional, 2.0, nothing)(z, gamma, cond)
    given, free = conditional(z, gamma, cond), conditional(z, gamma, nothing)
    np.testing.assert_allclose(guided.noise, 3 * given.noise - 2 * free.noise, rtol=1e-12)
    np.testing.assert_allclose(
        kernel.alpha(gamma) * guided.data + kernel.sigma(gamma) * guided.noise, z, rtol=1e-12
    )


def test_multiplication_by_a_normal_factor_gives_the_conjugate_posterior():
    """Mean and variance of the flow's map, which is affine, against Bayes' rule."""
    s, scale, observed, mask = 0.7, 0.4, jnp.array([0.9, 5.0]), jnp.array([1.0, 0.0])
    factor = Multiplied(
        normal_data.Optimal(s), observed=observed, mask=mask, scale=scale, data_scale=s
    )
    schedule = Cosine(-13.0, 18.0)
    model = Diffusion(factor, shape=(2,), schedule=schedule)
    flow = ProbabilityFlow(model, 400)
    draw = jax.jit(jax.vmap(flow.sample))
    draws = draw(jax.random.split(jax.random.key(0), 500))
    gammas = model.levels(jnp.linspace(0, 1, 401))
    starts = jax.vmap(lambda k: jax.random.normal(k, (2,), gammas.dtype))(
        jax.random.split(jax.random.key(0), 500)
    )
    slope, loc = np.polyfit(starts[:, 0], draws[:, 0], 1)
    variance = 1 / (1 / s**2 + 1 / scale**2)
    np.testing.assert_allclose(loc, variance * 0.9 / scale**2, rtol=1e-4)
    np.testing.assert_allclose(slope, np.sqrt(variance), rtol=1e-4)
    np.testing.assert_allclose(np.polyfit(starts[:, 1], draws[:, 1], 1), [s, 0.0], atol=1e-4)


def test_inpainting_is_certain_of_what_is_known():
    observed, mask = jnp.array([0.5, 0.0, -0.8]), jnp.array([1.0, 0.0, 1.0])
    factor = Multiplied(normal_data.Optimal(1.0), observed=observed, mask=mask)
    model = Diffusion(factor, shape=(3,), schedule=normal_data.SCHEDULES["linear"](), num_steps=50)
    draws = jax.jit(jax.vmap(model.sample))(jax.random.split(jax.random.key(0), 200))
    np.testing.assert_allclose(draws[:, ::2], np.tile([0.5, -0.8], (200, 1)), atol=0.12)
    assert 0.7 < np.std(draws[:, 1]) < 1.3  # of 1 with 200 draws: 6 standard errors
    filled = inpainted(draws[0], observed, mask)
    np.testing.assert_array_equal(filled[::2], [0.5, -0.8])
    assert filled[1] == draws[0, 1]


def test_bad_arguments_are_refused():
    model = normal_data.diffusion(1.0)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        DiffusionChain(model, 0)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        ProbabilityFlow(model, 0)
    with pytest.raises(ValueError, match="goes from 0 to 1"):
        DDIM(model, [0.1, 1.0])
    with pytest.raises(ValueError, match="rise from 0 to 1 without a step back"):
        DDIM(model, [0.0, 0.6, 0.5, 1.0])
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\], got 2"):
        DDIM(model, [0.0, 1.0], eta=2.0)
    with pytest.raises(TypeError, match="real events, got one that decodes with Levels"):
        ProbabilityFlow(normal_data.diffusion(1.0, decoder=Levels(2)), 3)
    with pytest.raises(ValueError, match="stands for none, got None"):
        Guided(conditional, 1.0, None)
    with pytest.raises(ValueError, match="needs a condition to guide to"):
        Guided(conditional, 1.0, jnp.zeros(1))(jnp.zeros(1), jnp.array(0.0))
    zeros = jnp.zeros(2)
    with pytest.raises(ValueError, match=r"mask must have the shape.*\(2,\), got \(3,\)"):
        Multiplied(model.denoiser, observed=zeros, mask=jnp.zeros(3))
    with pytest.raises(ValueError, match="scale must not be negative"):
        Multiplied(model.denoiser, observed=zeros, mask=zeros, scale=-1.0)
    with pytest.raises(ValueError, match=r"events of shape \(2,\), got \(3,\)"):
        Multiplied(model.denoiser, observed=zeros, mask=zeros)(jnp.zeros(3), jnp.array(0.0))
    with pytest.raises(ValueError, match="three arrays of one shape"):
        inpainted(zeros, zeros, jnp.zeros(3))
