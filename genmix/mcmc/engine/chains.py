"""Many chains of one kernel, mapped and fused into one scan, laid out over the mesh axis "chain".

A kernel is anything with `init(position) -> state` and `step(key, state) -> (state, info)`, such as
BlackJAX's. One that declares its noise (see `engine.noise`) has it drawn for blocks of steps; for
others each step and chain gets a key. One with a loop of its own may say by `move_all(noise,
states, axis)` how many chains move. Chain i's numbers depend on the key of `start`, i and the
step alone: not on how many chains there are, where they run, or how a run is cut into calls, so a
resumed run goes on bit for bit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Key, PyTree, UInt32

from genmix.mcmc import record
from genmix.mcmc.engine import noise, threefry
from genmix.mcmc.engine.noise import Noise

_BLOCK_BYTES = 2**20  # noise that is drawn at once stays in a core's cache
_MOST_BYTES = 2**28  # and beyond this is drawn for two steps


class Chains(NamedTuple):
    """All that chains need to go on, bit for bit: one pytree."""

    state: Any  # the kernel's, [chains, ...]
    ids: UInt32[Array, " chains"]
    stream: UInt32[Array, "2"]
    step: UInt32[Array, ""]


SPECS: Any = (P("chain"), P("chain"), P(), P())  # of the fields of Chains


class Compiled(NamedTuple):
    """A kernel apart: its arrays are arguments of `jit`, the rest (functions) a constant."""

    arrays: tuple[Any, ...]
    constants: tuple[Any, ...]  # hashable: (structure, its classes, leaves that are no arrays)


def apart(kernel: Any) -> Compiled:
    """Take a kernel apart; one made of functions alone, as BlackJAX's are, has no arrays."""
    leaves, structure = jax.tree.flatten(kernel)
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    arrays = tuple(leaf for leaf, yes in zip(leaves, is_array, strict=True) if yes)
    others = tuple(None if yes else leaf for leaf, yes in zip(leaves, is_array, strict=True))
    return Compiled(arrays, (structure, record.classes(structure), others))


def together(arrays: tuple[Any, ...], constants: tuple[Any, ...]) -> Any:
    """The kernel again."""
    structure, _, others = constants
    rest = iter(arrays)
    return jax.tree.unflatten(structure, [next(rest) if x is None else x for x in others])


def start(key: Key[Array, ""], kernel: Any, positions: PyTree) -> Chains:
    """Chains at their first positions [chains, ...].

    Raises:
        ValueError: if the positions are not stacked alike; if some have a log-density that is not
            finite (under `jit`, where that is not known, `info` will tell); or if the number of
            chains does not divide among the devices.
    """
    positions = jax.tree.map(jnp.asarray, positions)
    shapes = [leaf.shape for leaf in jax.tree.leaves(positions)]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "positions must hold one position for each chain, stacked along the first axis of "
            f"every array; got shapes {shapes}."
        )
    (num_chains,) = lengths
    arrays, constants = apart(kernel)
    state = _init(arrays, constants, positions)
    _require_finite(state, num_chains)
    chains = Chains(
        state,
        jnp.arange(num_chains, dtype=jnp.uint32),
        threefry.stream(key),
        jnp.zeros((), jnp.uint32),
    )
    return _lay_out(chains, num_chains)


@partial(jax.jit, static_argnames="constants")
def _init(arrays, constants, positions):
    return jax.vmap(together(arrays, constants).init)(positions)


def _require_finite(state: Any, num_chains: int) -> None:
    logdensity = getattr(state, "logdensity", None)
    if logdensity is None or isinstance(logdensity, Tracer):
        return
    bad = np.flatnonzero(~np.isfinite(np.asarray(logdensity)))
    if bad.size:
        raise ValueError(
            f"{bad.size} of {num_chains} chains start where the log-density is not finite, first "
            f"chain {bad[0]} ({logdensity[bad[0]]}): choose positions on the support."
        )


def _lay_out(chains: Chains, num_chains: int) -> Chains:
    if isinstance(chains.step, Tracer):
        return chains
    mesh = jax.sharding.get_mesh()
    if "chain" not in mesh.axis_names:
        return chains
    size = mesh.shape["chain"]
    if num_chains % size:
        raise ValueError(
            f"the number of chains must be a multiple of {size}, the devices along 'chain'; "
            f"got {num_chains}."
        )
    shardings = [NamedSharding(mesh, spec) for spec in SPECS]
    return Chains(*(jax.device_put(x, s) for x, s in zip(chains, shardings, strict=True)))


def to_layout(tree: PyTree, chains_last: bool) -> PyTree:
    """Chains as the axis that they have inside: the first, or the last."""
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, -1), tree) if chains_last else tree


def from_layout(tree: PyTree, chains_last: bool, axis: int = 0) -> PyTree:
    """Chains, which inside are the last axis or `axis`, as the first again."""
    return jax.tree.map(lambda a: jnp.moveaxis(a, -1 if chains_last else axis, 0), tree)


