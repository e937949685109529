"""A part at one condition: a distribution without one."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import sample
from genmix.nets import state


class Given(NamedTuple):
    """p(z | cond) as a distribution of z, with the methods that Monte Carlo asks of a base.

    Attributes:
        part: one that draws; where its density is asked for, it has a log_prob.
    """

    part: Any
    cond: PyTree = None

    def sample(self, key: Key[Array, ""]) -> PyTree:
        return sample(state.fresh(self.part), key, self.cond)

    def log_prob(self, z: PyTree) -> Float[Array, ""]:
        return state.fresh(self.part).log_prob(z, self.cond)
