"""Diffusions as terms: the bound by one time an event, and what is trained instead of it.

Times are spread evenly over a batch. Every term reports the bound itself, in nats.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix import sharding
from genmix.families.diffusion.diffusion import Diffusion, antithetic_times
from genmix.objectives.term import Term


@runtime_checkable
class BoundedByTimes(Protocol):
    """Has a bound on log p(x | cond) that any time in [0, 1] estimates."""

    def log_bound_at(
        self, key: Key[Array, ""], t: Float[Array, ""], x: Any, cond: PyTree = None
    ) -> Float[Array, ""]: ...


class _Values(NamedTuple):
    """Of one event."""

    bound: Float[Array, ""]
    error: Float[Array, ""]  # |noise - predicted noise|^2


def bound(*, name: str = "bound", is_conditional: bool = False) -> Term:
    """Minus the bound at one time an event: an estimate of it without bias, and so its gradient.

    Args:
        name: of the bound among the metrics.
        is_conditional: batches are pairs (x, cond).

    Source: Kingma et al. (2021), arXiv:2107.00630, equations 11 and 17; Ho, Jain & Abbeel (2020),
    arXiv:2006.11239, equation 5, for a chain.
    """

    def one(model: Any, key: Key[Array, ""], t: Array, x: Any, cond: PyTree) -> _Values:
        value = model.log_bound_at(key, t, x, cond)
        return _Values(value, jnp.zeros_like(value))

    def require(model: Any) -> None:
        if not isinstance(model, BoundedByTimes):
            raise TypeError(
                f"{type(model).__name__} has no log_bound_at, so it is no diffusion: train it by "
                "objectives.elbo or objectives.iwae."
            )

    return _term(one, lambda values: -jnp.mean(values.bound), require, name, is_conditional)


def simple(*, name: str = "bound", is_conditional: bool = False) -> Term:
    """Squared error of the predicted noise, evenly over time: it favours what is seen over bits.

    Source: Ho, Jain & Abbeel (2020), arXiv:2006.11239, equation 14.
    """
    return _term(
        _with_error, lambda values: jnp.mean(values.error), _require_real, name, is_conditional
    )


def hybrid(weight: float = 0.001, *, name: str = "bound", is_conditional: bool = False) -> Term:
    """`simple` minus `weight` times the bound.

    Raises:
        ValueError: if weight is not positive.

    Source: Nichol & Dhariwal (2021), arXiv:2102.09672, equation 16.
    """
    if weight <= 0:
        raise ValueError(f"weight must be positive, got {weight}: without the bound, use simple().")

    def reduce(values: _Values) -> Float[Array, ""]:
        return jnp.mean(values.error) - weight * jnp.mean(values.bound)

    return _term(_with_error, reduce, _require_real, name, is_conditional)


def _with_error(model: Any, key: Key[Array, ""], t: Array, x: Any, cond: PyTree) -> _Values:
    end_key, noise_key = jax.random.split(key)
    noise = jax.random.normal(noise_key, model.shape, model.encode(x).dtype)
    loss = model.loss_at(noise, t, x, cond)
    _, slope = jax.jvp(model.schedule, (t,), (jnp.ones_like(t),))
    return _Values(model.log_ends(end_key, x, cond) - loss, 2 * loss / slope)


def _require_real(model: Any) -> None:
    if not isinstance(model, Diffusion):
        raise TypeError(
            f"the error of predicted noise is that of a Diffusion, got {type(model).__name__}: use "
            "bound()."
        )


def _term(
    one: Callable[..., _Values],
    reduce: Callable[[_Values], Float[Array, ""]],
    require: Callable[[Any], None],
    name: str,
    is_conditional: bool,
) -> Term:
    def loss(model, key, batch, carry):
        x, cond = batch if is_conditional else (batch, None)
        size = jax.tree.leaves(x)[0].shape[0]
        time_key, key = jax.random.split(key)
        times = antithetic_times(time_key, size)
        each = jax.vmap(
            lambda key, t, x, cond: one(model, key, t, x, cond),
            spmd_axis_name=sharding.spmd_axis("data"),
        )
        values = each(jax.random.split(key, size), times, x, cond)
        return reduce(values), ({name: jnp.mean(values.bound)}, carry)

    def init(model):
        require(model)
        return ()

    return Term(loss, init)
