"""A prior that is a mixture of the model's own posteriors, at inputs that are learned."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import ExactDensity, SampledDensity, Samples
from genmix.nets import state

Inputs = Float[Array, "k *event"]


class PosteriorMixture(nnx.Module):
    """p(z) = mean over k of q(z | u_k), in nats; given c, the mean of q(z | (u_k, c))."""

    def __init__(self, posterior: SampledDensity, inputs: Inputs):
        self.posterior, self.inputs = posterior, inputs

    def log_prob(self, z: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        log_q = jax.vmap(lambda u: state.fresh(self.posterior).log_prob(z, _given(u, cond)))
        each = log_q(self.inputs)
        return jax.nn.logsumexp(each) - jnp.log(jnp.asarray(len(each), each.dtype))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        index_key, key = jax.random.split(key)
        k = jax.random.randint(index_key, (), 0, len(self.inputs))
        return self.posterior.sample(key, _given(self.inputs[k], cond))


class VampPrior(nnx.Module):
    """p(z) = mean over k of q(z | u_k), with pseudo-inputs u_k that are like x, and learned.

    q is the posterior of the `LatentVariableModel` that holds the prior: `model.prior` is the
    mixture. Its parameters are there once, so that training moves prior and posterior together.

    Args:
        pseudo_inputs: where they start: examples of the data, or noise around their mean.
        bounds: the pseudo-inputs are clipped to this range, that of the data; an entry beyond it
            has the gradient of one on the bound. None for data without one.

    Raises:
        ValueError: if there are no pseudo-inputs, or the bounds are in the wrong order.

    Source: Tomczak & Welling (2018), arXiv:1705.07120, section 3.
    """

    def __init__(self, pseudo_inputs: Inputs, *, bounds: tuple[float, float] | None = (0.0, 1.0)):
        if not pseudo_inputs.ndim or not len(pseudo_inputs):
            raise ValueError(
                f"VampPrior needs at least one pseudo-input, got shape {pseudo_inputs.shape}."
            )
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"bounds must be (low, high) with low < high, got {bounds}.")
        self.bounds = bounds
        self.raw = nnx.Param(jnp.asarray(pseudo_inputs))

    @property
    def pseudo_inputs(self) -> Inputs:
        """The inputs u_k, within their bounds."""
        raw = self.raw[...]
        if self.bounds is None:
            return raw
        # The gradient passes as if nothing were cut: an input of bits starts on a bound, and one
        # that steps across could never come back.
        return raw + jax.lax.stop_gradient(jnp.clip(raw, *self.bounds) - raw)

    def made_of(self, posterior: Any) -> PosteriorMixture:
        """The mixture of a posterior's densities.

        Raises:
            TypeError: if it cannot evaluate the density of a given z, or not sample.
        """
        name = type(posterior).__name__
        if not isinstance(posterior, ExactDensity):
            raise TypeError(
                f"{name} has no log_prob, so it cannot make a VampPrior, which is a mixture of its "
                "densities: use a posterior that has one, such as a flow with an inverse, or "
                "another prior."
            )
        if not isinstance(posterior, Samples):
            raise TypeError(f"{name} cannot make a VampPrior: it has no sample.")
        return PosteriorMixture(posterior, self.pseudo_inputs)


def _given(x: Array, cond: PyTree) -> PyTree:
    return x if cond is None else (x, cond)
