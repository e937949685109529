from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import families
from genmix.bounds import iwae
from genmix.bounds.estimators import (
    doubly_reparameterized,
    reparameterized,
    score_function,
    sticking_the_landing,
)
from genmix.bounds.log_weight import particles
from genmix.densities import normal
from genmix.families import (
    Bernoulli,
    LatentVariableModel,
    Normal,
    StandardNormal,
    weigh,
)
from genmix.nets import MLP
from tests import linear_gaussian

X = jnp.asarray(linear_gaussian.X, jnp.float32)


def log_weights(model, num_draws, x=X, seed=0, cond=None):
    one = lambda key: families.log_weight(model, key, x, cond)
    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), num_draws))


def assert_mean_weight(model, log_px, num_draws=200_000, **options):
    """Mean of exp(log_weight) / p(x) within 4 standard errors of 1: false alarm 6e-5."""
    ratio = np.exp(np.asarray(log_weights(model, num_draws, **options), float) - log_px)
    error = ratio.std(ddof=1) / np.sqrt(num_draws)
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 4 * error


def test_one_layer_is_unbiased():
    assert_mean_weight(linear_gaussian.one_layer(), linear_gaussian.exact_log_prob(1))


def test_a_model_as_the_prior_of_another_is_unbiased():
    assert_mean_weight(linear_gaussian.two_layers(), linear_gaussian.exact_log_prob(2))


def test_a_model_as_the_likelihood_of_another_is_unbiased():
    """z -> y -> x, grouped the other way round: x given z is itself a latent-variable model."""

    class Given(nnx.Module):
        """A prior or posterior of the inner model, which is conditioned on z."""

        def __init__(self, part):
            self.part = part

        def log_prob(self, x, cond: Any = None):
            return self.part.log_prob(x, cond)

        def sample_and_log_prob(self, key, cond: Any = None):
            x, _ = cond
            return self.part.sample_and_log_prob(key, x)

    class Decoder(nnx.Module):
        def log_prob(self, x, cond: Any = None):
            y, _ = cond
            return linear_gaussian.DECODER.log_prob(x, y)

    class Posterior(nnx.Module):
        """q(z | x) through a point guess of y."""

        def sample_and_log_prob(self, key, cond: Any = None):
            return linear_gaussian.INNER_ENCODER.sample_and_log_prob(
                key, linear_gaussian.ENCODER.mean(cond)
            )

    inner = LatentVariableModel(
        prior=Given(linear_gaussian.INNER_DECODER),
        likelihood=Decoder(),
        posterior=Given(linear_gaussian.ENCODER),
    )
    model = LatentVariableModel(prior=StandardNormal(1), likelihood=inner, posterior=Posterior())
    assert_mean_weight(model, linear_gaussian.exact_log_prob(2))


def test_importance_weighted_bounds_of_a_nested_model_stay_below_log_p():
    """Means of 20,000 bounds rise with k, below log p(x), within 4 standard errors."""
    log_px = linear_gaussian.exact_log_prob(2)
    means, errors = [], []
    for k in (1, 5, 50):
        w = log_weights(linear_gaussian.two_layers(), 20_000 * k, seed=k).reshape(-1, k)
        bounds = np.asarray(jax.vmap(iwae.bound)(w), float)
        means.append(bounds.mean())
        errors.append(bounds.std() / np.sqrt(len(bounds)))
    assert means[0] < means[1] < means[2]
    assert means[2] < log_px + 4 * errors[2]
    assert log_px - means[2] < 0.05


def test_terms_name_each_layer():
    terms = weigh.terms(linear_gaussian.two_layers(), jax.random.key(0), X)
    assert terms.log_prior.shape == terms.log_posterior.shape == (2,)
    np.testing.assert_allclose(
        terms.log_weight,
        terms.log_likelihood + terms.log_prior.sum() - terms.log_posterior.sum(),
        rtol=1e-6,
    )
    exact = weigh.terms(linear_gaussian.DECODER, jax.random.key(0), X, jnp.zeros(2))
    assert exact.rates.shape == (0,)
    assert exact.log_weight == linear_gaussian.DECODER.log_prob(X, jnp.zeros(2))


