"""A generator that paints in several steps, each of which looks at what the last one added."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import Samples

Image = Float[Array, "..."]


class RecurrentAdversarial(nnx.Module):
    """x = squash(sum over t of D_t), D_t = decoder(z_t, encoder(D_{t-1})), with D_0 = 0.

    With one step it is `Implicit`, squash(decoder(z, encoder(0))): a GAN.

    Args:
        base: any part that samples z.
        decoder: (z, what the encoder gives) -> what is added to the canvas.
        encoder: what was added last -> anything that the decoder takes.
        shape: of an event, and of what is added.
        num_steps: T.
        noise: "fresh" draws a z for each step; "same" draws one for all of them, as the authors'
            code does. The paper has both.
        squash: the sum of all that was added -> the image.

    Raises:
        TypeError: if the base does not sample.
        ValueError: if num_steps < 1, or noise is of neither kind.

    Source: Im, Kim, Jiang & Memisevic (2016), arXiv:1602.05110, section 3.
    """

    def __init__(
        self,
        base: Any,
        decoder: Callable[[PyTree], Image],
        encoder: Callable[[Image], PyTree],
        shape: Sequence[int],
        *,
        num_steps: int,
        noise: Literal["fresh", "same"] = "fresh",
        squash: Callable[[Image], Image] = jnp.tanh,
    ):
        if not isinstance(base, Samples):
            raise TypeError(
                f"{type(base).__name__} cannot be the base of RecurrentAdversarial: it has no "
                "sample."
            )
        if num_steps < 1 or noise not in ("fresh", "same"):
            raise ValueError(
                'RecurrentAdversarial needs at least 1 step, and noise "fresh" or "same"; got '
                f"num_steps {num_steps}, noise {noise!r}."
            )
        self.base: Any = base
        self.decoder, self.encoder, self.shape = decoder, encoder, tuple(shape)
        self.num_steps, self.noise, self.squash = num_steps, noise, squash

    def film(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """The canvas after each step, squashed; the last one is the image."""
        keys = jax.random.split(key, self.num_steps)
        if self.noise == "same":
            z = self.base.sample(keys[0])
            noise = jax.tree.map(lambda a: jnp.stack([a] * self.num_steps), z)
        else:
            noise = jax.vmap(self.base.sample)(keys)
        nothing = jnp.zeros(self.shape)

        def step(carry, z):
            canvas, added = carry
            added = self.decoder((z, self.encoder(added)))
            return (canvas + added, added), canvas + added

        _, canvases = jax.lax.scan(step, (nothing, nothing), noise)
        return self.squash(canvases)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Image:
        """Draw an event."""
        del cond
        return self.film(key)[-1]
