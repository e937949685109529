"""Runs of many chains: burn-in, stored draws with thinning, or streaming summaries.

Each call goes on where the last one stopped, and two calls give what one longer call gives, bit for
bit: a loop over calls of one size, which compile once, is where a progress bar and checkpoints go.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from genmix import sharding
from genmix.mcmc import summary
from genmix.mcmc.engine import chains as many
from genmix.mcmc.engine import layout as layouts
from genmix.mcmc.engine.chains import Chains
from genmix.mcmc.engine.layout import Layout
from genmix.mcmc.summary import Summary


class Draws(NamedTuple):
    """Stored draws, and the kernel's diagnostics averaged over all steps."""

    position: Any  # [chains, draws, ...]
    info: dict[str, Array]  # by field of the kernel's info, [chains]


def advance(
    chains: Chains, kernel: Any, *, num_steps: int, layout: Layout = "auto"
) -> tuple[Chains, dict[str, Array]]:
    """Chains num_steps further, as for burn-in, and the kernel's mean diagnostics.

    Raises:
        ValueError: if num_steps < 1.
    """
    return _run(_advance, chains, kernel, layout, {"num_steps": num_steps})


def sample(
    chains: Chains,
    kernel: Any,
    *,
    num_draws: int,
    thinning: int = 1,
    of: Callable[[Any], Any] | None = None,
    layout: Layout = "auto",
) -> tuple[Chains, Draws]:
    """Chains num_draws * thinning steps further, with every thinning-th position stored.

    Args:
        of: position -> what is stored; all of it, if not given.
        layout: which axis chains are inside, for speed alone; "auto" follows the target.

    Raises:
        ValueError: if num_draws or thinning < 1.
    """
    counts = {"num_draws": num_draws, "thinning": thinning}
    return _run(_sample, chains, kernel, layout, counts, of=of)


def summarize(
    chains: Chains,
    kernel: Any,
    *,
    num_batches: int,
    batch_size: int,
    of: Callable[[Any], Any] | None = None,
    covariance: bool = False,
    layout: Layout = "auto",
) -> tuple[Chains, Summary]:
    """Chains num_batches * batch_size steps further, with moments instead of draws.

    Args:
        num_batches: an even number of at least 4.
        batch_size: steps in a batch, many times the autocorrelation time for the ESS to be right.
        of: position -> what is summarized; all of it, if not given.
        covariance: whether to add up the d x d covariance too, d**2 operations a step and chain.
        layout: which axis chains are inside, for speed alone; "auto" follows the target.

    Raises:
        ValueError: for other numbers of batches, or batch_size < 1.
    """
    if num_batches < 4 or num_batches % 2:
        raise ValueError(f"num_batches must be even and at least 4, got {num_batches}.")
    counts = {"num_batches": num_batches, "batch_size": batch_size}
    chains, (moments, info, products) = _run(
        _summarize, chains, kernel, layout, counts, of=of, covariance=covariance
    )
    num_draws = chains.ids.shape[0] * num_batches * batch_size
    matrix = None if products is None else summary.covariance(products, num_draws)
    return chains, Summary(moments, info, matrix, num_batches, batch_size)


def _run(
    run: Any, chains: Chains, kernel: Any, layout: Layout, counts: dict[str, int], **options: Any
) -> Any:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
    arrays, constants = many.apart(kernel)
    chains_last = layouts.chains_last(layout, chains, kernel)
    options |= {"chains_last": chains_last, "is_split": sharding.axis_size("chain") > 1}
    options["most"] = layouts.group_limit(chains, kernel)
    return run(chains, arrays, constants=constants, **counts, **options)


def _on_each_device(run: Callable[..., Any], is_split: bool, results: Any) -> Callable[..., Any]:
    """Each device runs its own chains, with no communication but what `run` asks for."""
    if not is_split:
        return run
    specs = (Chains(*many.SPECS), results)
    return jax.shard_map(run, in_specs=(Chains(*many.SPECS), P()), out_specs=specs, check_vma=False)


def _in_groups(run: Callable[..., Any], most: int | None) -> Callable[..., Any]:
    """Groups of at most that many chains one after another, each through all its steps.

    `run` returns the chains, and results whose arrays have a first axis of chains.
    """

    def grouped(chains: Chains, arrays: Any) -> tuple[Chains, Any]:
        size = layouts.group_size(chains.ids.shape[0], most)
        if size == chains.ids.shape[0]:
            return run(chains, arrays)
        cut = lambda a: a.reshape(-1, size, *a.shape[1:])
        join = lambda a: a.reshape(-1, *a.shape[2:])

        def one(group: tuple[Any, Array]) -> Any:
            state, ids = group
            moved, results = run(chains._replace(state=state, ids=ids), arrays)
            return (moved.state, results), moved.step

        whole, step = jax.lax.map(one, jax.tree.map(cut, (chains.state, chains.ids)))
        state, results = jax.tree.map(join, whole)
        return chains._replace(state=state, step=step[0]), results

    return grouped


