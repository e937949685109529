"""Bounds of models with an energy for a prior, where Z and every expectation are sums."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from genmix import bounds, evaluation, objectives
from genmix.bounds import Estimator
from genmix.bounds.log_weight import Estimate
from genmix.densities import normal
from genmix.densities.relaxed_bernoulli import RelaxedBernoulli
from genmix.evaluation import energy_log_partition
from genmix.families import (
    Bernoulli,
    Conditional,
    Energy,
    Hamiltonian,
    LatentVariableModel,
    Normal,
    Normalized,
    RestrictedBoltzmann,
    StandardNormal,
)
from genmix.families.energy import restricted_boltzmann as rbm
from genmix.mcmc import hmc, mala
from genmix.nets import MLP, Joined
from genmix.objectives import Rate, energy_prior

X = jnp.array([[1.0, 0.0], [1.0, 1.0]])
STATES = np.array(list(itertools.product((0.0, 1.0), repeat=3)))


def randomized(module: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), module)


def net(prior: Any = None) -> LatentVariableModel:
    """Three bits with two hidden units for a prior, in the precision of now."""
    rngs = nnx.Rngs(0)
    model = LatentVariableModel(
        prior=RestrictedBoltzmann(3, 2, rngs=rngs) if prior is None else prior,
        likelihood=Bernoulli(MLP(3, (), 2, rngs=rngs)),
        posterior=Bernoulli(MLP(2, (), 3, rngs=rngs)),
    )
    return randomized(model)


def _summed(key, weigh, bound, *, num_particles):
    """E over q of the bound, by all that its particles can be, differentiated as it stands."""
    at = lambda z: weigh(jax.random.clone(key), lambda q, key, cond: (z, q.log_prob(z, cond)))
    terms = jax.vmap(at)(jnp.asarray(STATES))
    tuples = jnp.array(list(itertools.product(range(len(STATES)), repeat=num_particles)))
    log_q = jnp.sum(terms.log_posterior, axis=-1)
    share = jnp.exp(jnp.sum(log_q[tuples], axis=1))
    return Estimate(jnp.vdot(share, jax.vmap(bound)(terms.log_weight[tuples])), terms)


SUMMED = Estimator("a sum", _summed)


class Stays(NamedTuple):
    """A kernel that moves nothing, which leaves every density invariant."""

    class State(NamedTuple):
        position: Any

    def init(self, position):
        return self.State(position)

    def step(self, key, state):
        return state, ()


@pytest.mark.parametrize("k", [1, 2])
def test_the_gradient_is_that_of_the_bound_with_log_z(k, x64):
    """Chains at each state in turn, weighed by the prior: the expectation, to 1e-12."""
    model = net()
    bound = bounds.elbo.bound if k == 1 else bounds.iwae.bound
    term = objectives.importance_weighted(bound, k, estimator=SUMMED)

    def mean(model):
        share = jnp.exp(jax.vmap(model.prior.log_unnormalized)(STATES))

        def at(z):
            trained = energy_prior(term, z[None], 1, kernel=lambda prior: Stays())
            return trained(model, jax.random.key(0), X, (z[None], ()))[0]

        share = jax.lax.stop_gradient(share / jnp.sum(share))
        return jnp.vdot(share, jax.vmap(at)(jnp.asarray(STATES)))

    def known(model):
        normalized = LatentVariableModel(
            prior=_Exact(model.prior), likelihood=model.likelihood, posterior=model.posterior
        )
        return term(normalized, jax.random.key(0), X, ())[0]

    value, gradient = jax.jit(jax.value_and_grad(mean))(model)
    expected, slope = jax.jit(jax.value_and_grad(known))(model)
    np.testing.assert_allclose(value + rbm.log_partition(model.prior), expected, rtol=1e-12)
    for (path, got), leaf in zip(
        jax.tree_util.tree_leaves_with_path(gradient), jax.tree.leaves(slope), strict=True
    ):
        np.testing.assert_allclose(got, leaf, atol=1e-12, err_msg=str(path))
        assert jnp.any(leaf != 0), path


class _Exact(nnx.Module):
    def __init__(self, machine):
        self.machine = machine

    def log_prob(self, z, cond=None):
        return self.machine.log_unnormalized(z) - rbm.log_partition(self.machine)


def test_the_likelihood_is_the_sum_over_all_states(x64):
    model = net()
    log_z = rbm.log_partition(model.prior)
    np.testing.assert_allclose(
        log_z, jax.nn.logsumexp(jax.vmap(model.prior.log_unnormalized)(STATES)), rtol=1e-12
    )
    complete = LatentVariableModel(
        prior=Normalized(model.prior, log_z),
        likelihood=model.likelihood,
        posterior=model.posterior,
    )
    total = 0.0
    for x in itertools.product((0.0, 1.0), repeat=2):
        log_prior = jax.vmap(complete.prior.log_prob)(jnp.asarray(STATES))
        log_x = jax.vmap(complete.likelihood.log_prob, (None, 0))(jnp.array(x), jnp.asarray(STATES))
        exact = jax.nn.logsumexp(log_prior + log_x)
        total += jnp.exp(exact)
        found = evaluation.log_likelihood(
            jax.random.key(1), complete, np.array([x]), num_particles=4000
        )
        assert abs(found.log_px[0] - exact) < 5 * found.monte_carlo_error[0]  # alarm 1e-6
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_a_weight_of_the_rate_weighs_log_z_too(x64):
    """The prior's gradient is beta times that of beta = 1, of the same draws.

    Also where the rate up to log Z is far below 0.
    """
    prior = RestrictedBoltzmann(3, 2, visible=normal.Normal(scale=1.0), rngs=nnx.Rngs(0))
    model = randomized(
        LatentVariableModel(
            prior=prior,
            likelihood=Bernoulli(MLP(3, (), 2, rngs=nnx.Rngs(1))),
            posterior=Normal(MLP(2, (), 3, rngs=nnx.Rngs(2))),
        )
    )

    @jax.jit
    def slopes(model, key):
        def of(beta):
            term = energy_prior(objectives.elbo(rate=Rate(beta=beta)), jnp.zeros((4, 3)), 2)
            carry = term.init(model)
            return jax.grad(lambda m: term(m, jax.random.clone(key), X, carry)[0])(model).prior

        return of(1.0), of(0.25)

    for shift in (0.0, 30.0):  # of hidden_bias, and so of log Z
        model.prior.hidden_bias[...] += shift
        one, quarter = slopes(model, jax.random.key(0))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(quarter), strict=True):
            np.testing.assert_allclose(b, 0.25 * a, rtol=1e-12)
        assert jnp.all(one.visible_bias[...] != 0)


def test_chains_go_on_from_where_they_were_and_nested_priors_are_found():
    model = net()
    outer = randomized(
        LatentVariableModel(
            prior=model,
            likelihood=Bernoulli(MLP(2, (), 4, rngs=nnx.Rngs(1))),
            posterior=Bernoulli(MLP(4, (), 2, rngs=nnx.Rngs(2))),
        )
    )
    term = energy_prior(objectives.vimco(2), jnp.zeros((6, 3)), 1)
    step = jax.jit(
        jax.value_and_grad(lambda m, key, c: term(m, key, jnp.ones((2, 4)), c), has_aux=True)
    )
    carry = term.init(outer)
    keys = jax.random.split(jax.random.key(0))
    (_, (metrics, first)), gradient = step(outer, keys[0], carry)
    (_, (_, second)), _ = step(outer, keys[1], first)
    assert set(metrics) == {
        "unnormalized_iwae", "unnormalized_log_likelihood", "unnormalized_rate"
    }  # fmt: skip
    assert jnp.any(first[0] != carry[0])
    assert jnp.any(second[0] != first[0])
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


def test_a_known_normalizer_is_found_by_annealing():
    """f = -z^2 + z of two numbers over N(0, 1): 5 standard errors, false alarm 1e-6."""
    energy = Energy(lambda z: jnp.sum(z - z**2), base=StandardNormal(2))
    kernel = lambda logdensity, beta: hmc.build(logdensity, 0.3, 3)
    found = energy_log_partition(
        jax.random.key(0), energy, kernel, num_temperatures=30, num_paths=200
    )
    known = 2 * (1 / 6 - 0.5 * np.log(3.0))  # precision 3, mean 1/3
    assert abs(found.value - known) < 5 * found.standard_error
    assert found.standard_error < 0.1


def refused_posterior() -> LatentVariableModel:
    return LatentVariableModel(
        prior=RestrictedBoltzmann(3, 2, rngs=nnx.Rngs(0)),
        likelihood=Bernoulli(MLP(3, (), 2, rngs=nnx.Rngs(1))),
        posterior=Conditional(MLP(2, (), 3, rngs=nnx.Rngs(2)), RelaxedBernoulli(temperature=0.5)),
    )


NOT_NORMALIZED = "RestrictedBoltzmann, the prior, is not normalized, .*energy_prior.* Normalized"
CHAINS = np.zeros((4, 3), np.float32)
REFUSED = {
    "a likelihood": (
        lambda: evaluation.log_likelihood(jax.random.key(0), net(), X, num_particles=2),
        NOT_NORMALIZED,
    ),
    "an ELBO": (lambda: evaluation.elbo(jax.random.key(0), net(), X), NOT_NORMALIZED),
    "a bound without chains": (
        lambda: objectives.vimco(2)(net(), jax.random.key(0), X, ()),
        NOT_NORMALIZED,
    ),
    "samples": (
        lambda: net().sample(jax.random.key(0)),
        "RestrictedBoltzmann, the prior, has no sample: use chains",
    ),
    "a normalized prior": (
        lambda: energy_prior(objectives.elbo(), CHAINS, 1).init(
            LatentVariableModel(
                prior=StandardNormal(3),
                likelihood=net().likelihood,
                posterior=Normal(MLP(2, (), 3, rngs=nnx.Rngs(0))),
            )
        ),
        "got LatentVariableModel with the prior StandardNormal: train it by the bound alone",
    ),
    "no latents": (
        lambda: energy_prior(objectives.elbo(), CHAINS, 1).init(StandardNormal(2)),
        "got StandardNormal: train it",
    ),
    "no kernel": (
        lambda: energy_prior(objectives.elbo(), CHAINS, 1).init(
            net(Energy(MLP(3, (), 1, rngs=nnx.Rngs(0)), base=StandardNormal(3)))
        ),
        "Energy has no kernel of its own: pass one",
    ),
    "no steps": (lambda: energy_prior(objectives.elbo(), CHAINS, 0), "num_steps must be at least"),
    "bits that are no bits": (
        lambda: energy_prior(objectives.elbo(), CHAINS, 1).init(refused_posterior()),
        "draws real numbers, and the RestrictedBoltzmann is of bits, without a gradient",
    ),
    "annealing from nothing": (
        lambda: energy_log_partition(
            jax.random.key(0),
            Energy(lambda z: z),
            lambda logdensity, beta: mala.build(logdensity, 1.0),
        ),
        "anneals from the base of an Energy, .* got NoneType",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_log_z_is_refused_in_words(name):
    run, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        run()


def test_posteriors_that_follow_the_gradient_of_the_energy():
    """A latent energy model with leapfrog steps; chains by MALA."""
    rngs = nnx.Rngs(0)
    reverse = Normal(Joined(MLP(3 + 2, (), 3, rngs=rngs)))
    model = LatentVariableModel(
        prior=Energy(MLP(3, (4,), 1, rngs=rngs), base=StandardNormal(3)),
        likelihood=Bernoulli(MLP(3, (), 2, rngs=rngs)),
        posterior=Hamiltonian(Normal(MLP(2, (), 3, rngs=rngs)), reverse, num_leapfrog=1),
    )
    kernel = lambda prior: mala.build(prior.log_unnormalized, 0.1)
    term = energy_prior(objectives.elbo(), jnp.zeros((4, 3)), 2, kernel=kernel)
    slope = jax.jit(jax.grad(lambda m, key: term(m, key, X, term.init(m))[0]))
    gradient = slope(model, jax.random.key(0))
    trained = gradient.prior, gradient.posterior
    norms = [np.linalg.norm(ravel_pytree(part)[0]) for part in trained]
    assert np.isfinite(norms).all()
    assert min(norms) > 0
