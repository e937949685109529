"""Terms that compare two distributions by their samples alone, without a critic.

An information autoencoder is an expression: `elbo() + 10.0 * mmd(latent)`.
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from genmix.divergences import mmd as mmd_bound
from genmix.divergences import sliced_wasserstein as sliced_bound
from genmix.objectives.comparison import Comparison, checked_to_move, flat, pairs
from genmix.objectives.term import Term


def mmd(
    comparison: Comparison,
    kernel: mmd_bound.Kernel | None = None,
    *,
    statistic: Callable[..., Float[Array, ""]] = mmd_bound.unbiased,
) -> Term:
    """Squared maximum mean discrepancy between the real and the fake events of a batch.

    Args:
        kernel: of `genmix.divergences.mmd`; by default `imq_for_unit_variance`, made for latents.
        statistic: `unbiased` or `biased` of `genmix.divergences.mmd`.
    """

    def loss(model, key, batch, carry):
        real, fake = map(flat, pairs(comparison, model, key, batch))
        value = statistic(real, fake, kernel or mmd_bound.imq_for_unit_variance(real.shape[1]))
        return value, ({f"{comparison.name}_mmd": value}, carry)

    return Term(loss, checked_to_move(comparison))


def sliced_wasserstein(comparison: Comparison, *, num_projections: int = 50) -> Term:
    """Squared sliced Wasserstein distance between the real and the fake events of a batch.

    Raises:
        ValueError: if num_projections < 1.
    """
    if num_projections < 1:
        raise ValueError(f"num_projections must be at least 1, got {num_projections}.")

    def loss(model, key, batch, carry):
        draw_key, direction_key = jax.random.split(key)
        real, fake = map(flat, pairs(comparison, model, draw_key, batch))
        value = sliced_bound.squared(direction_key, real, fake, num_projections=num_projections)
        return value, ({f"{comparison.name}_sliced_wasserstein": value}, carry)

    return Term(loss, checked_to_move(comparison))
