import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.evaluation.baselines import independent_bernoulli, independent_histogram, row
from genmix.evaluation.latents import active_units, activities, rates
from genmix.evaluation.likelihood import log_likelihood
from genmix.families import LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from tests import linear_gaussian

X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


@pytest.mark.parametrize("layers", [1, 2])
def test_it_reaches_the_known_log_p(layers):
    """5,000 particles of an easy model: within 5 of its own standard errors."""
    model = linear_gaussian.one_layer() if layers == 1 else linear_gaussian.two_layers()
    exact = np.array([linear_gaussian.exact_log_prob(layers, x) for x in X])
    result = log_likelihood(jax.random.key(0), model, X, num_particles=5000)
    np.testing.assert_allclose(result.log_px, exact, atol=0.15)
    assert np.all(np.abs(result.log_px - exact) < 5 * result.monte_carlo_error + 1e-4)
    np.testing.assert_allclose(result.nll, -result.log_px.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        result.standard_error, result.log_px.std(ddof=1) / np.sqrt(7), rtol=1e-6
    )


def test_it_is_the_log_of_the_mean_weight():
    """Chunks of particles that do not divide k, and of events that do not divide n."""

    class Noisy(nnx.Module):
        """Weights whose mean is known, since they depend on the key alone."""

        def log_weight(self, key, x, cond=None):
            return jnp.log(jax.random.uniform(key)) + x[0]

    for num_particles, rows in ((1, 1), (700, 1500), (1201, 700)):
        result = log_likelihood(
            jax.random.key(0), Noisy(), X, num_particles=num_particles, rows_per_chunk=rows
        )
        atol = 10.0 if num_particles == 1 else 5 * np.sqrt(1 / 3 / num_particles)
        np.testing.assert_allclose(result.log_px, X[:, 0] + np.log(0.5), atol=atol)
        if num_particles > 1:
            # Var(u) / E[u]^2 = 1 / 3
            expected = np.sqrt(1 / 3 / num_particles)
            np.testing.assert_allclose(result.monte_carlo_error, expected, rtol=0.2)
    assert len(np.unique(result.log_px - X[:, 0])) == 7  # events have particles of their own


def test_an_exact_density_needs_one_particle():
    class Normal(nnx.Module):
        def log_prob(self, x, cond=None):
            return jnp.sum(jax.scipy.stats.norm.logpdf(x))

    result = log_likelihood(jax.random.key(0), Normal(), X, num_particles=1)
    np.testing.assert_allclose(result.log_px, jax.scipy.stats.norm.logpdf(X).sum(1), rtol=1e-5)
    np.testing.assert_allclose(result.monte_carlo_error, 0.0, atol=1e-6)


def test_dropout_is_off():
    class Masked(nnx.Module):
        def __init__(self):
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

        def log_prob(self, x, cond=None):
            return jnp.sum(self.dropout(x))

    model = Masked()
    result = log_likelihood(jax.random.key(0), model, X, num_particles=1)
    np.testing.assert_allclose(result.log_px, X.sum(1), rtol=1e-5)
    assert not model.dropout.deterministic  # the caller's model is as it was


def test_impossible_events_have_minus_infinity():
    class Nothing(nnx.Module):
        def log_prob(self, x, cond=None):
            return jnp.where(x[0] > 0, 0.0, -jnp.inf)

    result = log_likelihood(jax.random.key(0), Nothing(), X, num_particles=3)
    np.testing.assert_array_equal(result.log_px, np.where(X[:, 0] > 0, 0.0, -np.inf).astype("f"))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X, {"num_particles": 0}, "num_particles must be at least 1, got 0"),
        (X, {"num_particles": 5, "rows_per_chunk": 0}, "rows_per_chunk must be at least 1, got 0"),
        (X[:0], {"num_particles": 5}, "the number of events must be at least 1, got 0"),
    ],
)
def test_bad_counts_are_refused(x, options, message):
    with pytest.raises(ValueError, match=message):
        log_likelihood(jax.random.key(0), linear_gaussian.one_layer(), x, **options)


