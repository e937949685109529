"""Every estimator's value is the bound's, and its mean gradient the known one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import bernoulli, norm

from genmix.bounds import Bound, baselines, elbo, iwae, renyi, vr_max
from genmix.bounds.estimators import (
    doubly_reparameterized,
    reparameterized,
    resampled,
    score_function,
    sticking_the_landing,
    vimco,
    weighted,
)
from genmix.bounds.log_weight import Terms, particles
from tests.bounds import conjugate

RENYI = renyi.of_order(0.5)
NUM_DRAWS = 100_000


def score(baseline):
    return functools.partial(score_function.estimate, baseline=baseline)


UNBIASED = {
    "plain elbo": (reparameterized.estimate, elbo.bound),
    "plain iwae": (reparameterized.estimate, iwae.bound),
    "plain renyi": (reparameterized.estimate, RENYI),
    "plain vr-max": (reparameterized.estimate, vr_max.bound),
    "stl elbo": (sticking_the_landing.estimate, elbo.bound),
    "dreg elbo": (doubly_reparameterized.estimate, elbo.bound),
    "dreg iwae": (doubly_reparameterized.estimate, iwae.bound),
    "dreg renyi": (doubly_reparameterized.estimate, RENYI),
    "weighted iwae": (weighted.estimate, iwae.bound),
    "resampled elbo": (resampled.estimate, elbo.bound),
    "resampled iwae": (resampled.estimate, iwae.bound),
    "resampled renyi": (resampled.estimate, RENYI),
    "score elbo": (score(jnp.zeros_like), elbo.bound),
    "score iwae": (score(jnp.zeros_like), iwae.bound),
    "leave-one-out elbo": (score(baselines.mean_of_others), elbo.bound),
    "leave-one-out renyi": (score(baselines.mean_of_others), RENYI),
    "constant iwae": (score(lambda w: jnp.full_like(w, -1.0)), iwae.bound),
    "vimco": (score(baselines.mean_of_others), iwae.bound),
}


def draws(estimator, bound, parameters, num_particles=2, num_draws=NUM_DRAWS):
    """Bounds and gradients of many independent draws."""

    def value(parameters, key):
        return estimator(key, conjugate.weigh(parameters), bound, num_particles=num_particles).bound

    keys = jax.random.split(jax.random.key(20), num_draws)
    return jax.jit(jax.vmap(jax.value_and_grad(value), in_axes=(None, 0)))(parameters, keys)


def z_score(samples, expected):
    samples = np.asarray(samples, float)
    return (samples.mean() - float(expected)) / (samples.std(ddof=1) / np.sqrt(samples.size))


@pytest.mark.parametrize("name", UNBIASED)
def test_mean_gradient_is_the_gradient_of_the_expected_bound(name):
    """|z| < 5 in each of 72 comparisons: false alarm 5e-5 over keys, the key is fixed."""
    estimator, bound = UNBIASED[name]
    values, gradients = draws(estimator, bound, conjugate.PARAMETERS)
    # The kink of the maximum makes quadrature inexact: its reference is a large plain average.
    if bound is vr_max.bound:
        reference = draws(reparameterized.estimate, bound, conjugate.PARAMETERS)
        value, gradient = jax.tree.map(jnp.mean, reference)
    else:
        value, gradient = jax.value_and_grad(lambda p: conjugate.expected_bound(bound, p, 2))(
            conjugate.PARAMETERS
        )
    assert abs(z_score(values, value)) < 5
    for parameter, samples in gradients.items():
        assert abs(z_score(samples, gradient[parameter])) < 5, parameter


def test_sticking_the_landing_is_biased_for_iwae():
    """The bias that DReG removes is there (|z| > 20), so the test above can see one."""
    _, gradients = draws(sticking_the_landing.estimate, iwae.bound, conjugate.PARAMETERS)
    exact = jax.grad(lambda p: conjugate.expected_bound(iwae.bound, p, 2))(conjugate.PARAMETERS)
    assert abs(z_score(gradients["scale"], exact["scale"])) > 20


@pytest.mark.parametrize("estimator", [sticking_the_landing, doubly_reparameterized])
def test_path_gradients_vanish_at_the_exact_posterior(estimator):
    slope = conjugate.PARAMETERS["slope"]
    precision = slope**2 / conjugate.NOISE**2 + 1
    exact = {
        "slope": slope,
        "loc": slope * conjugate.X / conjugate.NOISE**2 / precision,
        "scale": precision**-0.5,
    }
    values, gradients = draws(estimator.estimate, iwae.bound, exact, num_draws=100)
    np.testing.assert_allclose(values, conjugate.log_evidence(slope), rtol=1e-5)
    np.testing.assert_allclose(gradients["loc"], 0, atol=1e-4)
    np.testing.assert_allclose(gradients["scale"], 0, atol=1e-4)


def test_weighted_form_is_the_plain_gradient():
    """Burda's equation 14 and the differentiated bound, draw by draw."""
    for bound in (iwae.bound, RENYI, elbo.bound):
        plain = draws(reparameterized.estimate, bound, conjugate.PARAMETERS, 5, 50)
        form = draws(weighted.estimate, bound, conjugate.PARAMETERS, 5, 50)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, form
        )


