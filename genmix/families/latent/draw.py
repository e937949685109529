"""DRAW: a canvas that a recurrent latent-variable model paints in several steps."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from genmix.bounds.log_weight import Draw as DrawLatent
from genmix.bounds.log_weight import Terms
from genmix.capabilities import Density, Proposal, require_reparameterized
from genmix.densities import normal
from genmix.families import weigh
from genmix.families.posteriors.pathwise import Pathwise
from genmix.families.roles import require_posterior, require_weighted
from genmix.nets.attention_window import Read, Write
from genmix.nets.pixels import Image
from genmix.nets.recurrent import Cell

Latents = Float[Array, "steps dim"]


class Draw(nnx.Module):
    """p(z_1..z_T) = N(0, I), and p(x | canvas) of the canvas that T writes add up to.

    At each step the encoder reads x and what the canvas lacks of it, q(z_t | h_encoder) is drawn
    from, the decoder is told z_t, and writes. Only the canvas of the last step says what x is.

    Args:
        likelihood: p(x | canvas), with a mean, such as `Bernoulli` of a network that passes it on.
        posterior: q(z_t | h) of the encoder's output.
        encoder: a cell given (what was read, the decoder's output before).
        decoder: a cell given z_t.
        read: (x, x - mean of x given the canvas, decoder's output) -> what the encoder sees.
        write: decoder's output -> what is added to the canvas.
        latent: dimensions of z_t.
        num_steps: T.

    Raises:
        TypeError: if a part cannot play its role.
        ValueError: if latent or num_steps is not positive.

    Source: Gregor et al. (2015), arXiv:1502.04623.
    """

    def __init__(
        self,
        *,
        likelihood: Density,
        posterior: Proposal,
        encoder: Cell,
        decoder: Cell,
        read: Read,
        write: Write,
        latent: int,
        num_steps: int,
    ):
        require_weighted(likelihood, "likelihood")
        require_posterior(posterior)
        require_reparameterized(posterior)
        if min(latent, num_steps) < 1:
            raise ValueError(
                f"latent and num_steps must be at least 1, got {latent} and {num_steps}."
            )
        self.likelihood: Any = likelihood
        self.posterior: Any = posterior
        self.encoder, self.decoder, self.read, self.write = encoder, decoder, read, write
        self.latent, self.num_steps = latent, num_steps

    def log_weight_terms(
        self, key: Key[Array, ""], x: Image, cond: None = None, draw: DrawLatent = weigh.draw
    ) -> Terms:
        """Terms of log p(x, z) - log q(z | x), one entry of the rate a step.

        Raises:
            TypeError: for an estimator that takes a posterior's density apart from its samples: the
                steps share their parameters.
        """
        del cond
        step_key, likelihood_key = jax.random.split(key)
        canvas, (_, log_p, log_q) = self._paint(step_key, x, draw)
        seen = weigh.terms(self.likelihood, likelihood_key, x, canvas, draw)
        return Terms(
            seen.log_likelihood,
            jnp.concatenate([log_p, seen.log_prior]),
            jnp.concatenate([log_q, seen.log_posterior]),
        )

    def log_weight(self, key: Key[Array, ""], x: Image, cond: None = None) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(x), in nats; its expectation is the ELBO."""
        return self.log_weight_terms(key, x, cond).log_weight

    def encode(self, key: Key[Array, ""], x: Image, cond: None = None) -> Latents:
        """Draw z_1..z_T from the posterior."""
        del cond
        step_key, _ = jax.random.split(key)  # as for the terms: the latents are theirs
        return self._paint(step_key, x, weigh.draw)[1][0]

    def canvases(self, z: Latents) -> Float[Array, "steps height width channels"]:
        """Means of x given the canvas after each step."""

        def step(carry: PyTree, z: Array) -> tuple[PyTree, Image]:
            state, canvas = carry
            state = self.decoder(state, z)
            canvas = canvas + self.write(self.decoder.output(state))
            return (state, canvas), self.likelihood.mean(canvas)

        start = self.decoder.initial(), jnp.zeros(self.write.shape)
        return jax.lax.scan(step, start, z)[1]

    def decode(self, z: Latents, cond: None = None) -> Image:
        """Mean of x given z."""
        del cond
        return self.canvases(z)[-1]

    def latents(self, key: Key[Array, ""]) -> Latents:
        """Draw z_1..z_T from the prior."""
        return jax.random.normal(key, (self.num_steps, self.latent))

    def sample(self, key: Key[Array, ""], cond: None = None) -> Image:
        del cond
        prior_key, likelihood_key = jax.random.split(key)

        def step(carry: PyTree, z: Array) -> tuple[PyTree, None]:
            state, canvas = carry
            state = self.decoder(state, z)
            return (state, canvas + self.write(self.decoder.output(state))), None

        start = self.decoder.initial(), jnp.zeros(self.write.shape)
        (_, canvas), _ = jax.lax.scan(step, start, self.latents(prior_key))
        return self.likelihood.sample(likelihood_key, canvas)

    def _paint(
        self, key: Key[Array, ""], x: Image, draw: DrawLatent
    ) -> tuple[Image, tuple[Latents, Float[Array, " steps"], Float[Array, " steps"]]]:
        """The last canvas; z_t, log p(z_t) and log q(z_t | x) of each step."""

        def step(carry: PyTree, t: Array) -> tuple[PyTree, tuple[Array, Array, Array]]:
            seeing, painting, canvas = carry
            before = self.decoder.output(painting)
            patch = self.read(x, x - self.likelihood.mean(canvas), before)
            seeing = self.encoder(seeing, (patch, before))
            step_key = jax.random.fold_in(key, t)
            z, log_q = draw(Pathwise(self.posterior), step_key, self.encoder.output(seeing))
            painting = self.decoder(painting, z)
            canvas = canvas + self.write(self.decoder.output(painting))
            return (seeing, painting, canvas), (z, jnp.sum(normal.log_prob(z, 0.0, 1.0)), log_q)

        blank = jnp.zeros(self.write.shape)
        start = self.encoder.initial(), self.decoder.initial(), blank
        (_, _, canvas), found = jax.lax.scan(step, start, jnp.arange(self.num_steps))
        return canvas, found
