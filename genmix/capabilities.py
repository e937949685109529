"""What a part can do: each capability is a protocol, and a role asks for one.

A part is any object with the methods: nothing is registered and nothing inherited. Methods take one
event, one condition (any pytree, None for none) and one key; batches are `jax.vmap`.
"""

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

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

    def log_prob(self, x: PyTree, /, cond: PyTree = None) -> Float[Array, ""]: ...


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
        self, key: Key[Array, ""], x: PyTree, /, cond: PyTree = None
    ) -> Float[Array, ""]: ...


class Gradient(enum.IntEnum):
    """What has an unbiased gradient as it stands, when a proposal has drawn z."""

    NOTHING = 0  # chance decides by the parameters, and no gradient says so
    MEAN = 1  # means of log-weights: the ELBO
    WEIGHTS = 2  # any function of log-weights: all bounds
    DRAWS = 3  # any function of z and log q, as of a reparameterized part


@runtime_checkable
class HasGradient(Proposes, Protocol):
    """A proposal that says what can be differentiated; of one that does not, nothing can."""

    @property
    def gradient(self) -> Gradient: ...


@runtime_checkable
class Differentiates(Proposes, Protocol):
    """A proposal that says whether it takes the gradient of log_joint in z."""

    @property
    def differentiates(self) -> bool: ...


class Aimed(NamedTuple):
    """A proposal and the joint density that it is aimed at: together they draw as a part does."""

    proposal: Proposes
    log_joint: LogJoint

    def sample_and_log_prob(
        self, key: Key[Array, ""], cond: PyTree = None
    ) -> tuple[PyTree, Float[Array, ""]]:
        return self.proposal.propose(key, self.log_joint, cond)


@runtime_checkable
class LogBounded(Protocol):
    """Estimates a lower bound on log p(x | cond), in nats: E[log_bound] <= log p(x | cond).

    The ELBO takes it where a log-weight may stand. Bounds that average weights (IWAE, Rényi, NLL)
    do not: E[exp(log_bound)] may exceed p(x | cond).
    """

    def log_bound(
        self, key: Key[Array, ""], x: PyTree, /, cond: PyTree = None
    ) -> Float[Array, ""]: ...


@runtime_checkable
class MadeOfPosterior(Protocol):
    """A prior that is made of the posterior of the model that holds it."""

    def made_of(self, posterior: Any) -> Any: ...


@runtime_checkable
class Enumerable(Protocol):
    """Has a finite support: all events, stacked along a first axis, and their log-probabilities."""

    def support(self, cond: PyTree = None) -> tuple[PyTree, Float[Array, " n"]]: ...


@runtime_checkable
class Sequential(Protocol):
    """Explains a sequence step by step.

    `start` does what can be done for all steps at once, such as encodings: it gives the carry
    before the first step, and the inputs of all steps along their first axis. `step` draws the
    hidden z of one step, each posterior in it as `draw` says, and weighs it and what is seen
    (`genmix.bounds.log_weight.Terms`, in nats): its result is (carry, z, terms). Unrolled, the
    steps are a log-weight (`families.sequence.unrolled`); a particle filter makes a better one.
    """

    def start(self, x: PyTree, cond: PyTree = None) -> tuple[PyTree, PyTree]: ...

    def step(
        self, key: Key[Array, ""], carry: PyTree, inputs: PyTree, draw: Any
    ) -> tuple[PyTree, PyTree, PyTree]: ...


@runtime_checkable
class Generates(Protocol):
    """Draws a sequence step by step: (carry, x of the step) from the carry before."""

    def begin(self, cond: PyTree = None) -> PyTree: ...

    def generate(self, key: Key[Array, ""], carry: PyTree) -> tuple[PyTree, PyTree]: ...


@runtime_checkable
class Unnormalized(Protocol):
    """Knows log p(x | cond) up to a constant, in nats."""

    def log_unnormalized(self, x: PyTree, /, cond: PyTree = None) -> Float[Array, ""]: ...


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
    Density = Weighted | ExactDensity | LogBounded
    Prior = Density | MadeOfPosterior | Unnormalized
else:  # roles refuse a part in words of their own, which a type check of arguments would preempt
    Proposal = Density = Prior = Any


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
    _require_instance(part, role)
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