def known_activity():
    """The first dimension's posterior mean is 2 x, the second's is a constant."""

    class Means(nnx.Module):
        def __call__(self, x):
            return jnp.array([[2.0, 0.0], [0.0, 0.0]]) * x[0] + jnp.array([[0.0, 1.0], [0.5, -3.0]])

    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=linear_gaussian.DECODER,
        posterior=Normal(Means()),
    )


def test_active_units_of_known_activity():
    """Sampling noise in the posterior means is taken off: the idle unit stays idle."""
    x = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    (values,) = activities(jax.random.key(0), known_activity(), x, num_samples=100)
    np.testing.assert_allclose(values[0], np.var(2 * x[:, 0], ddof=1), rtol=0.05)
    assert abs(values[1]) < 3e-3
    (active,) = active_units(jax.random.key(0), known_activity(), x)
    assert active.tolist() == [True, False]


def test_active_units_of_an_inner_layer():
    x = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    outer, inner = activities(jax.random.key(0), linear_gaussian.two_layers(), x, num_samples=50)
    assert outer.shape == (2,)
    assert inner.shape == (1,)
    matrix = linear_gaussian.INNER_ENCODER.matrix[...] @ linear_gaussian.ENCODER.matrix[...]
    expected = np.var(x @ np.asarray(matrix).T, axis=0, ddof=1)
    np.testing.assert_allclose(inner, expected, atol=0.02)
    with pytest.raises(ValueError, match="num_samples must be at least 2, got 1"):
        activities(jax.random.key(0), known_activity(), x, num_samples=1)


def test_rates_are_the_closed_divergence():
    rngs = nnx.Rngs(0)
    model = LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=linear_gaussian.DECODER,
        posterior=Normal(MLP(3, (5,), 2, rngs=rngs)),
    )
    loc, scale = jax.vmap(model.posterior.parameters)(jnp.asarray(X))
    expected = np.mean(0.5 * (loc**2 + scale**2 - 1) - np.log(scale), axis=0)
    np.testing.assert_allclose(rates(model, X), expected, rtol=1e-4)


def test_independent_bernoulli():
    train = np.array([[1.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    value = independent_bernoulli(train, np.array([[1.0, 0.0], [0.0, 1.0]]))
    expected = [np.log(3.5 / 5 * 4 / 5), np.log(1.5 / 5 * 1 / 5)]
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_a_baseline_has_a_row():
    expected = {"model": "none", "nll": 2.0, "nll_standard_error": 1.0}
    assert row("none", np.array([-1.0, -3.0])) == pytest.approx(expected)


def test_independent_histogram_sums_to_one():
    train = np.random.default_rng(0).integers(0, 4, (20, 2)).astype(np.float32)
    grid = np.array([[a, b] for a in range(4) for b in range(4)], np.float32)
    log_prob = independent_histogram(train, grid, num_levels=4)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-12)
    count = np.sum(train[:, 0] == 2) + 1, np.sum(train[:, 1] == 3) + 1
    np.testing.assert_allclose(log_prob[11], np.log(count[0] / 24 * count[1] / 24), rtol=1e-12)


def test_a_long_estimate_shows_how_far_it_is(monkeypatch, capsys):
    part, x = StandardNormal(2), np.zeros((25, 2), np.float32)
    estimate = lambda: log_likelihood(
        jax.random.key(0), part, x, num_particles=1, rows_per_chunk=10
    )
    quiet = estimate().log_px
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("genmix.evaluation.likelihood._SHOW_AFTER", 0.0)
    np.testing.assert_array_equal(estimate().log_px, quiet)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("likelihood  10/25  0:00:0")
    assert lines[-1].startswith("likelihood  25/25  0:00:0")
