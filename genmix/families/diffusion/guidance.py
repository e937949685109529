"""A denoiser that is pushed further towards its condition than it would go by itself."""

from flax import nnx
from jaxtyping import PyTree

from genmix.families.diffusion.denoiser import Denoises, Prediction
from genmix.families.diffusion.gaussian_kernel import Event, Level


class Guided(nnx.Module):
    """(1 + weight) times the prediction with the condition, minus weight times that without.

    What is drawn has the density p(z) p(cond | z)^(1 + weight) at each level of noise, which is not
    that of a diffusion: use it in samplers. Train the denoiser with its condition replaced by
    `nothing` now and then.

    Args:
        denoiser: asked twice.
        weight: 0 changes nothing.
        nothing: the condition that stands for none, such as a class of zeros.

    Source: Ho & Salimans (2022), arXiv:2207.12598, equation 6.
    """

    def __init__(self, denoiser: Denoises, weight: float, nothing: PyTree):
        if nothing is None:
            raise ValueError(
                "Guided needs the condition that stands for none, got None: pass the one that it "
                "was trained with, such as an array of zeros."
            )
        self.denoiser, self.weight, self.nothing = denoiser, weight, nnx.Variable(nothing)

    def __call__(self, z: Event, gamma: Level, cond: PyTree = None) -> Prediction:
        if cond is None:
            raise ValueError("Guided needs a condition to guide to: pass cond, got None.")
        given = self.denoiser(z, gamma, cond)
        free = self.denoiser(z, gamma, self.nothing.get_value())
        return Prediction(*(a + self.weight * (a - b) for a, b in zip(given, free, strict=True)))
