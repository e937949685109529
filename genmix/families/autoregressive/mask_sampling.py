"""MADE in many orders and with many masks at once: one set of weights, trained for all of them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from genmix.densities import mixture
from genmix.families import shapes
from genmix.families.autoregressive.autoregressive import (
    Autoregressive,
    Encoder,
)
from genmix.nets.stepwise_made import StepwiseMADE

Event = Shaped[Array, "..."]


class Reordered(nnx.Module):
    """p(x | c) = density(x[order] | c), of the entries of x in another order."""

    def __init__(self, density: Autoregressive, order: Int[Array, " entries"]):
        self.density, self.order = density, order

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        moved = x.reshape(-1)[self.order].reshape(x.shape)
        return self.density.log_prob(moved, cond)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        x = self.density.sample(key, cond)
        return x.reshape(-1)[jnp.argsort(self.order)].reshape(x.shape)


class MaskMixture(nnx.Module):
    """p(x | c) = mean of p(x | c, mask) over a number of masks of one MADE.

    A mask is an order of the entries and, in each hidden layer, who has which degree: both are
    drawn from the seed. As hidden units exchange their degrees, every mask has all dependencies
    that its order allows. `log_prob` costs a pass for each mask; training needs one of them at a
    time (`MaskSampling`, `objectives.mask_cycling`).

    Args:
        density: `Autoregressive(StepwiseMADE(made), ...)`.

    Raises:
        TypeError: if the density is of another kind.
        ValueError: if num_masks < 1.

    Source: Germain et al. (2015), arXiv:1502.03509, sections 4.2 and 4.3.
    """

    def __init__(self, density: Any, num_masks: int, *, seed: int):
        network = getattr(density, "network", density)
        if not isinstance(density, Autoregressive) or not isinstance(network, StepwiseMADE):
            raise TypeError(
                "MaskMixture needs a density whose masks can be drawn, "
                f"Autoregressive(StepwiseMADE(made), ...), got {type(density).__name__} of "
                f"{type(network).__name__}."
            )
        if num_masks < 1:
            raise ValueError(f"num_masks must be at least 1, got {num_masks}.")
        self.density, self.num_masks, self.seed = density, num_masks, seed

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.density)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return shapes.cond_shape(self.density)

    def masked(self, i: int | Int[Array, ""]) -> Reordered:
        """The density under mask i alone."""
        return self._masked(i, self.density.encoder)

    def log_prob(self, x: Event, cond: PyTree = None) -> Float[Array, ""]:
        encoder = self.density.encoder
        given = cond if encoder is None else encoder(cond)
        # One after the other: only one copy of the weights at a time.
        log_prob = lambda i: self._masked(i, None).log_prob(x, given)
        log_probs = jax.lax.map(log_prob, jnp.arange(self.num_masks))
        return mixture.log_prob(log_probs, jnp.zeros_like(log_probs))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        mask_key, key = jax.random.split(key)
        return self.draw_mask(mask_key).sample(key, cond)

    def draw_mask(self, key: Key[Array, ""]) -> Reordered:
        return self.masked(jax.random.randint(key, (), 0, self.num_masks))

    def _masked(self, i: int | Int[Array, ""], encoder: Encoder | None) -> Reordered:
        network: Any = self.density.network
        made = network.made
        sizes = [made.dim, *(layer.out_features for layer in made.hidden)]
        keys = jax.random.split(jax.random.fold_in(jax.random.key(self.seed), i), len(sizes))
        places = [jax.random.permutation(k, n) for k, n in zip(keys, sizes, strict=True)]
        density = Autoregressive(
            StepwiseMADE(made.rearranged(places)),
            self.density.distribution,
            shape=self.density.shape,
            encoder=encoder,
        )
        return Reordered(density, places[0])


class MaskSampling(nnx.Module):
    """The mixture with one mask drawn for each log-weight, log p(x | c, mask).

    Its expectation, the ELBO over masks, trains the weights for every order; more particles tighten
    it. Evaluate with `mixture` itself.
    """

    def __init__(self, mixture: MaskMixture):
        self.mixture = mixture

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.mixture)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return shapes.cond_shape(self.mixture)

    def log_weight(self, key: Key[Array, ""], x: Event, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats."""
        return self.mixture.draw_mask(key).log_prob(x, cond)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Event:
        return self.mixture.sample(key, cond)
