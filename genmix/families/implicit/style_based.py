"""A generator of two parts: noise to styles, and styles to an image."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from genmix.nets import outputs
from genmix.nets.style.mapping import Mapping
from genmix.nets.style.synthesis import Synthesis

Style = Float[Array, " style"]
Styles = Float[Array, "layers style"]


class StyleBased(nnx.Module):
    """x = synthesis(noise, styles), each layer's style w = mapping(z) with z ~ N(0, I).

    In training two styles are mixed, in some of the events: the layers from a random one on have
    the second. The running mean of styles is a batch statistic; `nets.state.evaluating` gives a
    generator that mixes nothing and keeps the mean as it is.

    Args:
        latent: entries of z.
        mixing: probability that an event in training has two styles.
        mean_decay: of the running mean of styles, each step.

    Raises:
        ValueError: if mixing or mean_decay is not in [0, 1].

    Source: Karras et al. (2019), arXiv:1812.04948.
    """

    def __init__(
        self,
        mapping: Mapping,
        synthesis: Synthesis,
        *,
        latent: int,
        mixing: float = 0.9,
        mean_decay: float = 0.995,
    ):
        for name, value in (("mixing", mixing), ("mean_decay", mean_decay)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}.")
        self.mapping, self.synthesis, self.latent = mapping, synthesis, latent
        self.mixing, self.mean_decay, self.truncation = mixing, mean_decay, 1.0
        self.mean_style = nnx.BatchStat(jnp.zeros(synthesis.style_size))
        self.use_running_average = False  # `eval` sets it

    def truncated(self, truncation: float) -> "StyleBased":
        """The generator whose styles lie so far from their mean, relative to their own distance.

        At 0 all have the mean, and differ by the noise alone; at 1 it is the generator itself.

        Source: Karras et al. (2019), arXiv:1812.04948, appendix B.
        """
        if self.truncation != 1:
            raise ValueError(f"the generator is truncated already, at {self.truncation}.")
        return outputs.replaced(self, truncation=truncation)

    def style(self, z: Float[Array, " latent"]) -> Style:
        """The style of noise z, truncated."""
        w = self.mapping(z)
        if self.truncation == 1:
            return w
        mean = self.mean_style[...]
        return mean + self.truncation * (w - mean)

    def mixed(self, first: Style, second: Style, layer: Int[ArrayLike, ""]) -> Styles:
        """The second style from a layer on, the first one below: at layer 0 the second alone."""
        is_above = jnp.arange(self.synthesis.num_styles)[:, None] >= layer
        return jnp.where(is_above, second[None], first[None])

    def image(self, key: Key[Array, ""], styles: Styles) -> Float[Array, "height width channels"]:
        """The image of given styles, and noise of the key."""
        return self.synthesis(key, styles)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw an image."""
        del cond
        first_key, second_key, mix_key, layer_key, noise_key = jax.random.split(key, 5)
        draw = lambda key: self.style(jax.random.normal(key, (self.latent,)))
        first, num_styles = draw(first_key), self.synthesis.num_styles
        if self.use_running_average:
            return self.image(noise_key, self.mixed(first, first, 0))
        mean, decay = self.mean_style[...], self.mean_decay
        self.mean_style[...] = decay * mean + (1 - decay) * jax.lax.stop_gradient(first)
        mixes = jax.random.bernoulli(mix_key, self.mixing)
        layer = jax.random.randint(layer_key, (), 1, max(num_styles, 2))
        styles = self.mixed(first, draw(second_key), jnp.where(mixes, layer, num_styles))
        return self.image(noise_key, styles)
