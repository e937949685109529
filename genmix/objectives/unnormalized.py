"""Maximum likelihood for densities that are not normalized, with a Markov chain for the normalizer.

The gradient of log p(x) is that of the log-unnormalized density at the data minus its mean under
the model. The model's draws come from chains that start at the data (CD-k), or go on from where
they were (persistent). They are held constant: nothing is differentiated through a chain.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import Unnormalized
from genmix.mcmc import kernel as kernels
from genmix.mcmc.kernel import HasChainKernel, Kernel
from genmix.objectives.term import Term

KernelOf = Callable[[Any], Kernel[Any]]
"""Model -> a kernel that leaves its density invariant."""


def own_kernel(model: HasChainKernel) -> Kernel[Any]:
    """The kernel that the density itself knows."""
    return model.chain_kernel()


def contrastive_divergence(
    num_steps: int,
    *,
    kernel: KernelOf = own_kernel,
) -> Term:
    """CD-k: chains of num_steps that start at the data, anew in each step of training.

    The gradient is biased, less so with more steps; the metric, the difference of mean
    log-unnormalized densities, is no likelihood.

    Args:
        kernel: the model's own, `model.chain_kernel()`, if not given; or one such as
            `lambda model: mala.build(model.log_unnormalized, 0.1)`.

    Raises:
        ValueError: if num_steps < 1.

    Source: Hinton (2002), Training Products of Experts by Minimizing Contrastive Divergence.
    """
    kernels.require_steps(num_steps)

    def loss(model, key, batch, carry):
        draws = advance(model, key, batch, kernel, num_steps)
        return _contrast("contrastive_divergence", model, batch, draws, carry)

    return Term(loss, lambda model: require_chains(model, kernel))


def persistent_contrastive_divergence(
    chains: PyTree,
    num_steps: int,
    *,
    kernel: KernelOf = own_kernel,
    chains_at_once: int | None = None,
    restart: Callable[[Key[Array, ""]], PyTree] | None = None,
    restart_rate: float = 0.05,
) -> Term:
    """Persistent contrastive divergence: chains go on from step to step of training.

    With fewer `chains_at_once` than there are chains, these are a replay buffer: each step draws so
    many of it, moves them and puts them back.

    Args:
        chains: where they start, along the first axis of each array; they travel in the carry.
        chains_at_once: how many move in one step of training; all of them if not given.
        restart: key -> a new start, which each chain that moves takes at `restart_rate`.

    Raises:
        ValueError: if num_steps < 1, there are no chains, chains_at_once is more than there are,
            or restart_rate is not in [0, 1].

    Source: Tieleman (2008), Training Restricted Boltzmann Machines using Approximations to the
    Likelihood Gradient; Du & Mordatch (2019), arXiv:1903.08689, for the replay buffer.
    """
    kernels.require_steps(num_steps)
    chains = jax.tree.map(jnp.asarray, chains)
    num_chains = jax.tree.leaves(chains)[0].shape[0]
    at_once = num_chains if chains_at_once is None else chains_at_once
    if not 1 <= at_once <= num_chains:
        raise ValueError(
            f"chains_at_once must be between 1 and the number of chains, {num_chains}; got "
            f"{at_once}."
        )
    if not 0 <= restart_rate <= 1:
        raise ValueError(f"restart_rate must be between 0 and 1, got {restart_rate}.")

    def restarted(key, x):
        if restart is None:
            return x
        keys = jax.random.split(key, 2)
        again = jax.random.bernoulli(keys[0], restart_rate, (at_once,))
        new = jax.vmap(restart)(jax.random.split(keys[1], at_once))
        choose = lambda n, o: jnp.where(again.reshape(-1, *[1] * (o.ndim - 1)), n, o)
        return jax.tree.map(choose, new, x)

    def loss(model, key, batch, carry):
        choice_key, restart_key, move_key = jax.random.split(key, 3)
        if at_once == num_chains:
            chosen = jnp.arange(num_chains)
        else:
            chosen = jax.random.choice(choice_key, num_chains, (at_once,), replace=False)
        start = restarted(restart_key, jax.tree.map(lambda a: a[chosen], carry))
        draws = advance(model, move_key, start, kernel, num_steps)
        carry = jax.tree.map(lambda a, d: a.at[chosen].set(d), carry, draws)
        return _contrast("contrast", model, batch, draws, carry)

    def init(model):
        require_chains(model, kernel)
        return jax.tree.map(jnp.array, chains)

    return Term(loss, init)


def require_chains(model: Any, kernel: KernelOf) -> tuple[()]:
    """Check that chains can tell of a density that is not normalized.

    Raises:
        TypeError: if it has no log_unnormalized, or no kernel of its own and none is given.
    """
    if not isinstance(model, Unnormalized):
        raise TypeError(
            f"{type(model).__name__} has no log_unnormalized: contrastive divergence is for "
            "densities that are not normalized; train others by a bound."
        )
    if kernel is own_kernel and not isinstance(model, HasChainKernel):
        raise TypeError(
            f"{type(model).__name__} has no kernel of its own: pass one, such as "
            "kernel=lambda model: mala.build(model.log_unnormalized, 0.1)."
        )
    return ()


def advance(
    part: Unnormalized, key: Key[Array, ""], x: PyTree, kernel: KernelOf, num_steps: int
) -> PyTree:
    """Each event num_steps of its chain further, as a constant."""
    moves = kernel(jax.tree.map(jax.lax.stop_gradient, part))
    keys = jax.random.split(key, jax.tree.leaves(x)[0].shape[0])
    ends = jax.vmap(lambda key, x: kernels.run(key, moves, x, num_steps).position)(keys, x)
    return jax.tree.map(jax.lax.stop_gradient, ends)


def _contrast(
    name: str, part: Unnormalized, batch: PyTree, draws: PyTree, carry: PyTree
) -> tuple[Float[Array, ""], Any]:
    mean = lambda x: jnp.mean(jax.vmap(part.log_unnormalized)(x))
    difference = mean(batch) - mean(draws)
    return -difference, ({name: difference}, carry)
