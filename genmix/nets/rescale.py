"""A network that sees its input on another scale."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Float

from genmix.nets import outputs


class Rescale(nnx.Module):
    """x -> network((x - loc) / scale), such as grey levels brought to [-1, 1] for an encoder."""

    changes_inputs_alone = True

    def __init__(self, network: Callable[[Array], Array], *, loc: float, scale: float):
        if scale <= 0:
            raise ValueError(f"scale must be positive, got {scale}.")
        self.network = network
        self.loc = loc
        self.scale = scale

    @property
    def in_shape(self) -> tuple[int, ...] | None:
        return outputs.in_shape(self.network)

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return self.network((x - self.loc) / self.scale)