def fold(
    chains: Chains,
    kernel: Any,
    num_steps: int,
    carried: Any = None,
    update: Callable[[Any, Array, Any], Any] = lambda carried, step, state: carried,
    *,
    chains_last: bool = False,
) -> tuple[Chains, Any, dict[str, Array]]:
    """Chains num_steps further; what `update(carried, step, state)` has gathered; the mean info.

    The state that `update` sees holds all chains, first or last. Of the kernel's info every field
    that is one number is averaged over the steps, [chains] each.
    """
    num_chains = chains.ids.shape[0]
    draw, at, move, bytes_per_step = _randomness(chains, kernel, chains_last)
    length = _block_length(num_steps, bytes_per_step)
    offset = (chains.step % np.uint32(length)).astype(jnp.int32)
    state = to_layout(chains.state, chains_last)
    like = jax.eval_shape(lambda s: move(at(draw(chains.step, length), offset), s)[1], state)
    sums = {name: jnp.zeros(num_chains) for name in _numbers(like)}

    def block(i, carry):
        """The steps of this run in the i-th block of `length` steps, counted from its first."""
        first = i * length - offset
        random = draw(chains.step + first.astype(jnp.uint32), length)
        begin, end = jnp.maximum(0, -first), jnp.minimum(length, num_steps - first)

        def one(j, carry):
            # A step's randomness is carried to it, so that XLA computes it once and not again in
            # each of the loops that it makes of a transition.
            state, carried, sums, now = carry
            state, info = move(now, state)
            sums = {name: sums[name] + x for name, x in _numbers(info).items()}
            return state, update(carried, first + j, state), sums, at(random, j + 1)

        return jax.lax.fori_loop(begin, end, one, (*carry, at(random, begin)))[:3]

    num_blocks = (offset + num_steps + length - 1) // length
    carry = jax.lax.fori_loop(0, num_blocks, block, (state, carried, sums))
    state, carried, sums = carry
    state = from_layout(state, chains_last)
    means = {name: x / num_steps for name, x in sums.items()}
    return chains._replace(state=state, step=chains.step + num_steps), carried, means


def _randomness(
    chains: Chains, kernel: Any, chains_last: bool
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any], int]:
    """How chains get their randomness.

    Returns:
        (first, length) -> the randomness of a block of steps, `first` and `length` being even;
        (block, j) -> that of its j-th step; (randomness, state) -> (state, info) for all chains;
        bytes of randomness for each step.
    """
    axis = -1 if chains_last else 0
    num_chains = chains.ids.shape[0]
    if hasattr(kernel, "noise") and hasattr(kernel, "move"):
        one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), chains.state)
        spec = kernel.noise(one)
        total = noise.size((spec.normal, spec.uniform))
        if total * num_chains + noise.size(spec.shared) > 2**32:
            raise ValueError(
                f"{num_chains} chains of {total} random numbers a step are more than the counter "
                "can number (2**32): run fewer chains at once."
            )

        def draw(first, length):
            pairs = first // np.uint32(2) + jnp.arange(length // 2, dtype=jnp.uint32)
            return noise.block(chains.stream, pairs, chains.ids, spec, chains_last=chains_last)

        at = lambda block, j: noise.at(block, spec, j)
        if hasattr(kernel, "move_all"):
            move = partial(kernel.move_all, axis=axis)
        else:
            each = Noise(axis, axis, None)
            move = jax.vmap(kernel.move, in_axes=(each, axis), out_axes=axis)
        return draw, at, move, 4 * total * num_chains

    key = jax.random.wrap_key_data(chains.stream, impl="threefry2x32")

    def keys(first, length):
        steps = first + jnp.arange(length, dtype=jnp.uint32)
        at_step = lambda step: jax.random.fold_in(key, step)
        of_chain = lambda step: jax.vmap(partial(jax.random.fold_in, at_step(step)))(chains.ids)
        return jax.random.key_data(jax.vmap(of_chain)(steps))

    def step(data, state):
        return kernel.step(jax.random.wrap_key_data(data, impl="threefry2x32"), state)

    at = lambda block, j: jax.lax.dynamic_index_in_dim(block, j, keepdims=False)
    return keys, at, jax.vmap(step, in_axes=(0, axis), out_axes=axis), 8 * num_chains


def _numbers(info: Any) -> dict[str, Any]:
    """The fields of the kernel's info that are one number for each chain."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(info)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
        if leaf.ndim == 1 and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    }


def _block_length(num_steps: int, bytes_per_step: int) -> int:
    """Steps to draw at once, an even number: as many as fit, at best a divisor of num_steps.

    Four at least, unless they take much memory: of one pair alone XLA computes the parts apart.
    """
    least = 4 if bytes_per_step <= _MOST_BYTES // 4 else 2
    fitting = min(num_steps, _BLOCK_BYTES // max(bytes_per_step, 1))
    most = max(least, (fitting + 1) // 2 * 2)
    divisor = max((n for n in range(2, most + 1, 2) if num_steps % n == 0), default=2)
    return divisor if 2 * divisor > most else most
