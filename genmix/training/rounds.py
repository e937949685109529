"""The training game: players move in turn, round after round, many rounds in one jitted call."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int, Key, PyTree

from genmix import sharding
from genmix.nets import state as net_state
from genmix.training import batches
from genmix.training.player import Player

Transform = Callable[[Key[Array, ""], PyTree], PyTree]


class GameState(NamedTuple):
    """All that a game needs to go on, bit for bit: one pytree."""

    model: Any
    optimizers: dict[str, PyTree]  # by player
    carries: dict[str, PyTree]  # by player
    average: dict[str, Array]  # exponential moving average of the parameters; empty if not kept
    round: Int[Array, ""]
    order_key: Key[Array, ""]  # of the permutation of each epoch
    noise_key: Key[Array, ""]  # of everything else that is random


def start(
    key: Key[Array, ""], model: Any, players: Sequence[Player], *, keep_average: bool = False
) -> GameState:
    """State before the first round.

    Raises:
        ValueError: if there is no player, two share a name, or one owns nothing.
        TypeError: if a term cannot be applied to the model.
    """
    names = [player.name for player in players]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"players need distinct names, got {names}.")
    order_key, noise_key = jax.random.split(key)
    return GameState(
        model=jax.tree.map(jnp.copy, model),  # rounds donate their state; the caller keeps his
        optimizers={p.name: p.optimizer.init(p.parameters(model)) for p in players},
        carries={p.name: p.initial_carry(model) for p in players},
        average=jax.tree.map(jnp.copy, net_state.variables(model, nnx.Param))
        if keep_average
        else {},
        round=jnp.zeros((), jnp.int32),
        order_key=order_key,
        noise_key=noise_key,
    )


def averaged_model(state: GameState) -> Any:
    """The model with the moving average of its parameters in place of the last ones."""
    return net_state.with_variables(state.model, state.average)


def _move(
    player: Player, state: GameState, key: Key[Array, ""], batch: PyTree
) -> tuple[GameState, dict[str, Array], PyTree]:
    """One step of one player, and what of it is finite; what it does not own stays as it is."""
    parameters = player.parameters(state.model)

    def loss(parameters):
        model = net_state.with_variables(state.model, parameters)
        value, (metrics, carry) = player.loss(model, key, batch, state.carries[player.name])
        kept = {
            path: value
            for path, value in net_state.batch_statistics(model).items()
            if player.owns_path(path)
        }
        return value, (metrics, carry, kept)

    (value, (metrics, carry, kept)), gradient = jax.value_and_grad(loss, has_aux=True)(parameters)
    updates, optimizer = player.optimizer.update(
        gradient, state.optimizers[player.name], parameters
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


def compile_rounds(
    players: Sequence[Player],
    *,
    batch_size: int,
    num_rounds: int,
    transform: Transform | None = None,
    average_decay: float | None = None,
    scatter_from: int | None = None,
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
        donate: whether the memory of the state passed in is used for the one that comes out.
        report_finite: return (state, metrics, finite): for each player whether the loss, each
            metric, gradient and moved parameter was finite, [rounds, steps]. It slows small models.
    """
    moves_per_round = sum(player.steps for player in players)
    prefix = (lambda player, m: f"{player.name}/{m}") if len(players) > 1 else (lambda _, m: m)

    def one_round(state, data, index):
        keys = jax.random.split(jax.random.fold_in(state.noise_key, state.round), moves_per_round)
        metrics, finite, move = {}, {}, 0
        for player in players:

            def step(state, inputs, player=player):
                key, index = inputs
                batch_key, loss_key = jax.random.split(key)
                index = sharding.along(index, "data", "batch_size")
                batch = jax.tree.map(lambda a: a[index], data)
                if transform is not None:
                    batch = transform(batch_key, batch)
                state, metrics, finite = _move(player, state, loss_key, batch)
                return state, (metrics, finite if report_finite else {})

            turn = slice(move, move + player.steps)
            if player.steps == 1:
                state, (last, flags) = step(state, (keys[move], index[move]))
                flags = jax.tree.map(lambda flag: flag[None], flags)
            else:
                state, (several, flags) = jax.lax.scan(step, state, (keys[turn], index[turn]))
                last = jax.tree.map(lambda m: m[-1], several)
            finite[player.name] = flags
            metrics |= {prefix(player, name): value for name, value in last.items()}
            move += player.steps
        if average_decay is not None:
            state = state._replace(average=_blend(state, average_decay))
        if scatter_from is not None:
            state = sharding.scattered(state, min_size=scatter_from)
        return state._replace(round=state.round + 1), (metrics, finite)

    def rounds(state, data):
        num_examples = jax.tree.leaves(data)[0].shape[0]
        index = batches.indices(
            state.order_key,
            state.round * moves_per_round,
            num_rounds * moves_per_round,
            batch_size,
            num_examples,
        ).reshape(num_rounds, moves_per_round, batch_size)
        state, (metrics, finite) = jax.lax.scan(lambda s, i: one_round(s, data, i), state, index)
        return (state, metrics, finite) if report_finite else (state, metrics)

    return jax.jit(rounds, donate_argnums=0 if donate else ())


def _blend(state: GameState, decay: float) -> dict[str, Array]:
    """Moving average one round on; it starts as a plain mean, so early values count no more."""
    t = state.round.astype(jnp.float32)
    weight = jnp.minimum(decay, t / (t + 1))
    now = net_state.variables(state.model, nnx.Param)
    return {path: weight * state.average[path] + (1 - weight) * now[path] for path in now}
