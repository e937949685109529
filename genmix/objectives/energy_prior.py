"""Bounds of a model whose prior is known up to its normalizer, with chains for that."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.capabilities import Reparameterized, Unnormalized
from genmix.densities import bernoulli
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.families.latent.latent_variable import LatentVariableModel
from genmix.mcmc import kernel as kernels
from genmix.objectives.term import Term
from genmix.objectives.unnormalized import KernelOf, advance, own_kernel, require_chains


def energy_prior(
    bound: Term, chains: PyTree, num_steps: int, *, kernel: KernelOf = own_kernel
) -> Term:
    """A bound for a prior p(z) = exp(f(z)) / Z: its value up to log Z, its whole gradient.

    That of log Z is the mean of f's gradient under the prior, of which persistent chains are the
    draws. It stands inside log p(z), so that bounds of any number of particles, their estimators,
    and weights of the rate are as for any prior. The metrics are named `unnormalized_elbo` and so
    on: they are too high by log Z, which moves while the prior learns.

    Free nats, of a rate that is not known here, would be too many by log Z: leave them out.

    Of nested models the prior of the last is meant: `energy_prior(elbo(), chains, 1)` trains all
    layers.

    Args:
        bound: such as `elbo()` or `vimco(5)`.
        chains: where they start, along the first axis of each array; they travel in the carry.
        num_steps: of each chain in a step of training.
        kernel: the prior's own, `prior.chain_kernel()`, if not given; or one such as
            `lambda prior: mala.build(prior.log_unnormalized, 0.1)`.

    Raises:
        ValueError: if num_steps < 1.
        TypeError: at the start of training, if no prior is unnormalized, or it has no kernel.

    Source: Rolfe (2017), arXiv:1609.02200, section 2.1; Pang et al. (2020), arXiv:2006.08205.
    """
    kernels.require_steps(num_steps)
    named = bound.named("unnormalized")

    def loss(model, key, batch, carry):
        bound_key, chain_key = jax.random.split(key)
        chains, inner = carry
        prior = _energy_of(model)
        draws = advance(prior, chain_key, chains, kernel, num_steps)
        moved = jnp.mean(jax.vmap(prior.log_unnormalized)(draws))
        log_partition = moved - jax.lax.stop_gradient(moved)
        value, (metrics, inner) = named(
            _with_prior(model, _UpToConstant(prior, log_partition)), bound_key, batch, inner
        )
        return value, (metrics, (draws, inner))

    def init(model):
        prior = _energy_of(model)
        require_chains(prior, kernel)
        _require_gradient(prior, model)
        start = jax.tree.map(jnp.array, chains)
        return start, bound.init(_with_prior(model, _UpToConstant(prior, jnp.zeros(()))))

    return Term(loss, init)


class _UpToConstant(nnx.Module):
    """The prior with a number in place of log Z: 0, with the gradient of log Z."""

    def __init__(self, part: Any, log_partition: Float[Array, ""]):
        self.part = part
        self.log_partition = nnx.Variable(log_partition)

    def log_prob(self, z: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        return self.part.log_unnormalized(z, cond) - self.log_partition[...]


def _energy_of(model: Any) -> Any:
    part = model
    while isinstance(part, LatentVariableModel):
        part = part.prior
    if part is model or not isinstance(part, Unnormalized):
        raise TypeError(
            "energy_prior is for a LatentVariableModel whose prior is not normalized, such as "
            f"RestrictedBoltzmann or Energy, got {type(model).__name__}"
            f"{'' if part is model else f' with the prior {type(part).__name__}'}: train it by the "
            "bound alone."
        )
    return part


def _require_gradient(prior: Any, model: LatentVariableModel) -> None:
    """Refuse real numbers for bits, whose prior has no gradient in z, nor a density there."""
    while isinstance(model.prior, LatentVariableModel):
        model = model.prior
    if not isinstance(prior, RestrictedBoltzmann) or not isinstance(
        model.posterior, Reparameterized
    ):
        return
    if prior.visible.distribution == bernoulli.Bernoulli():
        raise TypeError(
            f"{type(model.posterior).__name__} draws real numbers, and the RestrictedBoltzmann is "
            "of bits, without a gradient in them: use Bernoulli(network) with vimco or wake, or "
            "a machine of real numbers, visible=normal.Normal(scale=1.0)."
        )


def _with_prior(model: LatentVariableModel, prior: Any) -> LatentVariableModel:
    """The model of the same parts, but for the prior of the last layer."""
    inner = model.prior
    if isinstance(inner, LatentVariableModel):
        prior = _with_prior(inner, prior)
    return LatentVariableModel(prior=prior, likelihood=model.likelihood, posterior=model.posterior)
