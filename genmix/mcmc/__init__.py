"""Markov chain Monte Carlo: kernels, many chains at once, diagnostics.

A kernel has `init(position) -> state` and `step(key, state) -> (state, info)`, as BlackJAX's have.
"""

from genmix.mcmc import (
    binary_gibbs,
    bridge,
    chains,
    discrete_gibbs,
    gibbs,
    hmc,
    independent,
    langevin,
    mala,
    metropolis_hastings,
    noise,
    random_walk,
    runner,
    summary,
    tempering,
    threefry,
)
from genmix.mcmc.chains import Chains, start
from genmix.mcmc.runner import Draws, advance, sample, summarize
from genmix.mcmc.summary import Summary

__all__ = [
    "Chains",
    "Draws",
    "Summary",
    "advance",
    "binary_gibbs",
    "bridge",
    "chains",
    "discrete_gibbs",
    "gibbs",
    "hmc",
    "independent",
    "langevin",
    "mala",
    "metropolis_hastings",
    "noise",
    "random_walk",
    "runner",
    "sample",
    "start",
    "summarize",
    "summary",
    "tempering",
    "threefry",
]
