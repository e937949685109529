"""Data of N(0, s^2), for which every quantity of a diffusion is known."""

import jax.numpy as jnp

from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.denoiser import Prediction
from genmix.families.diffusion.diffusion import Diffusion
from genmix.families.diffusion.schedules import Cosine, Linear, LinearBeta


class Optimal:
    """The right denoiser of N(0, s^2 I)."""

    def __init__(self, s):
        self.s = s

    def __call__(self, z, gamma, cond=None):
        alpha, sigma = kernel.alpha(gamma), kernel.sigma(gamma)
        total = (alpha * self.s) ** 2 + sigma**2
        return Prediction(alpha * self.s**2 * z / total, sigma * z / total)


SCHEDULES = {
    "linear": lambda: Linear(-8.0, 6.0),
    "cosine": lambda: Cosine(-7.0, 5.0),
    "beta": lambda: LinearBeta(num_steps=100),
}


def diffusion(s, *, schedule="linear", shape=(), **options):
    return Diffusion(Optimal(s), shape=shape, schedule=SCHEDULES[schedule](), **options)


def gammas(model, n):
    return model.levels(jnp.linspace(0, 1, n))