def require_bounded(part: Any, role: str) -> None:
    """Check that a part can stand where the ELBO needs a likelihood: `LogBounded` is enough.

    Raises:
        TypeError: naming the part, its role and the remedy.
    """
    _require_instance(part, role)
    if not isinstance(part, LogBounded):
        require_weighted(part, role)


def _require_instance(part: Any, role: str) -> None:
    if isinstance(part, type):
        raise TypeError(
            f"the {role} is the class {part.__name__}: build it, as in {part.__name__}(...)."
        )


def require_sequential(part: Any) -> None:
    """Check that a part explains a sequence step by step.

    Raises:
        TypeError: naming the part and the remedy.
    """
    if not isinstance(part, Sequential):
        raise TypeError(
            f"{type(part).__name__} is no model of steps: it lacks start(x, cond) or step(key, "
            "carry, inputs, draw). Use one such as VariationalRNN or StateSpaceModel."
        )


def require_posterior(part: Any) -> None:
    """Check that a part can be a posterior: draws z, and knows log q of what it drew.

    Raises:
        TypeError: naming the part, what it lacks and the remedy.
    """
    _require_instance(part, "posterior")
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


def gradient_of(part: Any) -> Gradient:
    """What has an unbiased gradient as it stands, when the part has drawn z."""
    if isinstance(part, Aimed):
        return gradient_of(part.proposal)
    if isinstance(part, Proposes):
        return part.gradient if isinstance(part, HasGradient) else Gradient.NOTHING
    return Gradient.DRAWS if isinstance(part, Reparameterized) else Gradient.NOTHING


def differentiates(part: Any) -> bool:
    """Whether the part takes the gradient of log_joint in z."""
    return isinstance(part, Differentiates) and part.differentiates


def require_reparameterized(part: Any, needed: Gradient = Gradient.WEIGHTS) -> None:
    """Check that gradients can flow through what a posterior draws.

    Args:
        needed: what is differentiated.

    Raises:
        TypeError: if the part is a proposal whose gradient reaches less than is needed, or has no
            `sample_and_log_prob`.
    """
    if isinstance(part, (Aimed, Proposes)):
        _require_gradient(part, needed)
    elif not isinstance(part, Reparameterized):
        raise TypeError(
            f"{type(part).__name__} has no sample_and_log_prob, so gradients cannot flow through "
            "its samples: use the score-function estimator, or a reparameterized posterior."
        )


def _require_gradient(part: Any, needed: Gradient) -> None:
    has = gradient_of(part)
    if has >= needed:
        return
    reason = {
        Gradient.NOTHING: "chance decides what it draws, by odds that depend on the parameters, so "
        "no gradient of it is unbiased: train with the part that it wraps, and evaluate with it",
        Gradient.MEAN: "its gradient is unbiased for the mean of log-weights alone: use the ELBO "
        "with the reparameterized estimator",
        Gradient.WEIGHTS: "its gradient is unbiased for the log-weight as a whole, not for z or "
        "the terms of the weight one by one: use a bound without rate or comparison of latents",
    }[has]
    raise TypeError(f"{_name(part)} cannot be trained here: {reason}.")


def _name(part: Any) -> str:
    return type(part.proposal if isinstance(part, Aimed) else part).__name__


def require_log_prob(part: Any) -> None:
    """Check that a posterior can evaluate the density of a given z.

    Raises:
        TypeError: if it has no `log_prob`.
    """
    if not isinstance(part, ExactDensity):
        raise TypeError(
            f"{_name(part)} has no log_prob, so its density cannot be taken apart from its "
            "samples: use the reparameterized estimator."
        )


def require_same(owner: str, what: str, shapes: dict[str, tuple[int, ...] | None]) -> None:
    """Check that those who know the shape of one thing agree on it.

    Args:
        shapes: by who has it, such as "the prior".

    Raises:
        ValueError: naming them and their shapes.
    """
    known = {name: shape for name, shape in shapes.items() if shape is not None}
    if len(set(known.values())) > 1:
        said = ", ".join(f"{shape} for {name}" for name, shape in known.items())
        raise ValueError(
            f"The parts of {owner} do not fit each other: {what} has shape {said}. Give them the "
            "same shape; a likelihood's or posterior's is that of its network."
        )
