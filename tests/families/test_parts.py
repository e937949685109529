"""The explicit conditionals: densities, samples, means, and the shapes that they refuse."""

import itertools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix import capabilities
from genmix.densities import normal
from genmix.families import (
    Bernoulli,
    Categorical,
    Deterministic,
    DiscretizedLogistic,
    FullNormal,
    GaussianMixture,
    Independent,
    LatentVariableModel,
    Normal,
    StandardNormal,
    log_weight,
)
from genmix.nets import MLP, state

C = jnp.array([0.3, -1.0, 0.8])


def network(*out_shape):
    return MLP(3, (7,), out_shape, rngs=nnx.Rngs(1))


def draws(part, num_draws=20_000, cond: Any = C):
    keys = jax.random.split(jax.random.key(0), num_draws)
    return np.asarray(jax.jit(jax.vmap(lambda key: part.sample(key, cond)))(keys), float)


def assert_moments(samples, mean, variance):
    """Means within 5 standard errors (false alarm 6e-7 an entry), variances within 10 %."""
    error = np.sqrt(np.asarray(variance) / len(samples))
    assert np.all(np.abs(samples.mean(0) - np.asarray(mean)) < 5 * error)
    np.testing.assert_allclose(samples.var(0), variance, rtol=0.1)


def test_standard_normal():
    part = StandardNormal((2, 2))
    x = jnp.array([[0.1, -2.0], [3.0, 0.0]])
    np.testing.assert_allclose(part.log_prob(x), stats.norm.logpdf(x).sum(), rtol=1e-6)
    assert_moments(draws(part, cond=None), np.zeros((2, 2)), np.ones((2, 2)))
    drawn, log_prob = part.sample_and_log_prob(jax.random.key(1))
    assert log_prob == part.log_prob(drawn)
    assert StandardNormal(()).sample(jax.random.key(0)).shape == ()


def test_factorized_normal():
    part = Normal(network(2, 2))
    loc, scale = part.parameters(C)
    x = jnp.ones((2, 2))
    np.testing.assert_allclose(
        part.log_prob(x, C), stats.norm.logpdf(x, loc, scale).sum(), rtol=1e-5
    )
    assert_moments(draws(part), loc, scale**2)
    drawn, log_prob = part.sample_and_log_prob(jax.random.key(1), C)
    np.testing.assert_allclose(log_prob, part.log_prob(drawn, C), rtol=1e-6)
    np.testing.assert_array_equal(part.mean(C), loc)


def test_full_normal():
    part = FullNormal(network(3))
    loc, scale_tril = part.parameters(C)
    assert jnp.all(jnp.triu(scale_tril, 1) == 0)
    assert jnp.all(jnp.diag(scale_tril) > 0)
    covariance: Any = np.asarray(scale_tril @ scale_tril.T, float)
    x = jnp.array([0.4, -0.2, 1.0])
    expected = stats.multivariate_normal.logpdf(x, loc, covariance)
    np.testing.assert_allclose(part.log_prob(x, C), expected, rtol=1e-5)
    np.testing.assert_allclose(np.cov(draws(part).T), covariance, atol=0.05)
    drawn, log_prob = part.sample_and_log_prob(jax.random.key(1), C)
    np.testing.assert_allclose(log_prob, part.log_prob(drawn, C), rtol=1e-5)
    # Every output of the network is used.
    raw = jax.grad(lambda raw: FullNormal(lambda c: raw, 3).log_prob(x, C))(part.network(C))
    assert jnp.all(raw != 0)


def test_bernoulli():
    part = Bernoulli(network(3))
    events = jnp.array(list(itertools.product([0.0, 1.0], repeat=3)))
    log_prob = jax.vmap(lambda x: part.log_prob(x, C))(events)
    np.testing.assert_allclose(jnp.exp(log_prob).sum(), 1.0, rtol=1e-6)
    mean = part.mean(C)
    np.testing.assert_allclose(jnp.exp(log_prob) @ events, mean, rtol=1e-5)
    assert_moments(draws(part), mean, mean * (1 - mean))


