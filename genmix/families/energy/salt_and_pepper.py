"""Corruption of binary events."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from genmix.densities import bernoulli

Event = Float[Array, "..."]


class SaltAndPepper(nnx.Module):
    """C(y | x): each entry is replaced by a fair coin with probability `rate`.

    Raises:
        ValueError: if the rate is not in (0, 1].

    Source: Vincent et al. (2010), Stacked Denoising Autoencoders, JMLR 11, section 3.3.
    """

    def __init__(self, rate: float):
        if not 0 < rate <= 1:
            raise ValueError(f"rate must be above 0 and at most 1, got {rate}.")
        self.rate = rate

    def sample(self, key: Key[Array, ""], cond: Event) -> Event:
        place_key, coin_key = jax.random.split(key)
        replaced = jax.random.bernoulli(place_key, self.rate, cond.shape)
        coins = jax.random.bernoulli(coin_key, shape=cond.shape).astype(cond.dtype)
        return jnp.where(replaced, coins, cond)

    def log_prob(self, x: Event, cond: Event) -> Float[Array, ""]:
        """Log-probability of the corrupted event x, in nats."""
        flip = jnp.asarray(0.5 * self.rate, cond.dtype)
        logit = jnp.log1p(-flip) - jnp.log(flip)
        return jnp.sum(bernoulli.log_prob(x, jnp.where(cond == 1, logit, -logit)))
