"""Wake and sleep: the model learns from inferred latents, the posterior from the model's dreams."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix import bounds
from genmix.bounds.estimators import wake as wake_phase
from genmix.capabilities import SampledDensity, Samples
from genmix.families.latent.latent_variable import LatentVariableModel, pair
from genmix.nets import state
from genmix.objectives.comparison import per_event
from genmix.objectives.likelihood import importance_weighted
from genmix.objectives.term import Term


def wake(num_particles: int = 1) -> Term:
    """Wake phase: latents of the data are drawn from q and weighed, and taken for observed.

    For prior and likelihood the gradient is that of L_k, the importance-weighted bound, whose value
    is reported as `iwae`; for the posterior it is that of KL(p(z | x) || q(z | x)), with as many
    particles (the wake phase of q). One particle teaches a posterior nothing, but noise: there,
    give it to a player that owns prior and likelihood, and `sleep` to the posterior's.

    No draw is differentiated, so latents may be discrete; needs `sample` and `log_prob` of each
    posterior.

    Raises:
        ValueError: if num_particles < 1.

    Source: Hinton et al. (1995), The wake-sleep algorithm for unsupervised neural networks (k = 1);
    Bornschein & Bengio (2015), arXiv:1406.2751.
    """
    return importance_weighted(bounds.iwae.bound, num_particles, estimator=wake_phase.estimator)


def sleep() -> Term:
    """Sleep phase: minus log q(z | x) of pairs that the model dreams, as many as the batch has x.

    Its gradient is that of KL(p(z | x) || q(z | x)), averaged over the model's own x; prior and
    likelihood have none. Each posterior of nested models learns its own layer. The metric `sleep`
    is the mean of log q(z | x), in nats.

    Raises:
        TypeError: at the start of training, if the model is no LatentVariableModel, or its parts
            cannot dream, or have a posterior without log_prob.

    Source: Hinton et al. (1995); Bornschein & Bengio (2015), arXiv:1406.2751, equation 10.
    """

    def loss(model, key, batch, carry):
        one = lambda model, key, _: dream(model, key)[1]
        log_q, statistics = per_event(one, model, key, batch)
        state.store(model, statistics)
        value = jnp.mean(log_q)
        return -value, ({"sleep": value}, carry)

    def init(model):
        if not isinstance(model, LatentVariableModel):
            raise TypeError(
                f"sleep teaches the posterior of a LatentVariableModel, got {type(model).__name__}."
            )
        _require_dreams(model)
        return ()

    return Term(loss, init)


def dream(model: Any, key: Key[Array, ""], cond: PyTree = None) -> tuple[PyTree, Float[Array, ""]]:
    """An x of the model, a constant, and log q of all latents that it was drawn from, in nats."""
    if not isinstance(model, LatentVariableModel):
        sampled = state.fresh(model).sample(key, cond)
        return jax.lax.stop_gradient(sampled), jnp.zeros(())
    prior_key, likelihood_key = jax.random.split(key)
    z, above = dream(model.prior, prior_key, cond)
    x, below = dream(model.likelihood, likelihood_key, pair(z, cond))
    return x, above + below + model.posterior.log_prob(z, pair(x, cond))


def _require_dreams(part: Any, role: str = "model") -> None:
    if isinstance(part, LatentVariableModel):
        if not isinstance(part.posterior, SampledDensity):
            raise TypeError(
                f"{type(part.posterior).__name__} cannot learn from dreams: it has no log_prob "
                "beside sample. Use a posterior such as Bernoulli or Normal."
            )
        _require_dreams(part.prior, "prior")
        _require_dreams(part.likelihood, "likelihood")
    elif not isinstance(part, Samples):
        raise TypeError(f"{type(part).__name__}, the {role}, cannot dream: it has no sample.")
