"""The ELBO of a data set, taken apart into reconstruction, information and the marginal's KL."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.capabilities import require_log_prob
from genmix.divergences import mutual_information
from genmix.divergences.mutual_information import Decomposition
from genmix.families import LatentVariableModel
from genmix.families.weigh import log_weight
from genmix.nets import state


def decomposition(
    key: Key[Array, ""],
    model: LatentVariableModel,
    x: Float[ArrayLike, "n ..."],
    *,
    num_samples: int = 10,
) -> Decomposition:
    """E log p(x | z), I(x; z) and KL(q(z) || p(z)) in nats, for the events x as the whole data.

    q(z) is the mean of q(z | x) over these n events, so that the information is at most ln n:
    where it comes near that, other events of the same kind would have more of it.

    Args:
        num_samples: draws of z for each event.

    Raises:
        TypeError: if the posterior has no log_prob.
        ValueError: if num_samples < 1.
    Source: Hoffman & Johnson (2016), "ELBO surgery".
    """
    require_log_prob(model.posterior)
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
    return _decomposition(key, state.evaluating(model), jnp.asarray(x), num_samples)


@functools.partial(jax.jit, static_argnames="num_samples")
def _decomposition(
    key: Array, model: LatentVariableModel, x: Array, num_samples: int
) -> Decomposition:
    def one(pair: tuple[Array, Array]) -> Decomposition:
        key, index = pair
        draw_key, likelihood_key, prior_key = jax.random.split(key, 3)
        z = model.encode(draw_key, x[index])
        # A prior or likelihood without a density has an unbiased estimate of one.
        return mutual_information.decompose(
            log_weight(model.likelihood, likelihood_key, x[index], z),
            log_weight(model.prior, prior_key, z),
            jax.vmap(lambda other: model.posterior.log_prob(z, other))(x),
            index,
        )

    index = jnp.repeat(jnp.arange(len(x)), num_samples)
    keys = jax.random.split(key, len(index))
    terms = jax.lax.map(one, (keys, index), batch_size=min(len(index), 200))
    return jax.tree.map(jnp.mean, terms)