def test_doubly_reparameterized_weights_are_squared():
    """Tucker et al., equation 8: paths count the squares of the normalized weights."""
    log_weights = jnp.array([-1.0, -2.5, 0.3, -60.0])
    w = jax.nn.softmax(log_weights)
    np.testing.assert_allclose(
        w * doubly_reparameterized.path_factors(iwae.bound, log_weights), w**2, rtol=1e-5, atol=1e-9
    )
    np.testing.assert_allclose(doubly_reparameterized.path_factors(elbo.bound, log_weights), 1.0)
    tempered = jax.nn.softmax(0.5 * log_weights)
    np.testing.assert_allclose(
        tempered * doubly_reparameterized.path_factors(RENYI, log_weights),
        0.5 * tempered + 0.5 * tempered**2,
        rtol=1e-5,
    )


@pytest.mark.parametrize("bound", [iwae.bound, elbo.bound, RENYI, renyi.of_order(1)])
def test_path_factors_without_a_hessian_are_those_of_the_hessian(bound):
    """Impossible particles among them, and with nothing but such."""
    log_weights = jnp.asarray(np.random.default_rng(5).normal(scale=3.0, size=30))
    some = log_weights.at[jnp.array([2, 7])].set(-jnp.inf)
    none = jnp.full(30, -jnp.inf)
    for weights in (log_weights, some, none):
        general = doubly_reparameterized.path_factors(Bound(bound.value), weights)
        fast = doubly_reparameterized.path_factors(bound, weights)
        np.testing.assert_allclose(fast, general, rtol=1e-5, atol=1e-7)


def test_resampled_vr_max_follows_the_largest_weight():
    _, gradients = draws(resampled.estimate, vr_max.bound, conjugate.PARAMETERS, 5, 200)
    assert all(jnp.all(jnp.isfinite(g)) for g in gradients.values())


LOGIT, SCORES = jnp.array(0.4), jnp.array([-1.2, 0.7])


class Coin:
    """q(z = 1) = sigmoid(logit), which cannot be reparameterized."""

    def __init__(self, logit):
        self.logit = logit

    def log_prob(self, z, cond=None):
        return jnp.where(z == 1, jax.nn.log_sigmoid(self.logit), jax.nn.log_sigmoid(-self.logit))

    def sample(self, key, cond=None):
        return jax.random.bernoulli(key, jax.nn.sigmoid(self.logit)).astype(jnp.int32)


jax.tree_util.register_pytree_node(Coin, lambda q: ((q.logit,), None), lambda _, c: Coin(*c))


def coin_weigh(logit, scores):
    def one(key, draw):
        z, log_q = draw(Coin(logit), key, None)
        return Terms(scores[z], jnp.log(0.5)[None], log_q[None])

    return one


def enumerated(bound, logit, scores):
    """E[bound] over the four outcomes of two coins."""
    log_q = jnp.stack([jax.nn.log_sigmoid(-logit), jax.nn.log_sigmoid(logit)])
    log_w = scores + jnp.log(0.5) - log_q
    return sum(
        jnp.exp(log_q[a] + log_q[b]) * bound(jnp.stack([log_w[a], log_w[b]]))
        for a in (0, 1)
        for b in (0, 1)
    )


@pytest.mark.parametrize(
    "bound", [elbo.bound, iwae.bound, vr_max.bound], ids=["elbo", "iwae", "max"]
)
@pytest.mark.parametrize("baseline", [jnp.zeros_like, baselines.mean_of_others])
def test_score_function_on_a_discrete_latent(bound, baseline):
    """Against enumeration, |z| < 5 in each of 18 comparisons: false alarm 2e-5, fixed key."""

    def value(parameters, key):
        weigh = coin_weigh(*parameters)
        return score(baseline)(key, weigh, bound, num_particles=2).bound

    keys = jax.random.split(jax.random.key(3), 50_000)
    values, (logit, scores) = jax.jit(jax.vmap(jax.value_and_grad(value), in_axes=(None, 0)))(
        (LOGIT, SCORES), keys
    )
    exact, gradient = jax.value_and_grad(lambda p: enumerated(bound, *p))((LOGIT, SCORES))
    assert abs(z_score(values, exact)) < 5
    assert abs(z_score(logit, gradient[0])) < 5
    for i in (0, 1):
        assert abs(z_score(scores[:, i], gradient[1][i])) < 5


