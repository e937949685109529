"""A prior that is a mixture of the model's own posteriors, at inputs that are learned."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import ExactDensity, Samples
from genmix.families import weigh
from genmix.families.latent.latent_variable import LatentVariableModel

Inputs = Float[Array, "k *event"]
Bounds = tuple[float, float] | None


class VampPrior(nnx.Module):
    """p(z) = mean over k of q(z | u_k), with pseudo-inputs u_k that are like x, and learned.

    The posterior's parameters are the prior's own: in a model that shares them with its posterior,
    as it should be, use `VampModel`.

    Args:
        posterior: q(z | x), with log_prob and sample.
        pseudo_inputs: where they start: examples of the data, or noise around their mean.
        bounds: the pseudo-inputs are clipped to this range, that of the data; an entry beyond it
            has a gradient of zero. None for data without one.

    Raises:
        TypeError: if the posterior cannot evaluate the density of a given z, or not sample.
        ValueError: if there are no pseudo-inputs, or the bounds are in the wrong order.

    Source: Tomczak & Welling (2018), arXiv:1705.07120, section 3.
    """

    def __init__(self, posterior: Any, pseudo_inputs: Inputs, *, bounds: Bounds = (0.0, 1.0)):
        if not isinstance(posterior, ExactDensity):
            raise TypeError(
                f"{type(posterior).__name__} has no log_prob, so it cannot make a VampPrior, which "
                "is a mixture of its densities: use a posterior that has one, such as a flow with "
                "an inverse, or another prior."
            )
        if not isinstance(posterior, Samples):
            raise TypeError(
                f"{type(posterior).__name__} cannot make a VampPrior: it has no sample."
            )
        if not pseudo_inputs.ndim or not len(pseudo_inputs):
            raise ValueError(
                f"VampPrior needs at least one pseudo-input, got shape {pseudo_inputs.shape}."
            )
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"bounds must be (low, high) with low < high, got {bounds}.")
        self.posterior: Any = posterior
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

    def log_prob(self, z: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        log_q = jax.vmap(lambda u: self.posterior.log_prob(z, _given(u, cond)))(self.pseudo_inputs)
        return jax.nn.logsumexp(log_q) - jnp.log(jnp.asarray(len(log_q), log_q.dtype))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        index_key, key = jax.random.split(key)
        k = jax.random.randint(index_key, (), 0, len(self.raw))
        return self.posterior.sample(key, _given(self.pseudo_inputs[k], cond))


class VampModel(nnx.Module):
    """A latent-variable model whose prior is the VampPrior of its own posterior.

    It keeps the posterior once, so that training moves prior and posterior together. The arguments
    are those of `LatentVariableModel` and of `VampPrior`.

    Raises:
        TypeError: if a part cannot play its role.
        ValueError: as in `VampPrior`.

    Source: Tomczak & Welling (2018), arXiv:1705.07120, section 3.
    """

    def __init__(
        self,
        *,
        likelihood: Any,
        posterior: Any,
        pseudo_inputs: Inputs,
        bounds: Bounds = (0.0, 1.0),
    ):
        self.likelihood, self.posterior, self.bounds = likelihood, posterior, bounds
        self.raw = nnx.Param(jnp.asarray(pseudo_inputs))
        _ = self.model  # refuses parts that cannot play their roles

    @property
    def prior(self) -> VampPrior:
        """p(z), as this model's parameters are now."""
        return VampPrior(self.posterior, self.raw[...], bounds=self.bounds)

    @property
    def model(self) -> LatentVariableModel:
        """The model, as its parameters are now, for what asks for a `LatentVariableModel`."""
        return LatentVariableModel(
            prior=self.prior, likelihood=self.likelihood, posterior=self.posterior
        )

    def log_weight_terms(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None, draw: Draw = weigh.draw
    ) -> Terms:
        """Terms of log p(x | z) + log p(z) - log q(z | x) for one z drawn from q, in nats."""
        return self.model.log_weight_terms(key, x, cond, draw)

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | cond), in nats; its expectation is the ELBO."""
        return self.log_weight_terms(key, x, cond).log_weight

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        """Draw z from the prior, then x given z."""
        return self.model.sample(key, cond)


def _given(x: Array, cond: PyTree) -> PyTree:
    return x if cond is None else (x, cond)
