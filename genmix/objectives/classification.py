"""Labels as a term: the cross-entropy of what a model says of classes."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.nets import state
from genmix.objectives.comparison import per_event
from genmix.objectives.term import Term


@runtime_checkable
class Classifies(Protocol):
    """Knows log p(y | x), or log q(y | x), of every class, in nats."""

    def log_posterior(
        self, key: Key[Array, ""], x: PyTree, cond: PyTree = None
    ) -> Float[Array, " n"]: ...


def classification() -> Term:
    """Minus the mean log-probability of the right class, in nats, for pairs (x, one-hot class).

    Metrics are cross_entropy and accuracy.

    Raises:
        TypeError: at the start of training, if the model knows no classes.

    Source: Kingma et al. (2014), arXiv:1406.5298, equation 9.
    """

    def loss(model, key, batch, carry):
        def one(part: Classifies, key: Key[Array, ""], pair: tuple[PyTree, Array]) -> Any:
            log_p = jax.nn.log_softmax(part.log_posterior(key, pair[0]))
            if pair[1].shape != log_p.shape:
                raise ValueError(
                    f"classes must be one-hot vectors of {len(log_p)} entries, got shape "
                    f"{pair[1].shape}: use jax.nn.one_hot(labels, {len(log_p)})."
                )
            # A class that cannot come costs nothing unless it is the right one.
            log_likelihood = jnp.sum(jnp.where(pair[1] > 0, pair[1] * log_p, 0.0))
            return log_likelihood, jnp.argmax(log_p) == jnp.argmax(pair[1])

        (log_likelihood, is_right), statistics = per_event(one, model, key, batch)
        state.store(model, statistics)
        value = -jnp.mean(log_likelihood)
        return value, ({"cross_entropy": value, "accuracy": jnp.mean(is_right)}, carry)

    def init(model):
        if not isinstance(model, Classifies):
            raise TypeError(
                f"{type(model).__name__} knows no classes (log_posterior): use Summed, or "
                "Classified."
            )
        return ()

    return Term(loss, init)
