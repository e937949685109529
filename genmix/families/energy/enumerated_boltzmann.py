"""A restricted Boltzmann machine with few hidden units: an exact density, with exact draws."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann, log_partition

_MAX_HIDDEN = 14  # for draws, all states at once


class EnumeratedBoltzmann(nnx.Module):
    """p(v) = exp(log_unnormalized(v)) / Z, with Z summed over the states of the hidden units.

    Z follows the parameters and has their gradient, so that maximum likelihood trains it, as a
    prior or by itself. It costs 2^num_hidden fields of the visible units, once for a batch.

    Raises:
        ValueError: if there are more than 14 hidden units.
    """

    def __init__(self, machine: RestrictedBoltzmann):
        num_hidden = machine.hidden_bias[...].size
        if num_hidden > _MAX_HIDDEN:
            raise ValueError(
                f"EnumeratedBoltzmann sums over 2^{num_hidden} states, and at most {_MAX_HIDDEN} "
                "hidden units are possible: estimate Z by log_partition_ais, for Normalized."
            )
        self.machine = machine

    def log_prob(self, x: Float[Array, " visible"], cond: PyTree = None) -> Float[Array, ""]:
        """In nats."""
        return self.machine.log_unnormalized(x, cond) - log_partition(self.machine)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Float[Array, " visible"]:
        """Hidden units by the probabilities of their states, visible ones given them."""
        del cond
        hidden_key, visible_key = jax.random.split(key)
        bias = self.machine.hidden_bias[...]
        states = jnp.arange(2**bias.size)[:, None] >> jnp.arange(bias.size)[None] & 1
        h = states.astype(bias.dtype)
        fields = jax.vmap(self.machine.visible_field)(h)
        logits = h @ bias + jnp.sum(self.machine.visible.log_partition(fields), axis=1)
        i = jax.random.categorical(hidden_key, logits)
        return self.machine.visible.sample(visible_key, fields[i])
