"""Training of a mixture over masks, one mask for each batch."""

import jax.numpy as jnp

from genmix.objectives.likelihood import elbo
from genmix.objectives.term import Term


def masked_elbo(*, name: str = "elbo") -> Term:
    """Mean over the batch of log p(x | mask), under the masks in turn: the ELBO over masks.

    All events of a batch share the mask, and so one copy of the weights; under `MaskSampling` each
    has its own.
    Source: Germain et al. (2015), arXiv:1502.03509, section 4.2.
    """

    def loss(model, key, batch, step):
        one_mask = model.masked(step % model.num_masks)
        value, (metrics, _) = elbo(name=name)(one_mask, key, batch, ())
        return value, (metrics, step + 1)

    return Term(loss, lambda model: jnp.zeros((), jnp.int32))
