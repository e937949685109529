"""A restricted Boltzmann machine between its corners: a prior of relaxed bits."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.densities import bernoulli
from genmix.densities.logistic import softplus
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.mcmc import gibbs


class RelaxedBoltzmann(nnx.Module):
    """exp(b.v + sum softplus(c + v W)) / Z for v in (0, 1), with the Z of the machine's bits.

    Its logarithm is convex in v, so that its integral over the cube is at most the sum over the
    corners: it is no density but at most one, and a bound with it is a bound. Relaxed posteriors
    have a gradient through it, which the machine itself does not have between the bits. Chains
    are the machine's, of bits; with a `Bernoulli` posterior of the same network the machine is the
    prior that was trained.

    Raises:
        ValueError: if the machine's visible units are not binary.

    Source: Khoshaman & Amin (2018), GumBolt: Extending Gumbel trick to Boltzmann priors,
    arXiv:1805.07349; here the hidden units are summed over.
    """

    def __init__(self, machine: RestrictedBoltzmann):
        if machine.visible.distribution != bernoulli.Bernoulli():
            raise ValueError(
                "RelaxedBoltzmann is of a machine with binary visible units, got "
                f"{machine.visible.distribution}: that one needs no relaxation."
            )
        self.machine = machine

    def log_unnormalized(self, v: Float[Array, " v"], cond: PyTree = None) -> Float[Array, ""]:
        """In nats; at bits that of the machine."""
        del cond
        hidden = jnp.sum(softplus(self.machine.hidden_field(v)))
        return v @ self.machine.visible_bias[...] + hidden

    def chain_kernel(self) -> gibbs.Kernel:
        """Of the machine."""
        return self.machine.chain_kernel()
