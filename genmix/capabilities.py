"""What a part can do: each capability is a protocol, and a role asks for one.

A part is any object with the methods: nothing is registered and nothing inherited. Methods take one
event, one condition (any pytree, None for none) and one key; batches are `jax.vmap`.
"""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key, PyTree


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
class Weighted(Protocol):
    """Estimates p(x | cond) without bias: E[exp(log_weight)] = p(x | cond)."""

    def log_weight(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None
    ) -> Float[Array, ""]: ...


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
    """Knows KL(self(cond) || prior) in closed form, in nats, one entry a dimension.

    Raises a TypeError for priors of which it does not.
    """

    def kl(self, prior: Any, cond: PyTree = None) -> Float[Array, " dim"]: ...


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
    """Check that a part can be a posterior: draws z, and knows the exact density of what it drew.

    Raises:
        TypeError: naming the part, what it lacks and the remedy.
    """
    if isinstance(part, Reparameterized):
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
