"""Markov chain Monte Carlo: kernels, many chains at once, diagnostics.

A kernel has `init(position) -> state` and `step(key, state) -> (state, info)`, as BlackJAX's have:
see `mcmc.kernel`.
"""

from genmix.mcmc import (
    annealed_importance,
    binary_gibbs,
    bridge,
    diagnostics,
    discrete_gibbs,
    engine,
    finite_chain,
    gibbs,
    hmc,
    importance,
    independent,
    inference_data,
    kernel,
    langevin,
    mala,
    metropolis_hastings,
    random_walk,
    resampling,
    runner,
    sequential_monte_carlo,
    summary,
    tempering,
    warmup,
)
from genmix.mcmc.engine.chains import Chains, start
from genmix.mcmc.runner import Draws, advance, sample, summarize
from genmix.mcmc.summary import Summary

__all__ = [
    "Chains",
    "Draws",
    "Summary",
    "advance",
    "annealed_importance",
    "binary_gibbs",
    "bridge",
    "diagnostics",
    "discrete_gibbs",
    "engine",
    "finite_chain",
    "gibbs",
    "hmc",
    "importance",
    "independent",
    "inference_data",
    "kernel",
    "langevin",
    "mala",
    "metropolis_hastings",
    "random_walk",
    "resampling",
    "runner",
    "sample",
    "sequential_monte_carlo",
    "start",
    "summarize",
    "summary",
    "tempering",
    "warmup",
]
