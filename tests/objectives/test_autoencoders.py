"""Autoencoders against what is known of them: principal components, and the best denoiser."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import evaluation, objectives
from genmix.data import corruption
from genmix.families import Autoencoder, Deterministic, Normal, SaltAndPepper, StandardNormal
from genmix.inference import pca
from genmix.training import Player, compile_rounds, start

DIM, K = 5, 2


def events(n: int = 200) -> jax.Array:
    scales = jnp.array([2.0, 1.5, 0.8, 0.5, 0.2], float)
    basis = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (DIM, DIM), float))[0]
    return jax.random.normal(jax.random.key(2), (n, DIM), float) * scales[None] @ basis + 1.0


def linear(k: int, seed: int = 0, scale: float = 0.5**0.5) -> Autoencoder:
    """log p(x | z) is minus the squared distance, plus a constant."""
    rngs = nnx.Rngs(seed)
    layer = lambda a, b: nnx.Linear(a, b, param_dtype=jnp.float64, rngs=rngs)
    return Autoencoder(
        prior=StandardNormal(k),
        likelihood=Normal(layer(k, DIM), scale=scale),
        posterior=Deterministic(layer(DIM, k)),
    )


def test_components_are_those_of_the_covariance(x64):
    x = events()
    found = pca.fit(x, K)
    covariance = np.cov(np.asarray(x).T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(found.variances, values[::-1], rtol=1e-10)
    top = vectors[:, ::-1][:, :K]
    np.testing.assert_allclose(found.projector, top @ top.T, atol=1e-10)
    again = jax.vmap(lambda x: found.decode(found.encode(x)))(x)
    distance = jnp.mean(jnp.sum((x - again) ** 2, axis=1))
    np.testing.assert_allclose(distance, found.discarded, rtol=1e-10)


def test_a_trained_linear_autoencoder_is_pca(x64):
    """Loss to the sum of the discarded eigenvalues, and the decoder's plane to the components'."""
    x = events()
    player = Player(loss=objectives.reconstruction(), optimizer=optax.lbfgs())
    state = start(jax.random.key(0), linear(K), [player])
    with jax.debug_key_reuse(False):  # a line search asks for the same loss, with the same noise
        state, metrics = compile_rounds([player], batch_size=len(x), num_rounds=200)(state, x)
    found = pca.fit(x, K)
    constant = DIM / 2 * np.log(np.pi)
    np.testing.assert_allclose(metrics["loss"][-1] - constant, found.discarded, rtol=1e-9)
    span, _ = jnp.linalg.qr(state.model.likelihood.network.kernel[...].T)
    np.testing.assert_allclose(span @ span.T, found.projector, atol=1e-5)


def best_denoiser(mean, covariance, scale):
    gain = covariance @ jnp.linalg.inv(covariance + scale**2 * jnp.eye(len(mean)))
    return lambda x: mean + gain @ (x - mean)


def test_the_residual_of_the_best_denoiser_is_the_score_of_noised_events(x64):
    x, scale = events(), 0.7
    mean, covariance = jnp.mean(x, axis=0), jnp.cov(x.T)
    noised = jax.scipy.stats.multivariate_normal.logpdf
    score = jax.grad(lambda x: noised(x, mean, covariance + scale**2 * jnp.eye(DIM)))
    denoise = best_denoiser(mean, covariance, scale)
    for point in x[:3]:
        got = evaluation.denoised_score(denoise, point, scale)
        np.testing.assert_allclose(got, score(point), rtol=1e-9)


def test_a_denoiser_explains_the_clean_event(x64):
    """The best linear denoiser is where the gradient vanishes: within 5 standard errors, of 30
    entries, false alarm 2e-5. A loss that scored the corrupted event would have its own there."""
    scale, n = 0.7, 20_000
    x = events(n)
    mean, covariance = jnp.mean(x, axis=0), jnp.cov(x.T, bias=True)
    gain = covariance @ jnp.linalg.inv(covariance + scale**2 * jnp.eye(DIM))
    model = linear(DIM)
    model.posterior.network.kernel[...] = jnp.eye(DIM)
    model.posterior.network.bias[...] = jnp.zeros(DIM)
    model.likelihood.network.kernel[...] = gain.T
    model.likelihood.network.bias[...] = mean - gain @ mean
    term = objectives.reconstruction(corrupt=corruption.gaussian(scale))

    def slope(key, x):
        gradient = jax.grad(lambda m: term(m, key, x[None], ())[0])(model)
        network = gradient.likelihood.network
        return jnp.concatenate([network.kernel[...].reshape(-1), network.bias[...]])

    slopes = jax.vmap(slope)(jax.random.split(jax.random.key(3), n), x)
    error = jnp.std(slopes, axis=0) / np.sqrt(n)
    assert jnp.all(jnp.abs(jnp.mean(slopes, axis=0)) < 5 * error)


def test_corruptions_do_what_they_say():
    """Rates within 5 standard errors: false alarm 6e-7; the key is fixed."""
    x = jnp.full(10_000, 0.5)
    masked = corruption.masking(0.3)(jax.random.key(0), x)
    assert set(np.unique(masked)) == {0.0, 0.5}  # what is kept is not made larger
    assert abs(jnp.mean(masked == 0) - 0.3) < 5 * np.sqrt(0.21 / 10_000)
    noise = corruption.gaussian(2.0)(jax.random.key(1), x) - x
    assert abs(jnp.std(noise) - 2.0) < 5 * 2.0 / np.sqrt(20_000)
    term = objectives.reconstruction(corrupt=SaltAndPepper(0.5).sample)
    with jax.enable_x64(True):
        value, _ = term(linear(K), jax.random.key(2), events(4), ())
    assert jnp.isfinite(value)


def test_psnr_is_in_decibels():
    x = jnp.zeros((4, 4))
    np.testing.assert_allclose(evaluation.psnr(x, x + 0.1), 20, rtol=1e-6)
    np.testing.assert_allclose(evaluation.psnr(x, x + 25.5, peak=255.0), 20, rtol=1e-6)
    assert evaluation.psnr(x, x) == jnp.inf


def test_bad_input_is_refused_in_words():
    with pytest.raises(ValueError, match=r"num_components must be between 1 and 3, .* got 4"):
        pca.fit(jnp.zeros((3, 5)), 4)
    with pytest.raises(ValueError, match=r"one shape, got \(2,\), \(3,\)"):
        evaluation.psnr(jnp.zeros(2), jnp.zeros(3))
    with pytest.raises(ValueError, match="peak must be positive, got 0"):
        evaluation.psnr(jnp.zeros(2), jnp.zeros(2), peak=0.0)
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        evaluation.denoised_score(lambda x: x, jnp.zeros(2), 0.0)
    with pytest.raises(ValueError, match="scale must be positive, got -1"):
        corruption.gaussian(-1.0)
    with pytest.raises(ValueError, match="rate must be between 0 and 1, got 1"):
        corruption.masking(1.0)
