"""A network that tells a class from a style."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Float, Key

Network = Callable[[Array], Array]


class ClassAndStyle(nnx.Module):
    """Image -> (probabilities of the class, style), such as the encoder of an `Autoencoder`.

    Pixels are hidden from the classifier, which would know few labelled images by heart, or always.

    Args:
        hide: dropout of the image.
        body: image -> vector, whose relu both heads are given.
        category: logits of the classes, such as `balanced_logits`.
        style: the other head.
        hides_always: hide pixels from the encoder, too, not only where classes are asked for.

    Source: Makhzani et al. (2016), arXiv:1511.05644, sections 5 and 6.
    """

    def __init__(
        self, hide: Network, body: Network, category: Network, style: Network, *, hides_always: bool
    ):
        self.hide, self.body, self.category, self.style = hide, body, category, style
        self.hides_always = hides_always

    def logits(self, x: Float[Array, "..."]) -> Float[Array, " classes"]:
        return self.category(jax.nn.relu(self.body(self.hide(x))))

    def log_posterior(
        self, key: Key[Array, ""], x: Float[Array, "..."], cond: None = None
    ) -> Float[Array, " classes"]:
        """log q(class | x), for `objectives.classification`."""
        del key, cond
        return jax.nn.log_softmax(self.logits(x))

    def __call__(
        self, x: Float[Array, "..."]
    ) -> tuple[Float[Array, " classes"], Float[Array, " style"]]:
        h = jax.nn.relu(self.body(self.hide(x) if self.hides_always else x))
        return jax.nn.softmax(self.category(h)), self.style(h)


def balanced_logits(in_size: int, classes: int, *, rngs: nnx.Rngs) -> nnx.Sequential:
    """Vector -> logits that are normalized over the batch, which is the axis named "batch".

    A class that is rare has large logits for some events all the same. Without it one whose
    probability is near zero for all of them has no gradient left, from a critic of the classes
    neither, and is not used again.
    """
    return nnx.Sequential(
        nnx.Linear(in_size, classes, use_bias=False, rngs=rngs),
        nnx.BatchNorm(classes, momentum=0.95, axis_name="batch", use_bias=False, rngs=rngs),
    )
