"""Teach the experts of single modalities what the expert of all of them has found."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import ClosedKL
from genmix.families.latent.modalities import Modalities
from genmix.families.posteriors.mixture_of_experts import MixtureOfExperts
from genmix.nets import state
from genmix.objectives.comparison import per_event
from genmix.objectives.term import Term


def experts_kl() -> Term:
    """Mean over events of the sum over modalities of KL(q(z | all) || q(z | x_i)), in nats.

    `elbo() + alpha * experts_kl()` is the objective JMVAE-kl of a model whose posterior is a
    `MixtureOfExperts` with `joint`, for events nothing of which is missing. The metric is
    experts_kl.

    Raises:
        TypeError: at the start of training, if there is no joint expert, or no closed form.

    Source: Suzuki, Nakayama & Matsuo (2016), arXiv:1611.01891, equation 4.
    """

    def loss(model, key, batch, carry):
        def one(posterior, key: Key[Array, ""], x: Modalities) -> Float[Array, ""]:
            del key
            kl = lambda expert, value: jnp.sum(posterior.joint.kl(expert, x.values, value))
            pairs = zip(posterior.experts, x.values, strict=True)
            return jnp.sum(jnp.stack([kl(expert, value) for expert, value in pairs]))

        values, statistics = per_event(one, model.posterior, key, batch)
        state.store(model.posterior, statistics)
        return jnp.mean(values), ({"experts_kl": jnp.mean(values)}, carry)

    def init(model) -> PyTree:
        posterior = getattr(model, "posterior", None)
        if not isinstance(posterior, MixtureOfExperts) or not isinstance(posterior.joint, ClosedKL):
            raise TypeError(
                f"experts_kl needs the posterior MixtureOfExperts(..., joint=Normal(network)), got "
                f"{type(posterior).__name__} without a joint expert of closed KL."
            )
        return ()

    return Term(loss, init)
