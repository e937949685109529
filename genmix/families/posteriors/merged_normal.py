"""Posteriors that start from what the prior says: prior and evidence, merged."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.densities import normal
from genmix.families import shapes
from genmix.families.explicit.conditional import Parametric
from genmix.families.explicit.normal_at import NormalAt

Values = Float[Array, "..."]
Merge = Callable[[Values, Values, Values, Values], tuple[Values, Values]]
"""(prior's loc and scale, evidence's loc and scale) -> the posterior's loc and scale."""


class MergedNormal(nnx.Module):
    """q(z | prior, c) = merge(N of the prior, N of the evidence for c).

    A model that draws z conditionally on its own prior, such as a recurrent or a hierarchical one,
    hands the prior's parameters to `given`; both must be normals with independent entries.

    Args:
        evidence: such as `Normal(network)`.
        merge: `precision_weighted`, `summed` or `shifted`.

    Raises:
        TypeError: if the evidence is no normal distribution.
    """

    def __init__(self, evidence: Any, merge: Merge):
        require_normal(evidence, "evidence of a MergedNormal")
        self.evidence = evidence
        self.merge = merge

    @property
    def event_shape(self) -> tuple[int, ...] | None:
        return shapes.event_shape(self.evidence)

    def given(self, prior: normal.Parameters, cond: PyTree) -> NormalAt:
        """The posterior, its parameters at hand."""
        return NormalAt(*self.merge(*prior, *parameters(self.evidence, cond)))


def require_normal(part: object, role: str) -> None:
    """Check that a part is a normal distribution with independent entries.

    Raises:
        TypeError: naming the part, its role and the remedy.
    """
    if not isinstance(part, Parametric):
        raise TypeError(
            f"{type(part).__name__} cannot be the {role}: it has no parameters(c). Use a normal "
            "distribution with independent entries, such as Normal(network)."
        )


def parameters(part: Parametric, cond: PyTree) -> normal.Parameters:
    """Means and standard deviations of a normal distribution given a condition.

    Raises:
        TypeError: if it is another distribution.
    """
    values = part.parameters(cond)
    if not isinstance(values, normal.Parameters):
        raise TypeError(
            f"{type(part).__name__} is no normal distribution, which prior and evidence of a "
            "MergedNormal must be: use Normal(network)."
        )
    return values


def precision_weighted(
    prior_loc: Values, prior_scale: Values, loc: Values, scale: Values
) -> tuple[Values, Values]:
    """The product of both densities: exact where the evidence is a normal likelihood.

    Source: Sønderby et al. (2016), arXiv:1602.02282, equations 17 and 18.
    """
    # The share of the evidence in the precision, of ratios that cannot overflow where both are
    # small.
    ratio = (prior_scale / scale) ** 2
    share = ratio / (1 + ratio)
    return prior_loc + share * (loc - prior_loc), prior_scale * (1 + ratio) ** -0.5


def summed(
    prior_loc: Values, prior_scale: Values, loc: Values, scale: Values
) -> tuple[Values, Values]:
    """Means and log-scales added.

    Source: Kingma et al. (2016), arXiv:1606.04934, in the authors' code (openai/iaf, tf_train.py);
    the paper's equations have no name for it.
    """
    return prior_loc + loc, prior_scale * scale


def shifted(
    prior_loc: Values, prior_scale: Values, loc: Values, scale: Values
) -> tuple[Values, Values]:
    """The prior's mean, shifted; the evidence's own scale.

    Source: Fraccaro et al. (2016), arXiv:1605.07571, section 3.2 (residual inference); Maddison et
    al. (2017), arXiv:1705.09279, appendix (res_q).
    """
    del prior_scale
    return prior_loc + loc, scale
