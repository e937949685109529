"""A mixture of normal distributions as a part."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import mixture, normal

Vector = Float[Array, " dim"]


class GaussianMixture(nnx.Module):
    """Mixture of normals with diagonal covariances, without a condition: a prior of many modes.

    The means start at random, spread over a standard normal; the scales at one.
    """

    def __init__(self, num_components: int, dim: int, *, rngs: nnx.Rngs):
        if num_components < 1 or dim < 1:
            raise ValueError(
                f"num_components and dim must be positive, got {num_components} and {dim}."
            )
        self.logits = nnx.Param(jnp.zeros(num_components))
        self.loc = nnx.Param(jax.random.normal(rngs.params(), (num_components, dim)))
        self.raw_scale = nnx.Param(jnp.full((num_components, dim), jnp.log(jnp.expm1(1.0))))

    @property
    def scale(self) -> Float[Array, "components dim"]:
        """Standard deviations of the components."""
        return jax.nn.softplus(self.raw_scale[...])

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape[1:]

    def log_prob(self, x: Vector, cond: PyTree = None) -> Float[Array, ""]:
        del cond
        if x.shape != self.loc.shape[1:]:
            raise ValueError(
                f"GaussianMixture expects one event of shape {self.loc.shape[1:]}, got {x.shape}."
            )
        log_prob = lambda loc, scale: jnp.sum(normal.log_prob(x, loc, scale))
        return mixture.log_prob(jax.vmap(log_prob)(self.loc[...], self.scale), self.logits[...])

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Vector:
        del cond
        component = lambda key, i: normal.sample(key, self.loc[i], self.scale[i])
        return mixture.sample(key, self.logits[...], component)

    def mean(self, cond: PyTree = None) -> Vector:
        del cond
        return jax.nn.softmax(self.logits[...]) @ self.loc[...]
