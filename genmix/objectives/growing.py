"""Terms of a game whose networks grow: real images that fade in too, and the fade itself.

judged = fading(critic(grown_data, ...).of("generator"), steps)
made = fading(generator(grown_data, ...).of("generator"), steps)
followed = follow(by="generator").of("average")   # optax.sgd(1 - decay)
"""

import jax
import jax.numpy as jnp
from flax import nnx

from genmix.nets import state
from genmix.nets.style import growing
from genmix.objectives.comparison import Comparison
from genmix.objectives.term import Term, between
from genmix.paths import Part

grown_data = Comparison("data", lambda part, key, x: (part.network.real(x), part.sample(key)))
"""Images, faded as those of the generator are, with samples of an `Implicit` that grows."""


def fading(term: Term, num_steps: int) -> Term:
    """The term of a game whose newest resolution fades in over so many steps of the player.

    The count is in the carry, so a run that is cut in the middle of it goes on bit for bit; with no
    steps all has come at once.

    Raises:
        ValueError: if num_steps is negative.
    """
    if num_steps < 0:
        raise ValueError(f"num_steps must not be negative, got {num_steps}.")

    def loss(model, key, batch, carry):
        step, inner = carry
        fade = jnp.minimum(step / num_steps, 1.0) if num_steps else jnp.ones(())
        faded = growing.faded(model, fade)
        value, (metrics, inner) = term(faded, key, batch, inner)
        state.store(model, state.batch_statistics(faded))
        step = jnp.minimum(step + 1, num_steps)
        return value, ({**metrics, "fade": fade}, (step, inner))

    return Term(loss, lambda model: (jnp.zeros((), jnp.int32), term.init(model)))


def follow(*, by: Part) -> Term:
    """Half the squared distance between the parameters of a part and those of another, held.

    A player with `optax.sgd(1 - decay)` that owns the part is a moving average of the other; it
    goes on where the game has several stages, each with optimizers of its own.
    """

    def loss(part, other, key, batch, carry):
        del key, batch
        own = state.variables(part, nnx.Param)
        held = jax.lax.stop_gradient(state.variables(other, nnx.Param))
        squares = [jnp.sum((own[path] - held[path]) ** 2) for path in own]
        return 0.5 * jnp.sum(jnp.stack(squares)), ({}, carry)

    return between(loss, lambda part, other: (), by)