def test_categorical():
    part = Categorical(network(2), num_levels=3)
    events = jnp.array(list(itertools.product(range(3), repeat=2)))
    log_prob = jax.vmap(lambda x: part.log_prob(x, C))(events)
    np.testing.assert_allclose(jnp.exp(log_prob).sum(), 1.0, rtol=1e-6)
    probabilities = jax.nn.softmax(part.numbers(C))
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-6)
    samples = draws(part)
    for i, j in itertools.product(range(2), range(3)):
        p = float(probabilities[i, j])
        assert abs(np.mean(samples[:, i] == j) - p) < 5 * np.sqrt(p / len(samples))


def test_discretized_logistic():
    part = DiscretizedLogistic(network(2, 1), num_levels=6)
    events = jnp.array(list(itertools.product(range(6), repeat=2)), jnp.float32)[:, :, None]
    log_prob = jax.vmap(lambda x: part.log_prob(x, C))(events)
    mass = np.exp(np.asarray(log_prob, float))
    np.testing.assert_allclose(mass.sum(), 1.0, rtol=1e-5)
    mean = np.tensordot(mass, np.asarray(events, float), axes=1)
    np.testing.assert_allclose(part.mean(C), mean, rtol=1e-4)
    assert_moments(draws(part), mean, np.tensordot(mass, np.asarray(events) ** 2, axes=1) - mean**2)


def test_gaussian_mixture():
    part = GaussianMixture(3, 2, rngs=nnx.Rngs(2))
    part.logits[...] = jnp.array([0.0, 1.0, -0.5])
    weights, loc, scale = jax.nn.softmax(part.logits[...]), part.loc[...], part.scale
    np.testing.assert_allclose(scale, 1.0, rtol=1e-6)
    x = jnp.array([0.3, -0.7])
    density = sum(
        float(weights[i]) * np.prod(stats.norm.pdf(x, loc[i], scale[i])) for i in range(3)
    )
    np.testing.assert_allclose(part.log_prob(x), np.log(density), rtol=1e-5)
    mean = part.mean()
    variance = weights @ (scale**2 + loc**2) - mean**2
    assert_moments(draws(part, cond=None), mean, variance)


@pytest.mark.parametrize(
    ("part", "x", "message"),
    [
        (StandardNormal(2), jnp.ones(3), r"one event of shape \(2,\), got \(3,\)"),
        (Normal(network(2)), jnp.ones(3), r"events of shape \(2,\), got x of \(3,\)"),
        (
            Normal(lambda c: jnp.ones(3)),
            jnp.ones(3),
            r"Normal needs 2 numbers for each entry.*\(3,\)",
        ),
        (
            FullNormal(lambda c: jnp.ones(6), 2),
            jnp.ones(2),
            r"FullNormal needs 5 numbers for each entry, on the last axis.*got \(6,\)",
        ),
        (Bernoulli(network(3)), jnp.ones((2, 3)), r"events of shape \(3,\), got x of \(2, 3\)"),
        (
            Categorical(network(2), num_levels=3),
            jnp.zeros(3, int),
            r"events of shape \(2,\), got x of \(3,\)",
        ),
        (DiscretizedLogistic(network(2)), jnp.ones(3), r"events of shape \(2,\), got x of \(3,\)"),
        (DiscretizedLogistic(lambda c: c), jnp.ones(3), r"needs 2 numbers.*got \(3,\)"),
        (
            Bernoulli(network(3)),
            jnp.ones(3),
            r"MLP expects one event of shape \(3,\), got",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(part, x, message):
    cond = jnp.ones((5, 3)) if "MLP" in message else C
    with pytest.raises(ValueError, match=message):
        part.log_prob(x, cond)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StandardNormal(0), r"shape must be positive, got \(0,\)"),
        (
            lambda: Normal(network(4), min_scale=0.0),
            "min_scale must be positive, got 0",
        ),
        (lambda: FullNormal(network(5), min_scale=-1.0), "min_scale must be positive, got -1.0"),
        (
            lambda: DiscretizedLogistic(network(4), num_levels=1),
            "num_levels must be at least 2",
        ),
        (lambda: DiscretizedLogistic(network(4), min_scale=0.0), "min_scale must be positive"),
        (lambda: GaussianMixture(0, 2, rngs=nnx.Rngs(0)), "must be positive, got 0 and 2"),
        (lambda: MLP(3, (0,), 2, rngs=nnx.Rngs(0)), r"MLP needs positive sizes, got .*\(0,\)"),
    ],
)
def test_parts_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_capabilities_are_what_the_parts_can_do():
    real, binary = Normal(network(4)), Bernoulli(network(3))
    assert isinstance(real, capabilities.Reparameterized)
    assert isinstance(real, capabilities.ClosedKL)
    assert not isinstance(binary, capabilities.Reparameterized)
    for part in (real, binary):
        assert isinstance(part, capabilities.ExactDensity)
        assert isinstance(part, capabilities.Samples)
        assert isinstance(part, capabilities.Mean)


