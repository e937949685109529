"""What a part can do: each capability is a protocol, and a role asks for one.

A part is any object with the methods: nothing is registered and nothing inherited. Methods take one
event, one condition (any pytree, None for none) and one key; batches are `jax.vmap`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

LogJoint = Callable[[PyTree], Float[Array, ""]]
"""z -> log p(x, z) of one x, in nats: what a proposal is aimed at."""


@runtime_checkable
class Samples(Protocol):
    """Draws an event."""

    def sample(self, key: Key[Array, ""], cond: PyTree = None) -> PyTree: ...


@runtime_checkable
class Reparameterized(Protocol):
    """Draws an event, differentiable in the parameters, with its log-density in nats."""

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]: ...


@runtime_checkable
class ExactDensity(Protocol):
    """Knows log p(x | cond), in nats."""

    def log_prob(self, x: PyTree, cond: PyTree = None) -> Float[Array, ""]: ...


@runtime_checkable
class SampledDensity(Samples, ExactDensity, Protocol):
    """Draws an event, and knows log p(x | cond) of any."""


@runtime_checkable
class Proposes(Protocol):
    """Draws z with an effective log q, in nats, for a joint density log_joint(z) = log p(x, z).

    The draw is properly weighted: E[exp(log_joint(z) - log_q) f(z)] is the integral of
    exp(log_joint(z)) f(z), for every f; so the mean weight is p(x). A plain posterior has this
    without the method (`draw`), and looks at no joint density.

    Source: Liu (2001), Monte Carlo strategies in scientific computing, section 2.5; Naesseth,
    Lindsten & Schön (2015), arXiv:1502.02536, section 3.
    """

    def propose(
        self, key: Key[Array, ""], log_joint: LogJoint, cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]: ...


@runtime_checkable
class Weighted(Protocol):
    """Estimates p(x | cond) without bias: E[exp(log_weight)] = p(x | cond)."""

    def log_weight(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None
    ) -> Float[Array, ""]: ...


@runtime_checkable
class LogBounded(Protocol):
    """Estimates a lower bound on log p(x | cond), in nats: E[log_bound] <= log p(x | cond).

    The ELBO takes it where a log-weight may stand. Bounds that average weights (IWAE, Rényi, NLL)
    do not: E[exp(log_bound)] may exceed p(x | cond).
    """

    def log_bound(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None
    ) -> Float[Array, ""]: ...


@runtime_checkable
class Enumerable(Protocol):
    """Has a finite support: all events, stacked along a first axis, and their log-probabilities."""

    def support(self, cond: PyTree = None) -> tuple[PyTree, Float[Array, " n"]]: ...


@runtime_checkable
class Unnormalized(Protocol):
    """Knows log p(x | cond) up to a constant, in nats."""

    def log_unnormalized(self, x: PyTree, cond: PyTree = None) -> Float[Array, ""]: ...


@runtime_checkable
class Mean(Protocol):
    """Knows the mean of its event."""

    def mean(self, cond: PyTree = None) -> PyTree: ...


@runtime_checkable
class ClosedKL(Protocol):
    """Knows KL(self(cond) || prior(prior_cond)) in closed form, in nats, one entry a dimension.

    Raises a TypeError for priors of which it does not.
    """

    def kl(
        self, prior: Any, cond: PyTree = None, prior_cond: PyTree = None
    ) -> Float[Array, " dim"]: ...


if TYPE_CHECKING:
    Proposal = Proposes | Reparameterized | SampledDensity
    Density = Weighted | ExactDensity
else:  # roles refuse a part in words of their own, which a type check of arguments would preempt
    Proposal = Density = Any


def draw(
    part: Proposal,
    key: Key[Array, ""],
    *cond: PyTree,
    log_joint: LogJoint | None = None,
) -> tuple[PyTree, Float[Array, ""]]:
    """Draw z with log q(z | cond), in nats, in whichever way the part can.

    Args:
        cond: none for an object whose methods take none.
        log_joint: what a part that `Proposes` is aimed at; others do not look at it.

    Raises:
        TypeError: if the part proposes and there is no log_joint.
    """
    if isinstance(part, Proposes):
        if log_joint is None:
            raise TypeError(
                f"{type(part).__name__} proposes for a joint density, and none is known here: use "
                "it as the posterior of a LatentVariableModel, or a part with sample_and_log_prob."
            )
        z, log_q = part.propose(key, log_joint, *cond)
        return z, one_number(log_q, part, "propose")
    if isinstance(part, Reparameterized):
        z, log_q = part.sample_and_log_prob(key, *cond)
        return z, one_number(log_q, part, "sample_and_log_prob")
    return constant_draw(part, key, *cond)


def sample(
    part: Proposes | Reparameterized | Samples,
    key: Key[Array, ""],
    *cond: PyTree,
    log_joint: LogJoint | None = None,
) -> PyTree:
    """The z of `draw` alone, of which a part need not know the density.

    It has the gradient that the part gives it, through the density's parameters where it can.
    """
    if isinstance(part, (Proposes, Reparameterized)):
        return draw(part, key, *cond, log_joint=log_joint)[0]
    return part.sample(key, *cond)


def constant_draw(
    part: SampledDensity, key: Key[Array, ""], *cond: PyTree
) -> tuple[PyTree, Float[Array, ""]]:
    """A draw without gradient, and its log-density, in nats, with one."""
    # A copy draws, since dropout counters may advance: the density must see the same network.
    z = jax.lax.stop_gradient(held(part).sample(key, *cond))
    return z, one_number(part.log_prob(z, *cond), part, "log_prob")


def one_number(value: Any, part: Any, method: str) -> Array:
    """What a method says of one event, which a weight can have as a term only if it is a number.

    An array would broadcast against other terms or particles, and train in silence.

    Raises:
        ValueError: naming the part and the method, if it is not one number.
    """
    value = jnp.asarray(value)
    if value.shape:
        raise ValueError(
            f"{type(part).__name__}.{method} must give one number for one event, got "
            f"{value.dtype}{list(value.shape)}: sum over the event's entries, as jnp.sum(log_prob) "
            "does."
        )
    return value


P = TypeVar("P")


def held(part: P) -> P:
    """Copy whose arrays are constants; an object that is no pytree stays as it is."""
    hold = lambda leaf: jax.lax.stop_gradient(leaf) if isinstance(leaf, jax.Array) else leaf
    return jax.tree.map(hold, part)


def require_weighted(part: Any, role: str) -> None:
    """Check that a part can stand where a likelihood is needed.

    Raises:
        TypeError: naming the part, its role and the remedy.
    """
    if isinstance(part, (Weighted, ExactDensity)):
        return
    name = type(part).__name__
    if isinstance(part, Unnormalized):
        raise TypeError(
            f"{name} cannot be the {role}: its density is not normalized (it has log_unnormalized, "
            "but neither log_prob nor log_weight). Estimate its normalizer, or use a normalized "
            "density."
        )
    raise TypeError(
        f"{name} cannot be the {role}: it has no density (neither log_prob nor log_weight), so "
        "maximum likelihood cannot train it. Use an adversarial term, or give it an invertible "
        "network."
    )


def require_posterior(part: Any) -> None:
    """Check that a part can be a posterior: draws z, and knows log q of what it drew.

    Raises:
        TypeError: naming the part, what it lacks and the remedy.
    """
    if isinstance(part, (Proposes, Reparameterized)):
        return
    name = type(part).__name__
    if not isinstance(part, Samples):
        raise TypeError(
            f"{name} cannot be the posterior: it has neither sample_and_log_prob nor sample."
        )
    if not isinstance(part, ExactDensity):
        remedy = (
            "an unbiased log_weight is not enough in the denominator of a weight."
            if isinstance(part, Weighted)
            else "the weight p(x, z) / q(z | x) needs q."
        )
        raise TypeError(
            f"{name} cannot be the posterior: it draws samples but has no log_prob, and {remedy} "
            "Give it sample_and_log_prob, or log_prob beside sample."
        )


def require_reparameterized(part: Any) -> None:
    """Check that gradients can flow through a posterior's samples.

    Raises:
        TypeError: if it has no `sample_and_log_prob`.
    """
    if not isinstance(part, Reparameterized):
        raise TypeError(
            f"{type(part).__name__} has no sample_and_log_prob, so gradients cannot flow through "
            "its samples: use the score-function estimator, or a reparameterized posterior."
        )


def require_log_prob(part: Any) -> None:
    """Check that a posterior can evaluate the density of a given z.

    Raises:
        TypeError: if it has no `log_prob`.
    """
    if not isinstance(part, ExactDensity):
        raise TypeError(
            f"{type(part).__name__} has no log_prob, so its density cannot be taken apart from its "
            "samples: use the reparameterized estimator."
        )
