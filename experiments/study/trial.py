"""Try a variant's training on shapes alone: what cannot run is refused before anything is written.

The same program, traced, can be lowered for platforms that are not there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from genmix.runs import memory
from genmix.training import Plan, Player, rounds
from genmix.training.feed import Streams


def require_batch(data: PyTree, plan: Plan) -> None:
    """Refuse batches of more than all training examples.

    Raises:
        ValueError: naming the most that there are.
    """
    if isinstance(data, Streams):
        return
    size = min(leaf.shape[0] for leaf in jax.tree.leaves(data))
    if plan.batch_size > size:
        raise ValueError(
            f"batch_size must be at most {size}, the training examples; got {plan.batch_size}."
        )


def traced(
    build: Callable[[], Any], players: Sequence[Player], data: PyTree, plan: Plan
) -> jax.stages.Traced:
    """One round of training, of arrays that are not computed; what the parts refuse they raise."""
    is_streamed = isinstance(data, Streams)
    num_batches = sum(player.steps for player in players)
    examples = next(iter(data.blocks(num_batches))) if isinstance(data, Streams) else data
    keeps_average = plan.average_decay is not None
    start = lambda key: rounds.start(key, build(), players, keep_average=keeps_average)
    program = rounds.compile_rounds(
        players,
        batch_size=plan.batch_size,
        num_rounds=1,
        transform=plan.transform,
        average_decay=plan.average_decay,
        data_are_batches=is_streamed,
    )
    state, shapes = jax.eval_shape(start, jax.random.key(0)), _shapes(examples)
    memory.require(memory.size((state, shapes)), "the parameters, optimizers and data")
    return program.trace(state, shapes)


def _shapes(data: PyTree) -> PyTree:
    """As they are on the device: of 32 bits, unless x64 is on."""
    shape = lambda a: jax.ShapeDtypeStruct(np.shape(a), jax.dtypes.canonicalize_dtype(a.dtype))
    return jax.tree.map(shape, data)
