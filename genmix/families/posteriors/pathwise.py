"""A posterior of which nothing but reparameterized draws may be had."""

from typing import NamedTuple

from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import Reparameterized


class Pathwise(NamedTuple):
    """The part's draws, without its density of a given z.

    For posteriors to whom parameters come in their condition: estimators that hold a posterior's
    own parameters fixed would miss those, and refuse what has no log_prob.
    """

    part: Reparameterized

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        return self.part.sample_and_log_prob(key, cond)
