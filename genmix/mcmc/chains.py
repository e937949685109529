"""Many chains of one kernel, mapped and fused into one scan, laid out over the mesh axis "chain".

A kernel is anything with `init(position) -> state` and `step(key, state) -> (state, info)`, such as
BlackJAX's. One that declares its noise (see `genmix.mcmc.noise`) has it drawn for blocks of steps;
for others each step and chain gets a key. Chain i's numbers depend on the key of `start`, i and the
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

from genmix.mcmc import noise, record, threefry

_BLOCK_BYTES = 2**18  # noise that is drawn at once stays in a core's cache


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
    draw, move, bytes_per_step = _randomness(chains, kernel, chains_last)
    state = to_layout(chains.state, chains_last)
    like = jax.eval_shape(lambda s: move(draw(jnp.zeros((), jnp.uint32)), s)[1], state)
    sums = {name: jnp.zeros(num_chains) for name in _numbers(like)}

    def one(carry, inputs):
        state, carried, sums = carry
        step, random = inputs
        state, info = move(random, state)
        sums = {name: sums[name] + x for name, x in _numbers(info).items()}
        return (state, update(carried, step, state), sums), None

    def block(carry, first, length):
        steps = first + jnp.arange(length, dtype=jnp.int32)
        random = draw(chains.step + steps.astype(jnp.uint32))
        return jax.lax.scan(one, carry, (steps, random))[0]

    length = _block_length(num_steps, bytes_per_step)
    num_blocks, rest = divmod(num_steps, length)
    carry, _ = jax.lax.scan(
        lambda carry, i: (block(carry, i * length, length), None),
        (state, carried, sums),
        jnp.arange(num_blocks, dtype=jnp.int32),
    )
    if rest:
        carry = block(carry, num_blocks * length, rest)
    state, carried, sums = carry
    state = from_layout(state, chains_last)
    means = {name: x / num_steps for name, x in sums.items()}
    return chains._replace(state=state, step=chains.step + num_steps), carried, means


def _randomness(
    chains: Chains, kernel: Any, chains_last: bool
) -> tuple[Callable[..., Any], Callable[..., Any], int]:
    """(steps -> their randomness, move of all chains, bytes of randomness for each step)."""
    axis = -1 if chains_last else 0
    num_chains = chains.ids.shape[0]
    if hasattr(kernel, "noise") and hasattr(kernel, "move"):
        one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), chains.state)
        spec = kernel.noise(one)
        total = noise.size(spec)
        if total * num_chains >= 2**32:
            raise ValueError(
                f"{num_chains} chains of {total} random numbers a step are more than the counter "
                "can number (2**32): run fewer chains at once."
            )
        draw = partial(noise.block, chains.stream, index=chains.ids, spec=spec)
        move = jax.vmap(kernel.move, in_axes=axis, out_axes=axis)
        return partial(draw, chains_last=chains_last), move, 4 * total * num_chains

    def keys(steps):
        key = jax.random.wrap_key_data(chains.stream, impl="threefry2x32")
        of_chain = lambda step_key: jax.vmap(lambda i: jax.random.fold_in(step_key, i))(chains.ids)
        at_step = lambda step: of_chain(jax.random.fold_in(key, step))
        return jax.vmap(at_step)(steps) if steps.ndim else at_step(steps)

    return keys, jax.vmap(kernel.step, in_axes=(0, axis), out_axes=axis), 8 * num_chains


def _numbers(info: Any) -> dict[str, Any]:
    """The fields of the kernel's info that are one number for each chain."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(info)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
        if leaf.ndim == 1 and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    }


def _block_length(num_steps: int, bytes_per_step: int) -> int:
    """Steps to draw at once: the largest divisor of num_steps that fits, unless that is small."""
    most = max(1, min(num_steps, _BLOCK_BYTES // max(bytes_per_step, 1)))
    divisor = max(n for n in range(1, most + 1) if num_steps % n == 0)
    return divisor if 2 * divisor > most else most
