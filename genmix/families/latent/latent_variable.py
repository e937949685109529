"""Latent-variable models: any prior, any likelihood, any posterior."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.estimators import reparameterized
from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import (
    Aimed,
    ClosedKL,
    Density,
    ExactDensity,
    LogJoint,
    MadeOfPosterior,
    Mean,
    Prior,
    Proposal,
    Proposes,
    Samples,
    Unnormalized,
    Weighted,
    differentiates,
    require_same,
    sample,
)
from genmix.families import shapes, weigh
from genmix.families.roles import require_bounded, require_module, require_posterior
from genmix.nets import state


class LatentVariableModel(nnx.Module):
    """p(x) = integral of p(x | z) p(z) dz, with an approximate posterior q(z | x).

    The parts are any objects with the methods of `genmix.capabilities`: the prior and the
    likelihood need a density or an unbiased estimate of one, the posterior a draw with its log q:
    a plain one has an exact density of what it draws, those of `genmix.families.posteriors` are
    aimed at p(x, z), and wrap others. The model is itself weighted, so it can be the prior of
    another (then it has two stochastic layers), or its likelihood.

    A prior that is not normalized, such as a restricted Boltzmann machine, is trained by
    `objectives.energy_prior`. The model has no log-weight then, until `Normalized` takes its place.

    With a condition c the model is p(x | c): the prior is given c, the likelihood (z, c) and the
    posterior (x, c), as pairs.

    Raises:
        TypeError: if a part cannot play its role; it names the part, what it lacks and the remedy.
        ValueError: if parts that know the shape of x or z do not agree on it.

    Source: Kingma & Welling (2014), arXiv:1312.6114; Burda et al. (2016), arXiv:1509.00519.
    """

    def __init__(self, *, prior: Prior, likelihood: Density, posterior: Proposal):
        require_posterior(posterior)
        require_module(prior, "prior")
        require_bounded(likelihood, "likelihood")
        self.posterior: Any = posterior
        self.likelihood: Any = likelihood
        self.prior = prior
        if not isinstance(self.prior, Unnormalized):
            require_bounded(self.prior, "prior")
        if isinstance(posterior, Proposes):
            _require_aim(posterior, self.prior, likelihood)
        latent = {
            "the prior": shapes.event_shape(self.prior),
            "the posterior": shapes.event_shape(posterior),
            "the likelihood's condition": shapes.cond_shape(likelihood),
        }
        require_same("LatentVariableModel", "z", latent)
        seen = {
            "the likelihood": shapes.event_shape(likelihood),
            "the posterior's condition": shapes.cond_shape(posterior),
        }
        require_same("LatentVariableModel", "x", seen)

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.likelihood)

    @property
    def prior(self) -> Any:
        """p(z); one that is made of the posterior, as it is with the parameters of now."""
        part = vars(self)["prior"]
        return part.made_of(self.posterior) if isinstance(part, MadeOfPosterior) else part

    @prior.setter
    def prior(self, part: Any) -> None:
        # Under its own name, so that parameters have the path that they have in every model.
        vars(self)["prior"] = part

    @property
    def is_bound(self) -> bool:
        """Whether prior or likelihood know a bound alone: then so does the model."""
        return weigh.is_bound(self.prior) or weigh.is_bound(self.likelihood)

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """Terms of log p(x | z) + log p(z) - log q(z | x) for one z drawn from q, in nats."""
        _require_normalized(self.prior)
        posterior_key, *joint_keys = jax.random.split(key, 3)
        prior_key, likelihood_key = joint_keys
        posterior, inner = self.posterior, draw
        if isinstance(posterior, Proposes):
            # Aiming is no linear function of the weights of parts inside.
            inner = draw if draw is weigh.draw else reparameterized.draw
            posterior = Aimed(posterior, self._log_joint(joint_keys, x, cond, inner))
        z, log_q = draw(posterior, posterior_key, pair(x, cond))
        prior = weigh.terms(self.prior, prior_key, z, cond, inner)
        likelihood = weigh.terms(self.likelihood, likelihood_key, x, pair(z, cond), inner)
        return Terms(
            likelihood.log_likelihood,
            jnp.concatenate([prior.log_likelihood[None], prior.log_prior, likelihood.log_prior]),
            jnp.concatenate([log_q[None], prior.log_posterior, likelihood.log_posterior]),
        )

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats; its expectation is the ELBO.

        Raises:
            TypeError: if prior or likelihood know a bound alone: there is `log_bound`.
        """
        weigh.require_weights(self, "its log-weight")
        return self.log_weight_terms(key, x, cond).log_weight

    def log_bound(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Estimate of the ELBO, a lower bound on log p(x | cond), in nats."""
        return self.log_weight_terms(key, x, cond).log_weight

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw z from the prior, then x given z.

        Raises:
            TypeError: if the prior does not draw.
        """
        if not isinstance(self.prior, Samples):
            raise TypeError(
                f"{type(self.prior).__name__}, the prior, has no sample: use chains of its kernel, "
                "or Normalized(prior, log_partition, start=z), which runs one."
            )
        prior_key, likelihood_key = jax.random.split(key)
        z = self.prior.sample(prior_key, cond)
        return self.likelihood.sample(likelihood_key, pair(z, cond))

    def encode(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> PyTree:
        """Draw z from q(z | x); of a proposal, z without its weight."""
        if not isinstance(self.posterior, Proposes):
            return sample(self.posterior, key, pair(x, cond))
        posterior_key, *joint_keys = jax.random.split(key, 3)
        log_joint = self._log_joint(joint_keys, x, cond, weigh.draw)
        return self.posterior.propose(posterior_key, log_joint, pair(x, cond))[0]

    def decode(self, z: PyTree, cond: PyTree = None) -> PyTree:
        """Mean of x given z.

        Raises:
            TypeError: if the likelihood does not know its mean.
        """
        if not isinstance(self.likelihood, Mean):
            raise TypeError(
                f"{type(self.likelihood).__name__} has no mean, so decode(z) is not defined: "
                "draw from likelihood.sample(key, z)."
            )
        return self.likelihood.mean(pair(z, cond))

    def closed_rate(self, x: PyTree, cond: PyTree = None) -> Float[Array, " dim"]:
        """KL(q(z | x) || p(z)) in closed form, in nats, one entry a dimension of z.

        Raises:
            TypeError: if the posterior knows no closed form for this prior.
        """
        if not isinstance(self.posterior, ClosedKL):
            raise TypeError(
                f"KL({type(self.posterior).__name__} || {type(self.prior).__name__}) has no closed "
                "form here: use the sampled rate (analytic=False)."
            )
        return self.posterior.kl(self.prior, pair(x, cond), cond)

    def _log_joint(
        self, keys: list[Key[Array, ""]], x: PyTree, cond: PyTree, draw: Draw
    ) -> LogJoint:
        """z -> log p(x, z), or one fixed estimate of it: the noise is that of the weight itself.

        Given that noise a proposal is properly weighted for the estimate, so on average for p.
        """

        def log_joint(z: PyTree) -> Float[Array, ""]:
            prior_key, likelihood_key = map(jax.random.clone, keys)
            model = state.fresh(self)  # it is called in loops, which may change no counter outside
            prior = weigh.terms(model.prior, prior_key, z, cond, draw)
            likelihood = weigh.terms(model.likelihood, likelihood_key, x, pair(z, cond), draw)
            return prior.log_weight + likelihood.log_weight

        return log_joint


def pair(event: PyTree, cond: PyTree) -> PyTree:
    """What a part is given that depends on an event, and on the condition if there is one."""
    return event if cond is None else (event, cond)


def _require_normalized(prior: object) -> None:
    """Check that log p(z) is known, and not up to a constant alone."""
    if isinstance(prior, Unnormalized) and not isinstance(prior, (Weighted, ExactDensity)):
        raise TypeError(
            f"{type(prior).__name__}, the prior, is not normalized, so the model has no log-weight "
            "and no likelihood: train it by objectives.energy_prior(objectives.elbo(), chains, 1), "
            "and evaluate it with the prior Normalized(prior, log_partition), given log Z by "
            "annealed importance sampling (evaluation.log_partition)."
        )


def _require_aim(posterior: object, prior: object, likelihood: object) -> None:
    """Check that a proposal can be aimed at prior and likelihood."""
    name = type(posterior).__name__
    for role, part in (("prior", prior), ("likelihood", likelihood)):
        weigh.require_weights(part, f"the posterior {name}")
        if differentiates(posterior) and not isinstance(part, (ExactDensity, Unnormalized)):
            raise TypeError(
                f"{type(part).__name__} cannot be the {role} of a model whose posterior is "
                f"{name}: that one takes the gradient of log p(x, z) in z, and the part has no "
                "log_prob. Use a plain posterior, or Resampled."
            )
