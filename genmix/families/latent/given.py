"""A conditional part as a model of pairs of an event and its condition."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw, Terms
from genmix.capabilities import Density
from genmix.families import weigh
from genmix.families.roles import require_bounded


class Given(nnx.Module):
    """p(x | c), for events (x, c): what objectives and evaluation take to train and to judge it.

    `elbo()` of `Given(part)` on batches (x, c) is that of x given c. Nothing is said
    of how c is distributed, unlike by `Pairs`. The part itself draws: `part.sample(key, c)`.

    Args:
        part: p(x | c), any with a density, a log-weight or a bound given c.

    Raises:
        TypeError: if it has none; at a call, if the event is no pair.
    """

    def __init__(self, part: Density):
        require_bounded(part, "part")
        self.part: Any = part

    @property
    def is_bound(self) -> bool:
        """Whether the part knows a bound alone."""
        return weigh.is_bound(self.part)

    def log_weight_terms(
        self,
        key: Key[Array, ""],
        x: PyTree,
        cond: None = None,
        draw: Draw = weigh.draw,
    ) -> Terms:
        """Those of log p(x | c), in nats."""
        del cond
        event, given = _pair(x)
        return weigh.terms(self.part, key, event, given, draw)

    def log_weight(self, key: Key[Array, ""], x: PyTree, cond: None = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x | c), in nats."""
        weigh.require_weights(self, "its log-weight")
        return self.log_weight_terms(key, x, cond).log_weight

    def log_bound(self, key: Key[Array, ""], x: PyTree, cond: None = None) -> Float[Array, ""]:
        """Estimate of a lower bound on log p(x | c), in nats."""
        return self.log_weight_terms(key, x, cond).log_weight


def _pair(x: PyTree) -> tuple[PyTree, PyTree]:
    if not isinstance(x, tuple) or len(x) != 2:
        shapes = [jax.numpy.shape(leaf) for leaf in jax.tree.leaves(x)]
        raise TypeError(
            "Given takes pairs (event, condition), such as data (x, c), got "
            f"{type(x).__name__} of arrays of shapes {shapes}."
        )
    return x
