"""A network that is asked for what lies under the noise, in any of three parametrizations."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, PyTree

from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.gaussian_kernel import Event, Level


class Prediction(NamedTuple):
    """Estimates of the two parts of z = alpha data + sigma noise, which add up to z."""

    data: Event
    noise: Event


@runtime_checkable
class Denoises(Protocol):
    """Predicts an event and its noise from a noisy event."""

    def __call__(self, z: Event, gamma: Level, cond: PyTree = None) -> Prediction: ...


Parametrization = Callable[[Event, Event, Level], Prediction]
"""(a network's output, z, gamma) -> the prediction that it stands for."""


def predicts_noise(output: Event, z: Event, gamma: Level) -> Prediction:
    """The output is the noise. Source: Ho, Jain & Abbeel (2020), arXiv:2006.11239, equation 11."""
    return Prediction((z - kernel.sigma(gamma) * output) / kernel.alpha(gamma), output)


def predicts_data(output: Event, z: Event, gamma: Level) -> Prediction:
    """The output is the event."""
    return Prediction(output, (z - kernel.alpha(gamma) * output) / kernel.sigma(gamma))


def predicts_velocity(output: Event, z: Event, gamma: Level) -> Prediction:
    """The output is alpha noise - sigma data; an output of zero is right for data of N(0, I).

    Source: Salimans & Ho (2022), arXiv:2202.00512, section 4.
    """
    alpha, sigma = kernel.alpha(gamma), kernel.sigma(gamma)
    return Prediction(alpha * z - sigma * output, sigma * z + alpha * output)


class Denoiser(nnx.Module):
    """A network (z, gamma, cond) -> output of z's shape, and what its output stands for.

    All parametrizations give the same bound for the same prediction; they differ in what a network
    finds easy, and in their numbers near the ends, where one of the two parts is nearly z itself.
    """

    def __init__(
        self,
        network: Callable[[Event, Level, PyTree], Array],
        parametrization: Parametrization = predicts_velocity,
    ):
        self.network, self.parametrization = network, parametrization

    def __call__(self, z: Event, gamma: Level, cond: PyTree = None) -> Prediction:
        output = self.network(z, gamma, cond)
        if output.shape != z.shape:
            raise ValueError(
                f"A denoiser's network must give an output of its event's shape {z.shape}, got "
                f"{output.shape}."
            )
        return self.parametrization(output, z, gamma)