def _mean_gradient(draw, estimator, num_draws=40_000):
    """Mean and standard error of the nested model's IWAE gradient (k = 2)."""

    def bound(model, key):
        one = lambda key, draw: weigh.terms(model, key, X, None, draw)
        return estimator.estimate(key, one, iwae.bound, num_particles=2).bound

    keys = jax.random.split(jax.random.key(5), num_draws)
    model = linear_gaussian.two_layers()
    gradients = jax.jit(jax.vmap(jax.grad(bound), in_axes=(None, 0)))(model, keys)
    mean = jax.tree.map(lambda g: np.mean(np.asarray(g, float), 0), gradients)
    error = jax.tree.map(lambda g: np.std(np.asarray(g, float), 0) / np.sqrt(num_draws), gradients)
    return mean, error


@pytest.mark.parametrize("estimator", [doubly_reparameterized, sticking_the_landing])
def test_path_gradients_through_two_layers(estimator):
    """DReG agrees with the plain gradient for all parameters; path-only does not (it is biased).

    35 comparisons at 5 standard errors: false alarm 2e-5 over keys, the key is fixed.
    """
    plain, plain_error = _mean_gradient(None, reparameterized)
    other, other_error = _mean_gradient(None, estimator)
    z = jax.tree.map(
        lambda a, b, sa, sb: np.max(np.abs(a - b) / np.sqrt(sa**2 + sb**2)),
        plain, other, plain_error, other_error,
    )  # fmt: skip
    worst = max(jax.tree.leaves(z))
    assert worst < 5 if estimator is doubly_reparameterized else worst > 10


def test_score_function_through_two_layers():
    """Every sample is constant: only densities carry gradient."""

    def bound(model, key):
        terms = weigh.terms(model, key, X, None, score_function.draw)
        return terms.log_likelihood

    gradient = jax.grad(bound)(linear_gaussian.two_layers(), jax.random.key(0))
    assert all(jnp.all(g == 0) for g in jax.tree.leaves(gradient.posterior))
    assert jnp.any(gradient.likelihood.matrix[...] != 0)


def test_sampling_follows_the_model():
    """Moments of 50,000 draws within 5 standard errors."""
    draw = jax.jit(jax.vmap(linear_gaussian.two_layers().sample))
    x = np.asarray(draw(jax.random.split(jax.random.key(2), 50_000)), float)
    mean, covariance = linear_gaussian._push(np.zeros(1), np.eye(1), linear_gaussian.INNER_DECODER)
    mean, covariance = linear_gaussian._push(mean, covariance, linear_gaussian.DECODER)
    error = np.sqrt(np.diag(covariance) / len(x))
    assert np.all(np.abs(x.mean(0) - mean) < 5 * error)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.05)


def test_a_condition_reaches_every_part():
    class Prior(nnx.Module):
        def log_prob(self, z, cond: Any = None):
            return jnp.sum(-0.5 * (z - cond) ** 2 - 0.5 * jnp.log(2 * jnp.pi))

        def sample(self, key, cond: Any = None):
            return cond + jax.random.normal(key, (1,))

    class Likelihood(nnx.Module):
        def log_prob(self, x, cond: Any = None):
            z, c = cond
            return jnp.sum(-0.5 * (x - z - c) ** 2 - 0.5 * jnp.log(2 * jnp.pi))

        def sample(self, key, cond: Any = None):
            z, c = cond
            return z + c + jax.random.normal(key, (1,))

        def mean(self, cond: Any = None):
            return cond[0] + cond[1]

    class Posterior(nnx.Module):
        def sample_and_log_prob(self, key, cond: Any = None):
            x, _ = cond
            z = 0.5 * x + jax.random.normal(key, (1,))
            return z, jnp.sum(-0.5 * (z - 0.5 * x) ** 2 - 0.5 * jnp.log(2 * jnp.pi))

    model = LatentVariableModel(prior=Prior(), likelihood=Likelihood(), posterior=Posterior())
    c, x = jnp.array([0.7]), jnp.array([0.9])
    # x | c ~ N(2 c, 2)
    log_px = -0.25 * (0.9 - 1.4) ** 2 - 0.5 * np.log(4 * np.pi)
    assert_mean_weight(model, log_px, x=x, cond=c)
    assert model.sample(jax.random.key(0), c).shape == (1,)
    assert model.encode(jax.random.key(0), x, c).shape == (1,)
    np.testing.assert_allclose(model.decode(jnp.ones(1), c), 1.7)