def test_leave_one_out_lowers_the_variance():
    plain = draws(score(jnp.zeros_like), elbo.bound, conjugate.PARAMETERS, 5, 5000)[1]
    others = draws(score(baselines.mean_of_others), elbo.bound, conjugate.PARAMETERS, 5, 5000)[1]
    assert np.var(others["loc"]) < 0.7 * np.var(plain["loc"])


def test_a_baseline_with_parameters_learns_the_log_weights():
    """The gradient for it is that of a least-squares fit, and the value stays the bound."""

    def value(b, key):
        baseline = lambda w: jnp.full_like(w, b)
        estimate = score(baseline)(
            key, conjugate.weigh(conjugate.PARAMETERS), elbo.bound, num_particles=3
        )
        return estimate.bound, estimate.terms.log_weight

    (bound, log_weights), gradient = jax.value_and_grad(value, has_aux=True)(0.3, jax.random.key(0))
    np.testing.assert_array_equal(bound, jnp.mean(log_weights))
    np.testing.assert_allclose(gradient, jnp.sum(log_weights - 0.3), rtol=1e-5)


class Sampler:
    """Neither reparameterized nor with a density."""

    def sample(self, key, cond=None):
        return jax.random.normal(key)


class Flow(Sampler):
    """Reparameterized, but blind to samples that are not its own."""

    def sample_and_log_prob(self, key, cond=None):
        return jax.random.normal(key), jnp.zeros(())


def test_a_posterior_that_lacks_what_the_estimator_needs_is_refused():
    key = jax.random.key(0)
    with pytest.raises(TypeError, match="Coin has no sample_and_log_prob, so gradients"):
        reparameterized.draw(Coin(LOGIT), key, None)
    for draw in (sticking_the_landing.draw, score_function.draw):
        with pytest.raises(TypeError, match="Flow has no log_prob, so its density cannot be taken"):
            draw(Flow(), key, None)
    with pytest.raises(TypeError, match="Flow has no log_prob"):
        doubly_reparameterized.draw(jnp.ones(()))(Flow(), key, None)


def test_counts_that_make_no_sense_are_refused():
    weigh = conjugate.weigh(conjugate.PARAMETERS)
    with pytest.raises(ValueError, match="num_particles must be at least 1, got 0"):
        particles(jax.random.key(0), weigh, reparameterized.draw, 0)
    with pytest.raises(ValueError, match="leave_one_out needs at least 2 particles, got 1"):
        baselines.mean_of_others(jnp.zeros(1))
    with pytest.raises(ValueError, match="num_particles must be at least 2 for VIMCO, got 1"):
        vimco.estimator.require(iwae.bound, 1)


@pytest.mark.parametrize(
    ("estimator", "bound", "num_particles", "message"),
    [
        (sticking_the_landing, iwae.bound, 2, "its gradient of iwae is biased: use the doubly"),
        (sticking_the_landing, vr_max.bound, 2, "vr_max is biased: use the reparameterized"),
        (sticking_the_landing, Bound(jnp.median, name="median"), 3, "of median is biased"),
        (doubly_reparameterized, vr_max.bound, 2, "vr_max is not twice differentiable in the"),
        (reparameterized, elbo.bound, 0, "num_particles must be at least 1, got 0"),
    ],
)
def test_bounds_of_which_the_gradient_would_be_biased_are_refused(
    estimator, bound, num_particles, message
):
    with pytest.raises(ValueError, match=message):
        estimator.estimator.require(bound, num_particles)


def test_bounds_of_which_the_gradient_is_unbiased_are_taken():
    """One particle makes any bound the ELBO."""
    sticking_the_landing.estimator.require(iwae.bound, 1)
    sticking_the_landing.estimator.require(elbo.bound, 5)
    sticking_the_landing.estimator.require(renyi.of_order(1), 5)
    for bound in (elbo.bound, iwae.bound, RENYI):
        doubly_reparameterized.estimator.require(bound, 5)


def test_references_agree_with_scipy_conventions():
    """Guard for the helpers above: the coin and the normal are what they claim to be."""
    np.testing.assert_allclose(
        Coin(LOGIT).log_prob(jnp.array(1)), bernoulli.logpmf(1, jax.nn.sigmoid(LOGIT)), rtol=1e-6
    )
    q = conjugate.Posterior(jnp.array(0.1), jnp.array(2.0))
    np.testing.assert_allclose(q.log_prob(0.5), norm.logpdf(0.5, 0.1, 2.0))
