"""Auxiliary variables: a latent-variable model as a posterior."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import (
    ExactDensity,
    Gradient,
    LogJoint,
    Proposes,
    draw,
    gradient_of,
    require_same,
)
from genmix.families import shapes
from genmix.families.roles import require_posterior


class Auxiliary(nnx.Module):
    """z of a model with latents of its own: a ~ q(a | x), z ~ q(z | a, x).

    log q = log q(a | x) + log q(z | a, x) - log r(a | z, x). That is properly weighted whatever
    the reverse model r is, and as tight as q(z | x) itself where r is q(a | z, x).

    Args:
        model: a `LatentVariableModel` of z given x, or what has its three parts: `prior` is
            q(a | x), `likelihood` q(z | a, x), given the pair (a, x), and `posterior` the reverse
            model, given (z, x).

    Raises:
        TypeError: if prior or likelihood do not draw with their densities, or the posterior has no
            log_prob.

    Source: Salimans, Kingma & Welling (2015), arXiv:1410.6460, section 2; Ranganath, Tran & Blei
    (2016), arXiv:1511.02386; Maaløe et al. (2016), arXiv:1602.05473.
    """

    def __init__(self, model: Any):
        for role in ("prior", "likelihood"):
            part = getattr(model, role)
            require_posterior(part)
            if isinstance(part, Proposes):
                raise TypeError(
                    f"{type(part).__name__} cannot be the {role} of a posterior: it is aimed at a "
                    "joint density. Wrap Auxiliary in it."
                )
        if not isinstance(model.posterior, ExactDensity):
            raise TypeError(
                f"{type(model.posterior).__name__} cannot be the reverse model of Auxiliary: it "
                "has no log_prob."
            )
        auxiliary = {
            "the prior": shapes.event_shape(model.prior),
            "the reverse model": shapes.event_shape(model.posterior),
        }
        require_same("Auxiliary", "a", auxiliary)
        self.model = model

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.model.likelihood)

    @property
    def cond_shape(self) -> tuple[int, ...] | None:
        return shapes.cond_shape(self.model.prior)

    @property
    def gradient(self) -> Gradient:
        """Of everything, if both draws are reparameterized."""
        draws = gradient_of(self.model.prior), gradient_of(self.model.likelihood)
        return Gradient.DRAWS if min(draws) == Gradient.DRAWS else Gradient.NOTHING

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        del log_joint
        auxiliary_key, key = jax.random.split(key)
        a, log_q_a = draw(self.model.prior, auxiliary_key, cond)
        z, log_q_z = draw(self.model.likelihood, key, (a, cond))
        return z, log_q_a + log_q_z - self.model.posterior.log_prob(a, (z, cond))
