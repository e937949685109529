"""The particle filter: paths drawn step by step, of which those of low weight are given up."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from genmix.bounds.log_weight import Draw, with_gradient_of
from genmix.families.sequence.criteria import Criterion
from genmix.mcmc import importance
from genmix.mcmc.resampling import Resample

Twist = Callable[[PyTree, PyTree], Float[Array, ""]]
"""(z, inputs of its step) -> log r(z): how well z goes with the observations still to come."""


class Scheme(NamedTuple):
    """How particles are resampled."""

    resample: Resample
    criterion: Criterion
    twist: Twist | None = None


Keys = Callable[[Int[Array, ""]], tuple[Key[Array, " n"], Key[Array, ""]]]
"""Number of a step -> the keys of its particles, and that of resampling after it."""


class Paths(NamedTuple):
    """What a filter leaves behind; particle i of step t came from ancestors[t - 1, i] of t - 1."""

    log_evidence: Float[Array, ""]  # log Z, in nats; exp of it is an unbiased estimate of p(x)
    log_weight: Float[Array, " n"]  # of the last particles, relative to each other
    log_joint: Float[Array, " n"]  # log p(x, z) along the whole path of each
    z: PyTree  # [steps, n, ...]
    ancestors: Int[Array, "steps n"]
    ess: Float[Array, " steps"]  # before resampling
    resampled: Bool[Array, " steps"]


class _State(NamedTuple):
    carry: PyTree
    log_weight: Float[Array, " n"]
    log_joint: Float[Array, " n"]
    log_twist: Float[Array, " n"]
    log_evidence: Float[Array, ""]


class _Record(NamedTuple):
    z: PyTree
    ancestors: Int[Array, " n"]
    ess: Float[Array, ""]
    resampled: Bool[Array, ""]
    score: Float[Array, ""]  # log-probability of the ancestors
    log_evidence: Float[Array, ""]  # so far


def keys(particle_keys: Key[Array, " n"]) -> Keys:
    """Keys of particles as `Unrolled` would use each of them, and those of resampling."""
    # The steps of the first particle use numbers 0 .. steps - 1 of its key.
    first = jax.random.fold_in(jax.random.clone(particle_keys)[0], jnp.iinfo(jnp.int32).max)

    def at(t: Int[Array, ""]) -> tuple[Key[Array, " n"], Key[Array, ""]]:
        step = jax.vmap(lambda key: jax.random.fold_in(key, t))(particle_keys)
        return step, jax.random.fold_in(first, t)

    return at


def run(
    model: Any,
    start: PyTree,
    inputs: PyTree,
    mask: Bool[Array, " steps"],
    keys: Keys,
    draw: Draw,
    scheme: Scheme,
    *,
    num_particles: int,
    ancestor_scores: bool = False,
) -> Paths:
    """Run n particles along a sequence.

    The mean weight is multiplied into the evidence where particles are resampled, and at the end;
    weights begin anew after it. Nothing is resampled behind the last step of the data, and nothing
    changes there. Ancestors carry no gradient but the one below.

    Args:
        model: Sequential; `start` and `inputs` are what its `start` gave.
        ancestor_scores: add the score-function gradient of the choice of ancestors, which makes the
            gradient of log Z unbiased, and noisy. For independent ancestors only.

    Source: Maddison et al. (2017), arXiv:1705.09279, algorithm 1; Naesseth et al. (2018),
    arXiv:1705.11140; Le et al. (2018), arXiv:1705.10306. Twists: Lawson et al. (2022),
    arXiv:2206.05952, section 3.
    """
    zero = jnp.zeros(num_particles)
    broadcast = lambda a: jnp.broadcast_to(a, (num_particles, *jnp.shape(a)))
    state = _State(jax.tree.map(broadcast, start), zero, zero, zero, jnp.zeros(()))
    is_last = mask & ~jnp.append(mask[1:], False)

    def visit(state: _State, step: tuple) -> tuple[_State, _Record]:
        t, inputs, is_data, is_last = step
        step_keys, resample_key = keys(t)
        moved, z = _move(model, state, step_keys, inputs, is_last, draw, scheme.twist)
        moved = jax.tree.map(lambda new, old: jnp.where(is_data, new, old), moved, state)
        return _select(moved, z, resample_key, is_data & ~is_last, scheme)

    steps = (jnp.arange(mask.size), inputs, mask, is_last)
    state, record = jax.lax.scan(visit, state, steps)
    value = state.log_evidence + _log_mean(state.log_weight)
    if ancestor_scores:
        ahead = jax.lax.stop_gradient(value - record.log_evidence)
        scores = jnp.where(record.resampled, record.score * ahead, 0.0)
        value = with_gradient_of(value, jnp.sum(scores))
    return Paths(
        value, state.log_weight, state.log_joint, record.z, record.ancestors, record.ess,
        record.resampled,
    )  # fmt: skip


def _move(
    model: Any,
    state: _State,
    keys: Key[Array, " n"],
    inputs: PyTree,
    is_last: Bool[Array, ""],
    draw: Draw,
    twist: Twist | None,
) -> tuple[_State, PyTree]:
    """All particles one step further, and weighed."""
    one = lambda key, carry: model.step(key, carry, inputs, draw)
    carry, z, terms = jax.vmap(one)(keys, state.carry)
    log_weight = state.log_weight + terms.log_weight
    log_joint = state.log_joint + terms.log_likelihood + jnp.sum(terms.log_prior, axis=-1)
    log_twist = state.log_twist
    if twist is not None:
        # What is still to come is nothing at the last step: with any other twist it is no bound.
        log_twist = jnp.where(is_last, 0.0, jax.vmap(lambda z: twist(z, inputs))(z))
        log_weight = log_weight + log_twist - state.log_twist
    return state._replace(
        carry=carry, log_weight=log_weight, log_joint=log_joint, log_twist=log_twist
    ), z


def _select(
    state: _State, z: PyTree, key: Key[Array, ""], may_resample: Bool[Array, ""], scheme: Scheme
) -> tuple[_State, _Record]:
    """The particles that go on."""
    log_weight = state.log_weight
    fixed = jax.lax.stop_gradient(log_weight)
    resampled = may_resample & scheme.criterion(fixed)
    # A condition would become a choice between both branches under vmap in any case.
    ancestors = jnp.where(resampled, scheme.resample(key, fixed), jnp.arange(log_weight.shape[0]))
    score = jnp.sum(jax.nn.log_softmax(_possible(log_weight)[1])[ancestors])
    evidence = state.log_evidence + jnp.where(resampled, _log_mean(log_weight), 0.0)
    chosen = jax.tree.map(lambda a: a[ancestors], (state.carry, state.log_joint, state.log_twist))
    carry, log_joint, log_twist = chosen
    new = _State(carry, jnp.where(resampled, 0.0, log_weight), log_joint, log_twist, evidence)
    ess = importance.effective_sample_size(fixed)
    return new, _Record(z, ancestors, ess, resampled, score, evidence)


def _log_mean(log_weights: Float[Array, " n"]) -> Float[Array, ""]:
    """Log of the mean weight; -inf with zero gradient if all are zero."""
    possible, safe = _possible(log_weights)
    value = jax.nn.logsumexp(safe) - jnp.log(log_weights.shape[0])
    return jnp.where(possible, value, -jnp.inf)


def _possible(log_weights: Float[Array, " n"]) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Whether any weight is not zero, and weights whose normalization has a finite gradient."""
    possible = ~jnp.all(log_weights == -jnp.inf)
    return possible, jnp.where(possible, log_weights, 0.0)


def traced(paths: Paths, index: Int[Array, ""]) -> PyTree:
    """The path [steps, ...] that ends in a particle of the last step."""

    def visit(i: Array, step: tuple) -> tuple[Array, PyTree]:
        z, before = step
        return before[i], jax.tree.map(lambda a: a[i], z)

    # The ancestors chosen after step t - 1 are those of the particles at step t.
    num = paths.ancestors.shape[1]
    before = jnp.concatenate([jnp.arange(num)[None], paths.ancestors[:-1]])
    return jax.lax.scan(visit, index, (paths.z, before), reverse=True)[1]