def vae(encoder_width=8, latent=2):
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(latent),
        likelihood=Bernoulli(MLP(latent, (8,), (4,), rngs=rngs)),
        posterior=Normal(MLP(4, (encoder_width,), latent, rngs=rngs)),
    )


@pytest.mark.parametrize(
    "estimator", [reparameterized, sticking_the_landing, doubly_reparameterized]
)
def test_the_encoder_runs_once_for_all_particles(estimator):
    """FLOPs of the compiled gradient hardly grow with k when the encoder is most of the network."""
    model, x = vae(encoder_width=4096), jnp.ones((10, 4))

    def flops(k):
        def loss(model, keys, x):
            one = lambda key, x: (
                estimator.estimate(
                    key,
                    lambda key, draw: weigh.terms(model, key, x, None, draw),
                    iwae.bound,
                    num_particles=k,
                ).bound
            )
            return jnp.mean(jax.vmap(one)(keys, x))

        keys = jax.random.split(jax.random.key(0), 10)
        compiled = jax.jit(jax.value_and_grad(loss)).lower(model, keys, x).compile()
        cost: Any = compiled.cost_analysis()
        return cost["flops"]

    assert flops(16) < 1.6 * flops(2)


def test_the_rate_in_closed_form_is_the_mean_sampled_rate():
    """Within 5 standard errors of 100,000 samples; a mixture prior has no closed form."""
    model, x = vae(), jnp.array([1.0, 0.0, 0.0, 1.0])
    keys = jax.random.split(jax.random.key(0), 100_000)
    terms = jax.jit(jax.vmap(lambda key: weigh.terms(model, key, x)))(keys)
    rates = np.asarray(terms.rates[:, 0], float)
    closed = model.closed_rate(x)
    assert closed.shape == (2,)
    assert abs(rates.mean() - float(closed.sum())) < 5 * rates.std() / np.sqrt(rates.size)
    mixture = families.GaussianMixture(3, 2, rngs=nnx.Rngs(0))
    model = LatentVariableModel(
        prior=mixture, likelihood=model.likelihood, posterior=model.posterior
    )
    with pytest.raises(TypeError, match=r"KL\(Normal \|\| GaussianMixture\) has"):
        model.closed_rate(x)


def test_the_rate_in_closed_form_of_a_conditional_model_is_given_the_condition():
    """KL(N(1, s^2) || N(3, s^2)) = 2 / s^2 with s = softplus(0): the prior's mean is c."""

    class Numbers(nnx.Module):
        def __init__(self, loc):
            self.loc = loc

        def __call__(self, cond):
            return jnp.array([[self.loc(cond), 0.0]])

    prior = Normal(Numbers(lambda c: c), min_scale=1e-9)
    posterior = Normal(Numbers(lambda xc: xc[0]), min_scale=1e-9)
    model = LatentVariableModel(
        prior=prior, likelihood=linear_gaussian.DECODER, posterior=posterior
    )
    got = model.closed_rate(jnp.asarray(1.0), jnp.asarray(3.0))
    np.testing.assert_allclose(got, 2 / np.log(2) ** 2, rtol=1e-6)


class Energy(nnx.Module):
    def log_unnormalized(self, x, cond: Any = None):
        return -jnp.sum(x**4)


class Generator(nnx.Module):
    def sample(self, key, cond: Any = None):
        return jax.random.normal(key, (2,))


