"""Kernels of other libraries for the MCMC benchmark, all chains at once, as each documents it."""

import dataclasses
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import jax
import jax.numpy as jnp

Kernel = Literal["random-walk", "mala", "hmc"]
LEAPFROG = 10


@dataclasses.dataclass(frozen=True)
class Case:
    """What every contestant is given."""

    logdensity_fn: Any
    positions: jax.Array  # [chains, dim]
    kernel: Kernel
    step_size: float
    num_steps: int
    """Transitions of each chain in a call."""
    seed: int


@dataclasses.dataclass(frozen=True)
class Peer:
    """All chains of another library's kernel."""

    state: Any
    step: Callable[[jax.Array, Any], Any]
    """(key, state) -> state."""
    position: Callable[[Any], jax.Array]
    """state -> [chains, dim]."""


def mapped(case: Case, init: Callable[..., Any], step: Callable[..., Any]) -> Peer:
    num_chains = len(case.positions)

    def steps(key, state):
        return jax.vmap(step)(jax.random.split(key, num_chains), state)

    return Peer(jax.vmap(init)(case.positions), steps, lambda state: state.position)


def blackjax_chains(case: Case) -> Peer:
    import blackjax

    dim, inner = case.positions.shape[1], case.logdensity_fn
    if case.kernel == "random-walk":
        kernel = blackjax.normal_random_walk(inner, case.step_size * jnp.ones(dim))
    elif case.kernel == "mala":
        kernel = blackjax.mala(inner, case.step_size)
    else:
        kernel = blackjax.hmc(inner, case.step_size, jnp.ones(dim), LEAPFROG)
    return mapped(case, kernel.init, lambda key, state: kernel.step(key, state)[0])


def tfp_chains(case: Case) -> Peer:
    """TFP batches its chains itself, so the target is given all of them."""
    import tensorflow_probability.substrates.jax.mcmc as tfp_mcmc

    target = jax.vmap(case.logdensity_fn)
    if case.kernel == "random-walk":
        normal = tfp_mcmc.random_walk_normal_fn(scale=case.step_size)
        kernel = tfp_mcmc.RandomWalkMetropolis(target, new_state_fn=normal)
    elif case.kernel == "mala":
        # Its step is that of the noise, sqrt(2 step_size).
        kernel = tfp_mcmc.MetropolisAdjustedLangevinAlgorithm(target, 2 * case.step_size)
    else:
        kernel = tfp_mcmc.HamiltonianMonteCarlo(target, case.step_size, LEAPFROG)
    return Peer(
        (case.positions, kernel.bootstrap_results(case.positions)),
        lambda key, state: kernel.one_step(*state, seed=jax.random.key_data(key)),
        lambda state: state[0],
    )


def numpyro_chains(case: Case) -> Peer:
    """Only HMC; its state holds the keys."""
    from numpyro.infer.hmc import hmc

    init, sample = hmc(potential_fn=lambda x: -case.logdensity_fn(x), algo="HMC")
    options = {
        "step_size": case.step_size,
        "num_steps": LEAPFROG,
        "trajectory_length": LEAPFROG * case.step_size,
        "adapt_step_size": False,
        "adapt_mass_matrix": False,
        "num_warmup": 0,
    }
    keys = jax.random.split(jax.random.key(case.seed), len(case.positions))
    start = lambda key, x: init(x, rng_key=key, **options)
    state = jax.vmap(start)(keys, case.positions)
    return Peer(state, lambda _, state: jax.vmap(sample)(state), lambda state: state.z)


def installed(kernel: Kernel) -> dict[str, Callable[[Case], Peer]]:
    """Those libraries that are installed and have the kernel."""
    found: dict[str, Callable[[Case], Peer]] = {}
    if find_spec("blackjax"):
        found["BlackJAX"] = blackjax_chains
    if find_spec("tensorflow_probability"):
        found["TFP"] = tfp_chains
    if find_spec("numpyro") and kernel == "hmc":
        found["NumPyro"] = numpyro_chains
    return found
