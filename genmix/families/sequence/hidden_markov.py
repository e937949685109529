"""The hidden Markov model, its hidden states summed out exactly."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from genmix.capabilities import ExactDensity
from genmix.families.sequence import padded

Logits = Float[Array, " states"]


class HiddenMarkov(nnx.Module):
    """p(x) = sum over z of p(z_1) p(x_1 | z_1) product of p(z_t | z_t-1) p(x_t | z_t), z in 0..n-1.

    An exact density of sequences, by the forward algorithm.

    Args:
        initial: logits of z_1, normalized here.
        transition: logits of z_t, one row for each z_t-1, normalized here.
        emission: p(x_t | z_t) with log_prob, given the number of the state.

    Raises:
        TypeError: if the emission has no exact density.
        ValueError: if the shapes do not fit.

    Source: Rabiner (1989), Proceedings of the IEEE 77(2), section III.
    """

    def __init__(self, initial: Logits, transition: Float[Array, "rows columns"], emission: Any):
        initial, transition = jnp.asarray(initial), jnp.asarray(transition)
        if transition.shape != (initial.size, initial.size) or initial.ndim != 1:
            raise ValueError(
                "transition must have a row and a column for each of the initial logits, got "
                f"shapes {initial.shape} and {transition.shape}."
            )
        if not isinstance(emission, ExactDensity):
            raise TypeError(
                f"{type(emission).__name__} cannot be the emission: it has no log_prob."
            )
        self.initial, self.transition = nnx.Param(initial), nnx.Param(transition)
        self.emission: Any = emission

    def log_prob(self, x: PyTree, cond: None = None) -> Float[Array, ""]:
        """log p(x_1..x_T), in nats."""
        del cond
        return jnp.sum(self.forward(x)[1])

    def forward(self, x: PyTree) -> tuple[Float[Array, "steps states"], Float[Array, " steps"]]:
        """log p(z_t | x_1..x_t) and log p(x_t | x_1..x_t-1), in nats, which is 0 behind the end."""
        x = padded.one(x)
        seen = jax.vmap(self._log_emission)(x.values)
        transition = jax.nn.log_softmax(self.transition[...], axis=-1)

        def visit(predicted: Logits, step: tuple) -> tuple[Logits, tuple[Logits, Array]]:
            seen, is_data = step
            joint = predicted + jnp.where(is_data, seen, 0.0)
            value = jax.nn.logsumexp(joint)
            # Of an impossible observation nothing is known afterwards: its own -inf says so.
            known = jnp.where(value == -jnp.inf, predicted, joint - value)
            return jax.nn.logsumexp(known[:, None] + transition, axis=0), (known, value)

        first = jax.nn.log_softmax(self.initial[...])
        _, (known, values) = jax.lax.scan(visit, first, (seen, x.mask()))
        return known, jnp.where(x.mask(), values, 0.0)

    def smooth(self, x: PyTree) -> Float[Array, "steps states"]:
        """log p(z_t | x_1..x_T): forward, then backward."""
        x = padded.one(x)
        known, _ = self.forward(x)
        transition = jax.nn.log_softmax(self.transition[...], axis=-1)

        def visit(later: Logits, now: Logits) -> tuple[Logits, Logits]:
            joint = now[:, None] + transition
            back = joint - jax.nn.logsumexp(joint, axis=0)[None]
            smoothed = jax.nn.logsumexp(back + later[None], axis=1)
            return smoothed, smoothed

        _, smoothed = jax.lax.scan(visit, known[-1], known[:-1], reverse=True)
        return jnp.concatenate([smoothed, known[-1:]])

    def begin(self, cond: None = None) -> Logits:
        """The logits of the next state, before the first step."""
        del cond
        return self.initial[...]

    def generate(self, key: Key[Array, ""], carry: Logits) -> tuple[Logits, PyTree]:
        """Draw z_t, and x_t given it."""
        hidden_key, emission_key = jax.random.split(key)
        z: Int[Array, ""] = jax.random.categorical(hidden_key, carry)
        return self.transition[...][z], self.emission.sample(emission_key, z)

    def _log_emission(self, x: PyTree) -> Logits:
        states = jnp.arange(self.initial[...].size)
        return jax.vmap(lambda z: self.emission.log_prob(x, z))(states)
