"""Events of several modalities, such as an image and its label, any of which may be missing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import ExactDensity


class Modalities(NamedTuple):
    """An event, or several along the first axis: what is not present is no data, NaN included."""

    values: Any  # a tuple, one entry a modality: [*events, ...]
    present: Any  # bool [*events, modalities]

    def cleared(self) -> "Modalities":
        """One event with zeros for what is missing.

        Raises:
            ValueError: if there are not as many values as modalities.
        """
        if self.present.shape != (len(self.values),):
            raise ValueError(
                f"one event of {len(self.values)} modalities needs present of shape "
                f"({len(self.values)},), got {self.present.shape}; for a batch use jax.vmap."
            )
        clear = lambda a, here: jnp.where(here, a, jnp.zeros_like(a))
        pairs = enumerate(self.values)
        return self._replace(
            values=tuple(
                jax.tree.map(lambda a, i=i: clear(a, self.present[i]), value) for i, value in pairs
            )
        )

    def only(self, *indices: int) -> "Modalities":
        """The same events, of which these modalities alone may be seen.

        Raises:
            ValueError: if there is no such modality.
        """
        if any(not 0 <= i < len(self.values) for i in indices):
            raise ValueError(f"modalities are 0 .. {len(self.values) - 1}, got {indices}.")
        chosen = jnp.array([i in indices for i in range(len(self.values))])
        return self._replace(present=self.present & jnp.broadcast_to(chosen, self.present.shape))


def complete(*values: PyTree) -> Modalities:
    """Events along the first axis of all arrays, nothing of which is missing.

    Raises:
        ValueError: if modalities differ in their number of events.
    """
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(values)}
    if len(lengths) != 1:
        raise ValueError(f"modalities must have as many events each, got {sorted(lengths)}.")
    return Modalities(values, jnp.ones((lengths.pop(), len(values)), bool))


class OfModalities(nnx.Module):
    """p(x_1, ..., x_n | z) = product of p_i(x_i | z), over those that are present.

    Raises:
        TypeError: if a part has no log_prob.
        ValueError: if there are none.

    Source: Wu & Goodman (2018), arXiv:1802.05335, section 2.
    """

    def __init__(self, parts: Sequence[Any]):
        if not parts:
            raise ValueError("OfModalities needs at least one part, got none.")
        for part in parts:
            if not isinstance(part, ExactDensity):
                raise TypeError(f"{type(part).__name__} cannot be a modality: it has no log_prob.")
        self.parts = nnx.List(list(parts))

    def log_prob(self, x: PyTree, cond: PyTree = None) -> Float[Array, ""]:
        """Sum of the log-densities of what is present, in nats."""
        _require_as_many(x, self.parts, "parts")
        x = x.cleared()
        log_probs = [part.log_prob(v, cond) for part, v in zip(self.parts, x.values, strict=True)]
        return jnp.sum(jnp.where(x.present, jnp.stack(log_probs), 0.0))

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> Modalities:
        """All modalities, independent given z."""
        keys = jax.random.split(key, len(self.parts))
        return self._all(tuple(p.sample(k, cond) for p, k in zip(self.parts, keys, strict=True)))

    def mean(self, cond: PyTree = None) -> Modalities:
        return self._all(tuple(part.mean(cond) for part in self.parts))

    def _all(self, values: tuple[PyTree, ...]) -> Modalities:
        return Modalities(values, jnp.ones(len(self.parts), bool))


def experts_of(
    cond: PyTree, experts: Sequence[Any], of: Callable[[Any, PyTree], Any]
) -> tuple[Modalities, list[Any]]:
    """What is seen, and of(expert, its modality) of each; with a condition c also given that.

    Raises:
        ValueError: if there are not as many experts as modalities.
    """
    seen, *more = (cond,) if isinstance(cond, Modalities) else cond  # what a model pairs
    _require_as_many(seen, experts, "experts")
    seen = seen.cleared()
    pairs = zip(experts, seen.values, strict=True)
    return seen, [of(expert, (value, *more) if more else value) for expert, value in pairs]


def condition(cond: PyTree) -> PyTree:
    """What the model itself is given: c of the pair (what is seen, c)."""
    return None if isinstance(cond, Modalities) else cond[1]


def _require_as_many(x: Any, parts: Sequence[Any], name: str) -> None:
    if not isinstance(x, Modalities):
        raise TypeError(
            f"expected Modalities(values, present), got {type(x).__name__}: complete(*values) "
            "makes them of arrays."
        )
    if len(x.values) != len(parts):
        raise ValueError(f"there are {len(parts)} {name} and {len(x.values)} modalities.")
