"""Losses of a critic and of a generator, from what the critic says about real and fake events.

Each critic's loss bounds a divergence between the two distributions, and reaches it where the
critic is the best of all functions. Outputs are real numbers, larger for what looks real.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scores = Float[Array, " n"]
Scalar = Float[Array, ""]


class Losses(NamedTuple):
    """What the two players minimise.

    Attributes:
        measures: the divergence's name.
        critic: (scores of real, scores of fake events) -> loss.
        generator: scores of fake events -> loss. Where the real events have parameters too, theirs
            is that of minus their scores: no loss here prefers one side.
        divergence: critic's loss -> lower bound on the divergence.
    """

    measures: str
    critic: Callable[[Scores, Scores], Scalar]
    generator: Callable[[Scores], Scalar]
    divergence: Callable[[Scalar], Scalar]


def accuracy(real: Float[Array, " n"], fake: Float[Array, " m"]) -> Scalar:
    """How often a real event scores higher than a fake one, over all pairs; ties count one half.

    0.5 for a critic that sees no difference, 1 for one that tells all apart.
    """
    gap = real[:, None] - fake[None, :]
    return jnp.mean(0.5 * (1 + jnp.sign(gap)))


def _cross_entropy(real: Scores, fake: Scores) -> Scalar:
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def _jensen_shannon(loss: Scalar) -> Scalar:
    return math.log(2.0) - 0.5 * loss


minimax = Losses(
    "jsd", _cross_entropy, lambda fake: -jnp.mean(jax.nn.softplus(fake)), _jensen_shannon
)
"""The critic is a classifier's logit, log p / q at best, and its loss minus the game's value.

Source: Goodfellow et al. (2014), arXiv:1406.2661, equation 1 and theorem 1.
"""

non_saturating = minimax._replace(generator=lambda fake: jnp.mean(jax.nn.softplus(-fake)))
"""The same critic; the generator's gradient does not vanish where the critic is sure.

Source: Goodfellow et al. (2014), arXiv:1406.2661, section 3.
"""

least_squares = Losses(
    "triangular_discrimination",
    lambda real, fake: 0.5 * jnp.mean((real - 1) ** 2) + 0.5 * jnp.mean((fake + 1) ** 2),
    lambda fake: 0.5 * jnp.mean((fake - 1) ** 2),
    lambda loss: 2 - 2 * loss,
)
"""Targets 1 for real and -1 for fake; the divergence is the integral of (p - q)^2 / (p + q).

Source: Mao et al. (2017), arXiv:1611.04076, equation 2, with a = -1 and b = c = 1.
"""

hinge = Losses(
    "total_variation",
    lambda real, fake: jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake)),
    lambda fake: -jnp.mean(fake),
    lambda loss: 1 - 0.5 * loss,
)
"""The divergence is half the integral of |p - q|.

Source: Lim & Ye (2017), arXiv:1705.02894; Miyato et al. (2018), arXiv:1802.05957, equation 17.
"""

wasserstein = Losses(
    "w1",
    lambda real, fake: jnp.mean(fake) - jnp.mean(real),
    lambda fake: -jnp.mean(fake),
    lambda loss: -loss,
)
"""The divergence is W_1 if the critic is 1-Lipschitz, which a penalty or spectral norm sees to.

Source: Arjovsky, Chintala & Bottou (2017), arXiv:1701.07875, equation 2.
"""

BY_NAME = {
    "minimax": minimax,
    "non-saturating": non_saturating,
    "least-squares": least_squares,
    "hinge": hinge,
    "wasserstein": wasserstein,
}
"""The losses above, as a command line names them."""
