"""The two halves of the ELBO as terms of their own: reconstruction and rate.

`reconstruction() + rate()` is minus the ELBO. An autoencoder without a density of its encoder has
no rate: an adversarial autoencoder is `reconstruction() + w * generator(latent, ...)`.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from genmix.capabilities import Gradient, Proposes, require_bounded, require_reparameterized
from genmix.families import weigh
from genmix.nets import state
from genmix.objectives.comparison import per_event
from genmix.objectives.likelihood import require_closed_rate
from genmix.objectives.term import Term


@runtime_checkable
class Encodes(Protocol):
    """Draws z given x."""

    def encode(self, key: Key[Array, ""], x: PyTree) -> PyTree: ...


def reconstruction(*, corrupt: Callable[[Key[Array, ""], PyTree], PyTree] | None = None) -> Term:
    """Minus E log p(x | z) in nats, with z drawn from the posterior, which need only sample.

    The metric is log_likelihood.

    Args:
        corrupt: (key, x) -> what the encoder sees in place of x, such as those of
            `genmix.data.corruption`; the clean x is explained. So an autoencoder denoises.

    Source: Vincent et al. (2008), Extracting and Composing Robust Features with Denoising
    Autoencoders, ICML, for corrupt.
    """

    def loss(model, key, batch, carry):
        def one(part, key, x):
            encode_key, decode_key = jax.random.split(key)
            seen = x
            if corrupt is not None:
                corrupt_key, encode_key = jax.random.split(encode_key)
                seen = corrupt(corrupt_key, x)
            z = part.encode(encode_key, seen)
            return weigh.terms(part.likelihood, decode_key, x, z).log_weight

        values, statistics = per_event(one, model, key, batch)
        state.store(model, statistics)
        value = jnp.mean(values)
        return -value, ({"log_likelihood": value}, carry)

    def init(model):
        likelihood = getattr(model, "likelihood", None)
        if not isinstance(model, Encodes) or likelihood is None:
            raise TypeError(
                f"{type(model).__name__} has no encode and likelihood, so it reconstructs nothing: "
                "use a LatentVariableModel or an Autoencoder."
            )
        require_bounded(likelihood, "likelihood")
        posterior = getattr(model, "posterior", None)
        if isinstance(posterior, Proposes):
            require_reparameterized(posterior, Gradient.DRAWS)
        return ()

    return Term(loss, init)


def rate() -> Term:
    """KL(q(z | x) || p(z)) in closed form, in nats; the metric is rate.

    It raises a TypeError for parts that know no closed form.
    """

    def loss(model, key, batch, carry):
        rates, statistics = per_event(lambda part, _, x: part.closed_rate(x), model, key, batch)
        state.store(model, statistics)
        value = jnp.mean(jnp.sum(rates, axis=1))
        return value, ({"rate": value}, carry)

    def init(model):
        require_closed_rate(model)
        return ()

    return Term(loss, init)