class Estimated(Generator):
    def log_weight(self, key, x, cond: Any = None):
        return jnp.zeros(())


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"prior": Generator()}, "Generator cannot be the prior: it has no density .* adversarial"),
        ({"likelihood": Generator()}, "Generator cannot be the likelihood: it has no density"),
        ({"likelihood": Energy()}, "Energy cannot be the likelihood: its density is not normal"),
        ({"posterior": Energy()}, "Energy cannot be the posterior: it has neither sample_and_log"),
        ({"posterior": Generator()}, "Generator cannot be the posterior: it draws samples but has"),
        ({"posterior": Estimated()}, "an unbiased log_weight is not enough in the denominator"),
    ],
)
def test_a_part_that_cannot_play_its_role_is_refused_at_construction(roles, message):
    parts = {
        "prior": StandardNormal(2),
        "likelihood": linear_gaussian.DECODER,
        "posterior": linear_gaussian.ENCODER,
    }
    with pytest.raises(TypeError, match=message):
        LatentVariableModel(**{**parts, **roles})


def test_decoding_needs_a_mean():
    model = vae()
    assert model.decode(jnp.zeros(2)).shape == (4,)

    class NoMean(nnx.Module):
        def log_prob(self, x, cond: Any = None):
            return jnp.zeros(())

    model = LatentVariableModel(
        prior=StandardNormal(2), likelihood=NoMean(), posterior=model.posterior
    )
    with pytest.raises(TypeError, match=r"NoMean has no mean, so decode\(z\) is not defined"):
        model.decode(jnp.zeros(2))


def test_an_unregistered_class_is_a_part():
    """Neither a base class nor NNX is needed; a plain function's closure can hold parameters."""

    class Laplace:
        def log_prob(self, z, cond: Any = None):
            return jnp.sum(-jnp.abs(z) - jnp.log(2.0))

    model = LatentVariableModel(
        prior=Laplace(), likelihood=linear_gaussian.DECODER, posterior=linear_gaussian.ENCODER
    )
    assert jnp.isfinite(model.log_weight(jax.random.key(0), X))


def test_particles_are_drawn_independently():
    one = lambda key, draw: weigh.terms(linear_gaussian.one_layer(), key, X, None, draw)
    terms = particles(jax.random.key(0), one, reparameterized.draw, 4)
    assert len(np.unique(np.asarray(terms.log_likelihood))) == 4


@pytest.mark.parametrize("role", ["prior", "likelihood", "posterior"])
def test_a_class_in_place_of_a_part_is_refused(role):
    model = linear_gaussian.one_layer()
    roles = ("prior", "likelihood", "posterior")
    parts: dict[str, Any] = {name: getattr(model, name) for name in roles}
    parts[role] = Normal
    with pytest.raises(TypeError, match=f"the {role} is the class Normal: build it, as in Normal"):
        LatentVariableModel(**parts)


class Fixed(NamedTuple):
    """With the methods of a prior, and an array."""

    loc: jax.Array

    def sample(self, key, cond=None):
        return self.loc + jax.random.normal(key, self.loc.shape)

    def log_prob(self, x, cond=None):
        return jnp.sum(normal.log_prob(x, self.loc, 1.0))


@pytest.mark.parametrize("role", ["prior", "likelihood", "posterior"])
@pytest.mark.parametrize(
    "part", [Fixed(jnp.zeros(2)), distrax.Normal(jnp.zeros(2), jnp.ones(2)), {"loc": jnp.zeros(2)}]
)
def test_arrays_that_a_model_cannot_see_are_refused(role, part):
    rngs, name = nnx.Rngs(0), type(part).__name__
    parts: dict[str, Any] = {
        "prior": StandardNormal(2),
        "likelihood": Normal(MLP(2, (), 2, rngs=rngs)),
        "posterior": Normal(MLP(2, (), 2, rngs=rngs)),
    }
    with pytest.raises(TypeError, match=rf"{name} cannot be the {role}: it holds arrays and is no"):
        LatentVariableModel(**parts | {role: part})
