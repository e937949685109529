import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.evaluation import elbo
from genmix.families import StandardNormal
from tests import linear_gaussian

X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def test_it_reaches_the_exact_elbo_and_its_parts():
    """Means of 8 estimates within 8 pooled standard errors: false alarm below 1e-4.

    Quadratics of q are integrated exactly by the points mean +- sqrt(dim) scale.
    """
    model = linear_gaussian.one_layer()
    offsets = np.sqrt(2) * np.concatenate([np.eye(2), -np.eye(2)]).astype(np.float32)

    def terms(x):
        points = model.posterior.mean(x)[None] + offsets * model.posterior.scale[...][None]
        mean = lambda f: jnp.mean(jax.vmap(f)(points))
        log_q = mean(lambda z: model.posterior.log_prob(z, x))
        return mean(lambda z: model.likelihood.log_prob(x, z)), log_q - mean(model.prior.log_prob)

    expected = jax.jit(jax.vmap(terms))(X)
    # Chunks that do not divide the events.
    runs = [
        elbo(key, model, X, num_samples=500, rows_per_chunk=1500)
        for key in jax.random.split(jax.random.key(0), 8)
    ]
    for name, exact in zip(("log_likelihood", "rates"), expected, strict=True):
        got = np.stack([getattr(run, name).reshape(7) for run in runs])
        error = got.std(0, ddof=1).mean() / np.sqrt(8)
        assert np.all(np.abs(got.mean(0) - exact) < 8 * error)
    np.testing.assert_allclose(runs[0].rate, runs[0].rates.mean(), rtol=1e-6)
    means = runs[0].log_likelihood.mean() - runs[0].rates.mean()
    np.testing.assert_allclose(runs[0].elbo, means, rtol=1e-6)
    values = runs[0].log_likelihood - runs[0].rates[:, 0]
    error = values.std(ddof=1) / np.sqrt(7)
    np.testing.assert_allclose(runs[0].standard_error, error, rtol=1e-6)
    exact = np.mean([linear_gaussian.exact_log_prob(1, x) for x in X])
    assert runs[0].elbo < exact


def test_layers_have_a_rate_each_and_exact_densities_none():
    two = elbo(jax.random.key(0), linear_gaussian.two_layers(), X, num_samples=3)
    assert two.rates.shape == (7, 2)
    normal = elbo(jax.random.key(0), StandardNormal(3), X, num_samples=1)
    assert normal.rates.shape == (7, 0)
    expected = -0.5 * np.sum(X**2, axis=1) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(normal.log_likelihood, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "x", "message"),
    [
        ({"num_samples": 0}, X, "num_samples must be at least 1, got 0"),
        ({"rows_per_chunk": 0}, X, "rows_per_chunk must be at least 1, got 0"),
        ({}, X[:0], "the number of events must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_estimated_is_refused(options, x, message):
    with pytest.raises(ValueError, match=message):
        elbo(jax.random.key(0), StandardNormal(3), x, **options)
