"""Two distributions that a term compares by their samples: which ones, and how they are drawn."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix import sharding
from genmix.capabilities import (
    Gradient,
    Proposes,
    Reparameterized,
    Samples,
    require_reparameterized,
    sample,
)
from genmix.nets import state


class Comparison(NamedTuple):
    """Two distributions over the same kind of event.

    Attributes:
        name: what its metrics are prefixed with.
        draw: (part, key, x) -> (real event, fake event), given one x of the batch.
        roles: attributes of the part that are drawn from; none if it is the part itself.
        moves_real: whether real events, too, have gradients for the part's parameters.
        given: whether events are pairs of what is compared and a condition that both kinds share.
    """

    name: str
    draw: Callable[[Any, Key[Array, ""], PyTree], tuple[PyTree, PyTree]]
    roles: tuple[str, ...] = ()
    moves_real: bool = False
    given: bool = False


def encode(model: Any, key: Key[Array, ""], x: PyTree) -> PyTree:
    """z ~ q(z | x) of a model, with its gradient.

    Raises:
        TypeError: if the posterior is a proposal whose draws have none.
    """
    if isinstance(model.posterior, Proposes):
        require_reparameterized(model.posterior, Gradient.DRAWS)
        return model.encode(key, x)  # the model knows the joint density that it is aimed at
    return sample(model.posterior, key, x)


def _draw_latent(model: Any, key: Key[Array, ""], x: PyTree) -> tuple[PyTree, PyTree]:
    prior_key, posterior_key = jax.random.split(key)
    return model.prior.sample(prior_key), encode(model, posterior_key, x)


def _draw_joint(model: Any, key: Key[Array, ""], x: PyTree) -> tuple[PyTree, PyTree]:
    prior_key, posterior_key, likelihood_key = jax.random.split(key, 3)
    z = model.prior.sample(prior_key)
    return (x, encode(model, posterior_key, x)), (model.likelihood.sample(likelihood_key, z), z)


data = Comparison("data", lambda part, key, x: (x, part.sample(key)))
"""Data x with samples of the part.

What makes samples more like data needs a gradient through them: of bits or levels there is one
through `StraightThrough`, and through the means that `decoded` compares.
"""

conditional = Comparison(
    "conditional", lambda part, key, xc: (xc, (part.sample(key, xc[1]), xc[1])), given=True
)
"""Pairs (x, c) with (sample given c, c). Classes are one-hot vectors."""

latent = Comparison("latent", _draw_latent, ("prior", "posterior"))
"""Samples of the prior with the aggregated posterior: z ~ q(z | x) for data x."""

joint = Comparison("joint", _draw_joint, ("prior", "posterior", "likelihood"), moves_real=True)
"""(x, z) of data and posterior with (x, z) of the model; gradients need differentiable samples.

Source: Dumoulin et al. (2017), arXiv:1606.00704; Donahue et al. (2017), arXiv:1605.09782.
"""

decoded = Comparison(
    "decoded",
    lambda model, key, x: (x, model.decode(model.prior.sample(key))),
    ("prior", "likelihood"),
)
"""Data x with the means of x given z of the prior: samples without the likelihood's noise."""


def part_of(comparison: Comparison, name: str, select: Callable[[PyTree], PyTree]) -> Comparison:
    """The same comparison of a part of each event, such as one of several latents."""

    def draw(part: Any, key: Key[Array, ""], x: PyTree) -> tuple[PyTree, PyTree]:
        real, fake = comparison.draw(part, key, x)
        return select(real), select(fake)

    return comparison._replace(name=name, draw=draw)


