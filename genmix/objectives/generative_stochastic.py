"""Training of generative stochastic networks: reconstruct the data from where the chain walks."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.families import weigh
from genmix.families.energy.generative_stochastic import GenerativeStochastic
from genmix.mcmc import kernel
from genmix.objectives.term import Term


def walkback(num_steps: int) -> Term:
    """Minus the mean over num_steps of log p(x | h_t), with h_t from the model's own chain from x.

    With one step it is a denoising autoencoder's loss. Further steps seek out spurious modes near
    the data, and teach the chain to walk back from there. Its draws are constants.

    Raises:
        ValueError: if num_steps < 1.

    Source: Bengio, Yao, Alain & Vincent (2013), arXiv:1305.6663, section 4 and algorithm 1.
    """
    kernel.require_steps(num_steps)

    def loss(model, key, batch, carry):
        keys = jax.random.split(key, jax.tree.leaves(batch)[0].shape[0])
        value = jnp.mean(jax.vmap(lambda key, x: _one(model, key, x, num_steps))(keys, batch))
        return -value, ({"reconstruction": value}, carry)

    return Term(loss, _require_chain)


def _one(
    model: GenerativeStochastic, key: Key[Array, ""], x: PyTree, num_steps: int
) -> Float[Array, ""]:
    def step(y, i):
        corrupt_key, weigh_key, draw_key = jax.random.split(jax.random.fold_in(key, i), 3)
        h = model.corruption.sample(corrupt_key, y)
        value = weigh.log_weight(model.reconstruction, weigh_key, x, h)
        y = jax.lax.stop_gradient(model.reconstruction.sample(draw_key, h))
        return y, value

    _, values = jax.lax.scan(step, x, jnp.arange(num_steps))
    return jnp.mean(values)


def _require_chain(model: Any) -> tuple[()]:
    if not isinstance(model, GenerativeStochastic):
        raise TypeError(f"walkback trains a GenerativeStochastic, got {type(model).__name__}.")
    return ()
