"""How many chains run fast: their noise, their layout, their groups; kernels need none of it."""

from genmix.mcmc.engine import noise, threefry

__all__ = ["noise", "threefry"]
