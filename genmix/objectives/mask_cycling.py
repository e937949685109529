"""Training of a mixture over masks, one mask for each batch."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from genmix import objectives
from genmix.families.autoregressive.mask_sampling import MaskMixture
from genmix.objectives.term import Term


def _identity(model: Any) -> Any:
    return model


def elbo(*, of: Callable[[Any], MaskMixture] = _identity, name: str = "elbo") -> Term:
    """Mean over the batch of log p(x | mask), under the masks in turn: the ELBO over masks.

    All events of a batch share the mask, and so one copy of the weights; under `MaskSampling` each
    has its own.

    Args:
        of: the mixture in a model that holds more.

    Source: Germain et al. (2015), arXiv:1502.03509, section 4.2.
    """

    def loss(model, key, batch, step):
        masked = lambda model: of(model).masked(step % of(model).num_masks)
        value, (metrics, _) = objectives.elbo(of=masked, name=name)(model, key, batch, ())
        return value, (metrics, step + 1)

    return Term(loss, lambda model: jnp.zeros((), jnp.int32))
