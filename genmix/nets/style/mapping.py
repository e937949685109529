"""From noise to styles."""

import itertools

import jax
from flax import nnx
from jaxtyping import Array, Float

from genmix.nets.style.equalized import EqualizedLinear
from genmix.nets.style.pixel_norm import pixel_normalized


class Mapping(nnx.Module):
    """z of length one -> w, through layers that learn at a hundredth of the rate.

    Args:
        rate: of these layers, relative to the others'.

    Source: Karras et al. (2019), arXiv:1812.04948, section 2 and appendix C.
    """

    def __init__(
        self,
        latent: int,
        style_size: int,
        *,
        num_layers: int = 8,
        rate: float = 0.01,
        rngs: nnx.Rngs,
    ):
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}.")
        widths = [latent] + [style_size] * num_layers
        self.layers = nnx.List(
            [
                EqualizedLinear(a, b, gain=2**0.5, rate=rate, rngs=rngs)
                for a, b in itertools.pairwise(widths)
            ]
        )

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, " style"]:
        h = pixel_normalized(z)
        for layer in self.layers:
            h = jax.nn.leaky_relu(layer(h), 0.2)
        return h
