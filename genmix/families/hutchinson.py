"""A continuous flow whose density is estimated, by one derivative instead of one for each entry."""

from typing import Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import LogBounded, Samples


@runtime_checkable
class SampledBound(Samples, LogBounded, Protocol):
    """Draws an event, and estimates log p(x | cond) of any."""


class Hutchinson(nnx.Module):
    """What the ELBO trains where `log_prob` takes too long; its noise has no bias in log p(x).

    Weights must not be averaged: exp of the estimate is no estimate of p(x).

    Args:
        flow: a `ContinuousFlow` or `ProbabilityFlow`.

    Source: Grathwohl et al. (2019), arXiv:1810.01367, section 3.1.
    """

    def __init__(self, flow: SampledBound):
        self.flow = flow

    def log_bound(
        self, key: Key[Array, ""], x: Float[Array, "..."], cond: PyTree = None
    ) -> Float[Array, ""]:
        return self.flow.log_bound(key, x, cond)

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree:
        return self.flow.sample(key, cond)