def require(comparison: Comparison, part: Any) -> None:
    """Check that a part can be drawn from.

    Raises:
        TypeError: naming what cannot, and the remedy.
    """
    remedy = 'If a part of it can, say which: term.of("NAME").'
    owner = type(part).__name__
    if not comparison.roles and not isinstance(part, Samples):
        raise TypeError(
            f"{owner} has no sample, which the comparison {comparison.name!r} draws from. {remedy}"
        )
    for role in comparison.roles:
        inner = getattr(part, role, None)
        kinds = (Samples, Reparameterized, Proposes) if role == "posterior" else (Samples,)
        if not isinstance(inner, kinds):
            what = f"no {role}" if inner is None else f"a {role} without sample"
            raise TypeError(
                f"{owner} has {what}, which the comparison {comparison.name!r} draws from. {remedy}"
            )


def checked(comparison: Comparison) -> Callable[..., PyTree]:
    """The `init` of a term without a carry that compares a part of the model."""

    def init(part: Any, *judge: Any) -> PyTree:
        del judge
        require(comparison, part)
        return ()

    return init


def checked_to_move(comparison: Comparison) -> Callable[..., PyTree]:
    """The `init` of a term that moves a part by what it draws."""

    def init(part: Any, *judge: Any) -> PyTree:
        del judge
        require(comparison, part)
        if comparison.draw is data.draw and not _samples_move(part):
            raise TypeError(
                f"samples of {type(part).__name__} have no gradient for its parameters, so the "
                f"comparison {comparison.name!r} cannot train it: wrap a discrete likelihood in "
                "StraightThrough, or compare the means, objectives.decoded."
            )
        return ()

    return init


def _samples_move(part: Any) -> bool:
    """Whether samples have any derivative for the parameters; nothing is computed."""
    parameters = state.variables(part, nnx.Param)

    def draw(parameters: dict[str, Array]) -> list[Array]:
        moved = state.with_variables(part, parameters)
        events, _ = per_event(data.draw, moved, jax.random.key(0), jnp.zeros(2))
        return [a for a in jax.tree.leaves(events[1]) if jnp.issubdtype(a.dtype, jnp.floating)]

    slope = lambda at, direction: jax.jvp(draw, (at,), (direction,))[1]
    traced = jax.make_jaxpr(slope)(parameters, parameters).jaxpr
    moved = set(map(id, traced.invars[len(parameters) :]))
    for equation in traced.eqns:
        if any(id(variable) in moved for variable in equation.invars):
            moved |= set(map(id, equation.outvars))
    return not parameters or any(id(variable) in moved for variable in traced.outvars)


def pairs(
    comparison: Comparison, part: Any, key: Key[Array, ""], batch: PyTree
) -> tuple[PyTree, PyTree]:
    """As many real and fake events as the batch has; batch statistics are stored in the part.

    Raises:
        TypeError: if the events are not real numbers.
    """
    events, statistics = per_event(comparison.draw, part, key, batch)
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(events)}
    if not all(jnp.issubdtype(kind, jnp.floating) for kind in kinds):
        raise TypeError(
            f"compared events must be real numbers, got {', '.join(sorted(kinds))}: give classes "
            "as one-hot vectors, and levels as floats."
        )
    state.store(part, statistics)
    return events


def per_event(
    f: Callable[[Any, Key[Array, ""], Any], Any], module: Any, key: Key[Array, ""], events: PyTree
) -> tuple[Any, dict[str, Array]]:
    """f(module, key, event) for each event, and the module's new batch statistics.

    The batch is the axis named "batch", for normalization layers that ask for it.
    """

    def one(key, event):
        network_key, key = jax.random.split(key)
        copy = state.reseeded(module, network_key)
        return f(copy, key, event), state.batch_statistics(copy)

    size = jax.tree.leaves(events)[0].shape[0]
    over_batch = jax.vmap(one, axis_name="batch", spmd_axis_name=sharding.spmd_axis("data"))
    values, statistics = over_batch(jax.random.split(key, size), events)
    return values, {path: jnp.mean(value, axis=0) for path, value in statistics.items()}


def flat(events: PyTree) -> Float[Array, "n entries"]:
    """Each event as one row."""
    return jnp.concatenate([a.reshape(len(a), -1) for a in jax.tree.leaves(events)], axis=1)
