"""What Gaussian noise does to an event, by its level gamma = -log(signal-to-noise ratio).

z = alpha x + sigma eps with alpha^2 = sigmoid(-gamma) and sigma^2 = sigmoid(gamma): the variance of
an event of unit variance is preserved. s is the smaller level of noise, t the larger one.

Source: Kingma et al. (2021), Variational diffusion models, arXiv:2107.00630, appendix A.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from genmix.densities.logistic import softplus

Event = Float[Array, "..."]
Level = Float[Array, ""]


def alpha(gamma: Level) -> Level:
    """The share of the event that is left."""
    return jnp.exp(-0.5 * softplus(gamma))


def sigma(gamma: Level) -> Level:
    """Standard deviation of the noise."""
    return jnp.exp(-0.5 * softplus(-gamma))


def diffuse(x: Event, noise: Event, gamma: Level) -> Event:
    """z of q(z | x): the event at a level of noise, reparameterized."""
    return alpha(gamma) * x + sigma(gamma) * noise


def forward_variance(gamma_s: Level, gamma_t: Level) -> Level:
    """Variance of q(z_t | z_s), the beta of discrete steps."""
    return -jnp.expm1(softplus(gamma_s) - softplus(gamma_t))


def forward(z_s: Event, gamma_s: Level, gamma_t: Level) -> tuple[Event, Level]:
    """Mean and standard deviation of q(z_t | z_s)."""
    mean = jnp.exp(0.5 * (softplus(gamma_s) - softplus(gamma_t))) * z_s
    return mean, jnp.sqrt(forward_variance(gamma_s, gamma_t))


def backward_variance(gamma_s: Level, gamma_t: Level) -> Level:
    """Variance of q(z_s | z_t, x), the beta-tilde of discrete steps."""
    return sigma(gamma_s) ** 2 * -jnp.expm1(gamma_s - gamma_t)


def backward_mean(
    x: Event, noise: Event, gamma_s: Level, gamma_t: Level, eta: float | Level = 1.0
) -> Event:
    """Mean of q(z_s | z_t, x), for z_t = alpha_t x + sigma_t noise.

    Args:
        eta: of the processes that share q(z_t | x): the variance is eta^2 `backward_variance`, and
            what it lacks of sigma_s^2 is noise that z_t already had. 1 is the Markov chain.

    Source: Song, Meng & Ermon (2021), arXiv:2010.02502, equation 12.
    """
    kept = jnp.sqrt(1 + eta**2 * jnp.expm1(gamma_s - gamma_t))
    return alpha(gamma_s) * x + sigma(gamma_s) * kept * noise
