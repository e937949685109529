"""What is given to a network, or to a density, in place of the one event that it is of."""

from typing import Any


def require(owner: object, x: Any, shape: tuple[int, ...], axis_name: str | None = None) -> None:
    """Check that x is one array of a shape.

    Args:
        owner: whose input it is, for the error.
        axis_name: of the batch, for networks with statistics of it.

    Raises:
        ValueError: if it has another shape.
        TypeError: if it is no array.
    """
    name = type(owner).__name__
    require_array(f"{name} expects one event of shape {shape}", x)
    if x.shape != shape:
        options = f' with axis_name="{axis_name}"' if axis_name else ""
        raise ValueError(
            f"{name} expects one event of shape {shape}, got {x.shape}; for a batch use "
            f"jax.vmap{options}."
        )


def require_array(expectation: str, x: Any) -> None:
    """Check that x is an array at all.

    Raises:
        TypeError: saying what was expected, what came, and what to do instead.
    """
    if hasattr(x, "shape"):
        return
    if x is None:
        raise TypeError(
            f"{expectation}, got None: give the condition, as in part.sample(key, cond) or "
            "part.log_prob(x, cond)."
        )
    kind = type(x).__name__
    if isinstance(x, tuple) and any(isinstance(entry, (int, tuple)) for entry in x[1:]):
        remedy = (
            "sample(key, cond) makes one draw, given cond; for more, "
            "jax.vmap(model.sample)(jax.random.split(key, 10))"
        )
    elif isinstance(x, (tuple, list, dict)):
        remedy = (
            "choose one of its arrays by term.on(lambda batch: batch[0]), join them by nets.Joined "
            "or stack them by numpy.stack"
        )
    else:
        remedy = "make an array of it by jax.numpy.asarray"
    raise TypeError(f"{expectation}, got a {kind}: {remedy}.")
