"""The training game: players move in turn, round after round, many rounds in one jitted call."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int, Key, PyTree

from genmix import examples, sharding
from genmix.nets import state as net_state
from genmix.training import batches
from genmix.training.player import Player

Transform = Callable[[Key[Array, ""], PyTree], PyTree]


class GameState(NamedTuple):
    """All that a game needs to go on, bit for bit: one pytree."""

    model: Any
    optimizers: dict[str, PyTree]  # by player
    carries: dict[str, PyTree]  # by player
    average: dict[str, Array]  # see `averaged_model`; empty if not kept
    round: Int[Array, ""]
    order_key: Key[Array, ""]  # of the permutation of each epoch
    noise_key: Key[Array, ""]  # of everything else that is random


def start(
    key: Key[Array, ""], model: Any, players: Sequence[Player], *, keep_average: bool = False
) -> GameState:
    """State before the first round.

    Raises:
        ValueError: if there is no player, two share a name, or one owns nothing.
        TypeError: if a term cannot be applied to the model, or parameters of it are out of reach.
    """
    for path, part in net_state.out_of_reach(model).items():
        kind = type(part).__name__
        if isinstance(part, (types.FunctionType, types.MethodType, functools.partial)):
            raise TypeError(
                f"{path} is a {kind} around a network whose parameters would stay as they are, "
                "since JAX cannot see into it: write a class(nnx.Module) that keeps the network as "
                "an attribute and calls it in __call__."
            )
        raise TypeError(
            f"{path} is a {kind}, whose parameters would stay as they are, since a plain class is "
            f"no pytree: write class {kind}(nnx.Module), and its networks are trained."
        )
    names = [player.name for player in players]
    if not names:
        raise ValueError("players is empty: a game needs at least one player.")
    if len(set(names)) < len(names):
        raise ValueError(f"players need distinct names, got {names}.")
    order_key, noise_key = jax.random.split(key)
    return GameState(
        model=jax.tree.map(jnp.copy, model),  # rounds donate their state; the caller keeps his
        # Copies, as an optimizer may keep one array at two places, which cannot be donated twice.
        optimizers={
            p.name: jax.tree.map(jnp.copy, p.optimizer.init(p.parameters(model))) for p in players
        },
        carries={p.name: p.initial_carry(model) for p in players},
        average=jax.tree.map(
            jnp.copy, net_state.variables(model, nnx.Param) | net_state.batch_statistics(model)
        )
        if keep_average
        else {},
        round=jnp.zeros((), jnp.int32),
        order_key=order_key,
        noise_key=noise_key,
    )


def averaged_model(state: GameState) -> Any:
    """The model with the moving average of its parameters, and their own batch statistics."""
    return net_state.with_variables(state.model, state.average)


def _move(
    player: Player, state: GameState, key: Key[Array, ""], batch: PyTree
) -> tuple[GameState, dict[str, Array], PyTree]:
    """One step of one player, and what of it is finite; what it does not own stays as it is."""
    parameters, before = player.parameters(state.model), state.carries[player.name]

    def loss(parameters, key, batch):
        model = net_state.with_variables(state.model, parameters)
        value, (metrics, carry) = player.loss(model, key, batch, before)
        kept = {
            path: value
            for path, value in net_state.batch_statistics(model).items()
            if player.owns_path(path, model)
        }
        return value, (metrics, carry, kept)

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    if player.examples_at_once is not None:
        value_and_grad = _in_parts(value_and_grad, player.examples_at_once)
    (value, (metrics, carry, kept)), gradient = value_and_grad(parameters, key, batch)
    updates, optimizer = optax.with_extra_args_support(player.optimizer).update(
        gradient,
        state.optimizers[player.name],
        parameters,
        value=value,
        grad=gradient,
        value_fn=lambda parameters: loss(parameters, key, batch)[0],
    )
    moved: Any = optax.apply_updates(parameters, updates)
    state = state._replace(
        model=net_state.with_variables(state.model, {**moved, **kept}),
        optimizers={**state.optimizers, player.name: optimizer},
        carries={**state.carries, player.name: carry},
    )
    step = {"loss": value, "metrics": metrics, "gradient": gradient, "parameters": moved}
    finite = jax.tree.map(lambda a: jnp.all(jnp.isfinite(a)), step)
    return state, {"loss": value, **metrics}, finite


def _in_parts(value_and_grad: Callable[..., Any], size: int) -> Callable[..., Any]:
    """Averages over parts of the batch, which are evaluated one after the other."""

    def parts(parameters, key, batch):
        length = examples.count(batch, "batch")
        if length % size:
            raise ValueError(
                f"batch_size must be a multiple of examples_at_once, {size}; got {length}."
            )

        num_parts = length // size
        divided = jax.tree.map(lambda a: a.reshape(num_parts, size, *a.shape[1:]), batch)
        keys = jax.random.split(key, num_parts)
        part = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), divided)
        shapes = jax.eval_shape(value_and_grad, parameters, key, part)
        (_, (_, _, kept)), _ = shapes
        if kept:
            raise ValueError(
                f"batch statistics ({', '.join(kept)}) need whole batches: leave examples_at_once "
                "out."
            )
        leaves, structure = jax.tree.flatten(shapes)
        is_averaged = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

        def add(sums, inputs):
            key, part = inputs
            part = sharding.along(part, "data", "examples_at_once")
            new = jax.tree.leaves(value_and_grad(parameters, key, part))
            sums = [
                s + n if average else s
                for s, n, average in zip(sums, new, is_averaged, strict=True)
            ]
            return sums, [
                None if average else n for n, average in zip(new, is_averaged, strict=True)
            ]

        zeros: list[Any] = [
            jnp.zeros(a.shape, a.dtype) if m else ()
            for a, m in zip(leaves, is_averaged, strict=True)
        ]
        sums, others = jax.lax.scan(add, zeros, (keys, divided))
        # Steps counted so far and the like are the same in all parts.
        means = [
            s / num_parts if average else jax.tree.map(lambda a: a[-1], other)
            for s, other, average in zip(sums, others, is_averaged, strict=True)
        ]
        return jax.tree.unflatten(structure, means)

    return parts


def compile_rounds(
    players: Sequence[Player],
    *,
    batch_size: int,
    num_rounds: int,
    transform: Transform | None = None,
    average_decay: float | None = None,
    scatter_from: int | None = None,
    data_are_batches: bool = False,
    donate: bool = True,
    report_finite: bool = False,
) -> jax.stages.Wrapped:
    """Compiled function that plays `num_rounds` rounds: (state, data) -> (state, metrics).

    Data is a pytree of arrays with the examples along the first axis; batches are gathered inside
    the loop. Metrics are stacked, one entry a round (the last step's of each player).

    Args:
        transform: (key, batch) -> batch, applied to each batch, such as a new binarization.
        average_decay: decay of the moving average of the parameters, for a state that keeps one.
        scatter_from: split parameters and optimizer states of at least so many elements over the
            "data" axis of the mesh in use, instead of repeating them on every device.
        data_are_batches: data have batches along the first axis, those of these rounds first, and
            examples along the second, as a stream gives them.
        donate: whether the memory of the state passed in is used for the one that comes out.
        report_finite: return (state, metrics, finite): for each player whether the loss, each
            metric, gradient and moved parameter was finite, [rounds, steps]. It slows small models.
    """
    moves_per_round = sum(player.steps for player in players)
    prefix = (lambda player, m: f"{player.name}/{m}") if len(players) > 1 else (lambda _, m: m)

    def laid_out(state):
        """As it came in, so that the next call takes what this one gives."""
        if scatter_from is None:
            return sharding.whole(state)
        return sharding.scattered(state, min_size=scatter_from)

    def batch_at(batch_of, key, place):
        batch = batch_of(sharding.along(place, "data", "batch_size"))
        return batch if transform is None else transform(key, batch)

    def one_round(state, batch_of, places):
        keys = jax.random.split(jax.random.fold_in(state.noise_key, state.round), moves_per_round)
        places_of = lambda moves: jax.tree.map(lambda a: a[moves], places)
        metrics, finite, move = {}, {}, 0
        for player in players:

            def step(state, inputs, player=player):
                key, place = inputs
                batch_key, loss_key = jax.random.split(key)
                batch = batch_at(batch_of, batch_key, place)
                state, metrics, finite = _move(player, state, loss_key, batch)
                return state, (metrics, finite if report_finite else {})

            turn = slice(move, move + player.steps)
            if player.steps == 1:
                state, (last, flags) = step(state, (keys[move], places_of(move)))
                flags = jax.tree.map(lambda flag: flag[None], flags)
            else:
                state, (several, flags) = jax.lax.scan(step, state, (keys[turn], places_of(turn)))
                last = jax.tree.map(lambda m: m[-1], several)
            finite[player.name] = flags
            metrics |= {prefix(player, name): value for name, value in last.items()}
            move += player.steps
        if average_decay is not None:
            state = state._replace(average=_blend(state, average_decay))
            batch_of_move = lambda key, i: batch_at(
                batch_of, key, jax.tree.map(lambda a: a[i], places)
            )
            statistics = _averages_statistics(players, state, jax.random.clone(keys), batch_of_move)
            state = state._replace(average=state.average | statistics)
        return laid_out(state._replace(round=state.round + 1)), (metrics, finite)

    def rounds(state, data):
        num_batches = num_rounds * moves_per_round
        by_round = lambda a: a[:num_batches].reshape(num_rounds, moves_per_round, *a.shape[1:])
        if data_are_batches:
            batch_of, places = (lambda batch: batch), jax.tree.map(by_round, data)
        else:
            batch_of = lambda index: jax.tree.map(lambda a: a[index], data)
            num_examples = examples.count(data, "data")
            first = state.round * moves_per_round
            places = by_round(
                batches.indices(state.order_key, first, num_batches, batch_size, num_examples)
            )
        state, (metrics, finite) = jax.lax.scan(
            lambda state, places: one_round(state, batch_of, places), state, places
        )
        state, (metrics, finite) = laid_out(state), sharding.whole((metrics, finite))
        return (state, metrics, finite) if report_finite else (state, metrics)

    return jax.jit(rounds, donate_argnums=0 if donate else ())


def _blend(state: GameState, decay: float) -> dict[str, Array]:
    """Moving average one round on; it starts as a plain mean, so early values count no more."""
    t = state.round.astype(jnp.float32)
    weight = jnp.minimum(decay, t / (t + 1))
    now = net_state.variables(state.model, nnx.Param)
    blended = {path: weight * state.average[path] + (1 - weight) * now[path] for path in now}
    return state.average | blended


def _averages_statistics(
    players: Sequence[Player],
    state: GameState,
    keys: Key[Array, " moves"],
    batch_of_move: Callable[[Key[Array, ""], int], PyTree],
) -> dict[str, Array]:
    """Batch statistics of the averaged parameters, one batch on: that of their owner's last move.

    Averaged weights make smaller activations than those they are averages of, so that neither the
    last statistics nor an average of all would normalize them. Only what statistics depend on is
    computed: the compiler drops the rest of the loss.
    """
    statistics, last = {}, -1
    for player in players:
        last += player.steps
        model = averaged_model(state)
        if not any(player.owns_path(path, model) for path in net_state.batch_statistics(model)):
            continue
        batch_key, loss_key = jax.random.split(keys[last])
        player.loss(model, loss_key, batch_of_move(batch_key, last), state.carries[player.name])
        new = net_state.batch_statistics(model)
        statistics |= {path: value for path, value in new.items() if player.owns_path(path, model)}
    return statistics