def test_a_product_has_a_density_if_all_its_parts_have_one():
    """So that a model is refused when it is built, not when it is trained."""
    both = Independent((StandardNormal(2), Bernoulli(network(3))))
    drawn = Independent((StandardNormal(2), Deterministic(network(3))))
    nested = Independent((StandardNormal(2), drawn))
    assert both.sample(jax.random.key(0), C)[1].shape == (3,)
    assert isinstance(both, capabilities.ExactDensity)
    for part in (drawn, nested):
        assert isinstance(part, capabilities.Samples)
        assert not hasattr(part, "log_prob")
        with pytest.raises(TypeError, match="IndependentSampler cannot be the likelihood: it has"):
            LatentVariableModel(
                prior=StandardNormal(3),
                likelihood=cast(Any, part),
                posterior=Normal(network(3)),
            )
    np.testing.assert_array_equal(drawn.sample(jax.random.key(0), C)[1], network(3)(C))
    paths = [state.variables(part, nnx.Param) for part in (both, drawn)]
    assert all(path.startswith("parts") for part in paths for path in part)


def test_an_exact_density_is_weighted_for_free():
    part = Bernoulli(network(3))
    x = jnp.array([1.0, 0.0, 1.0])
    assert log_weight(part, jax.random.key(0), x, C) == part.log_prob(x, C)


def test_scales_stay_positive_for_any_network_output():
    for raw in (-1e4, 0.0, 1e4):
        part = Normal(lambda c, raw=raw: jnp.array([[0.0, raw]]))
        value, gradient = jax.value_and_grad(lambda x, part=part: part.log_prob(x))(jnp.ones(1))
        assert jnp.isfinite(value)
        assert jnp.all(jnp.isfinite(gradient))


@pytest.mark.parametrize("scale", [1e-3, 0.1, 2.0, 1e4])
def test_the_scale_is_the_one_that_was_asked_for(scale):
    with jax.enable_x64(True):
        likelihood = Normal(lambda z: 3.0 * z, scale=scale)
        z, x = jnp.array([0.2, -1.0]), jnp.array([0.5, 0.1])
        expected = stats.norm.logpdf(x, 3.0 * z, scale).sum()
        np.testing.assert_allclose(likelihood.log_prob(x, z), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_what_is_no_scale_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        Normal(lambda z: z, scale=scale)


def test_kl_is_to_the_prior_at_its_condition():
    """Each part of a pair may be given another condition, as in a ladder of latent layers."""
    q, p = Normal(network(2)), Normal(MLP(1, (), 2, rngs=nnx.Rngs(2)))
    given = jnp.array([0.4])
    expected = normal.kl(*q.parameters(C), *p.parameters(given))
    np.testing.assert_allclose(q.kl(p, C, given), expected, rtol=1e-6)
    with pytest.raises(TypeError, match=r"KL\(Normal \|\| GaussianMixture\) has no closed form"):
        q.kl(GaussianMixture(2, 2, rngs=nnx.Rngs(0)), C)
    with pytest.raises(TypeError, match=r"KL\(Normal \|\| Bernoulli\) has no closed form"):
        q.kl(Bernoulli(network(2)), C, C)
