"""Critics that show what they see, and networks on that."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class ShowsFeatures(Protocol):
    """Tells what it sees in an event, as `FeatureCritic` and `DCGANCritic` do."""

    def features(self, x: PyTree) -> Array: ...


class OnFeatures(nnx.Module):
    """A network on what a critic sees in an event, such as q(code | x) of an InfoGAN.

    The critic is the game's own: whose parameters move is said by what the players own.
    """

    def __init__(self, critic: ShowsFeatures, network: Callable[[Array], PyTree]):
        self.critic = critic
        self.network = network

    def __call__(self, x: PyTree) -> PyTree:
        return self.network(self.critic.features(x))
