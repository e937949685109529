"""A critic that shows what it sees."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Float, PyTree


class FeatureCritic(nnx.Module):
    """Event -> score, which is a linear function of the features that a network makes of it.

    For `objectives.feature_matching` and `feature_likelihood`, which compare events by what the
    critic sees: `FeatureCritic.features`.

    Args:
        network: event -> vector of features, after its last nonlinearity.
        num_features: entries of that vector.
    """

    def __init__(self, network: Callable[[PyTree], Array], num_features: int, *, rngs: nnx.Rngs):
        self.network = network
        self.out = nnx.Linear(num_features, 1, rngs=rngs)

    def features(self, x: PyTree) -> Float[Array, " features"]:
        return self.network(x)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        return self.out(self.features(x))[0]