def _outputs(of: Callable[[Any], Any] | None, chains_last: bool) -> Callable[[Any], Any]:
    """State of all chains -> what is kept of it."""
    axis = -1 if chains_last else 0
    if of is None:
        return lambda state: state.position
    return lambda state: jax.vmap(of, in_axes=axis, out_axes=axis)(state.position)


@partial(jax.jit, static_argnames=("constants", "num_steps", "chains_last", "is_split", "most"))
def _advance(chains, arrays, *, constants, num_steps, chains_last, is_split, most):
    def run(chains, arrays):
        kernel = many.together(arrays, constants)
        chains, _, info = many.fold(chains, kernel, num_steps, chains_last=chains_last)
        return chains, info

    return _on_each_device(_in_groups(run, most), is_split, P("chain"))(chains, arrays)


@partial(
    jax.jit,
    static_argnames=("constants", "num_draws", "thinning", "of", "chains_last", "is_split", "most"),
)
def _sample(chains, arrays, *, constants, num_draws, thinning, of, chains_last, is_split, most):
    outputs = _outputs(of, chains_last)

    def store(stored, step, state):
        # The last step of each interval overwrites those before it.
        put = jax.lax.dynamic_update_index_in_dim
        return jax.tree.map(lambda all, x: put(all, x, step // thinning, 0), stored, outputs(state))

    def run(chains, arrays):
        kernel = many.together(arrays, constants)
        like = jax.eval_shape(lambda s: outputs(many.to_layout(s, chains_last)), chains.state)
        stored = jax.tree.map(lambda a: jnp.zeros((num_draws, *a.shape), a.dtype), like)
        chains, stored, info = many.fold(
            chains, kernel, num_draws * thinning, stored, store, chains_last=chains_last
        )
        return chains, Draws(many.from_layout(stored, chains_last, axis=1), info)

    return _on_each_device(_in_groups(run, most), is_split, P("chain"))(chains, arrays)


@partial(
    jax.jit,
    static_argnames=(
        *("constants", "num_batches", "batch_size", "of", "covariance"),
        *("chains_last", "is_split", "most"),
    ),
)
def _summarize(
    chains,
    arrays,
    *,
    constants,
    num_batches,
    batch_size,
    of,
    covariance,
    chains_last,
    is_split,
    most,
):
    raw = _outputs(of, chains_last)
    outputs = lambda state: jax.tree.map(summary.as_float, raw(state))

    def run(chains, arrays):
        kernel = many.together(arrays, constants)
        first = outputs(many.to_layout(chains.state, chains_last))
        fixed = jnp.mean(summary.flat(first, chains_last), axis=0)
        fixed = jax.lax.pmean(fixed, "chain") if is_split else fixed

        def batch(carry, count):
            chains, moments, products = carry
            centre = outputs(many.to_layout(chains.state, chains_last))

            def add(carried, _, state):
                sums, products = carried
                x = outputs(state)
                if covariance:
                    rows = summary.flat(x, chains_last)
                    products = summary.add_products(products, rows, fixed)
                return summary.add(sums, x, centre), products

            carried = summary.zero_sums(centre), products
            chains, (sums, products), info = many.fold(
                chains, kernel, batch_size, carried, add, chains_last=chains_last
            )
            moments = summary.add_batch(moments, sums, centre, batch_size, count)
            return (chains, moments, products), info

        def half(carry, _):
            chains, products = carry
            carry = chains, summary.zero_moments(first), products
            counts = jnp.arange(1.0, num_batches // 2 + 1)
            (chains, moments, products), info = jax.lax.scan(batch, carry, counts)
            return (chains, products), (moments, info)

        products = summary.zero_products(fixed) if covariance else None
        (chains, products), (moments, info) = jax.lax.scan(half, (chains, products), length=2)
        if covariance and is_split:
            products = jax.lax.psum(products, "chain")
        moments = many.from_layout(moments, chains_last, axis=1)
        info = {name: jnp.mean(x, axis=(0, 1)) for name, x in info.items()}
        return chains, (moments, info, products)

    run = run if covariance else _in_groups(run, most)  # all chains are about one mean there
    return _on_each_device(run, is_split, (P("chain"), P("chain"), P()))(chains, arrays)
