"""A diffusion times a factor of normal observations: posteriors, inpainting, denoising."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from genmix.families.diffusion import gaussian_kernel as kernel
from genmix.families.diffusion.denoiser import Denoises, Prediction
from genmix.families.diffusion.gaussian_kernel import Event, Level


class Multiplied(nnx.Module):
    """The denoiser of p(x) r(x) / Z, where r(x) is a product of N(observed_i; x_i, scale^2).

    A denoiser again, so that every sampler draws from the posterior. Given z, the event has mean
    x(z) and covariance C = sigma^2 / alpha dx(z)/dz (Tweedie). Multiplied by r the mean becomes

        x(z) + C mask (observed - x(z)) / (scale^2 + c),

    where c stands for the covariance of what was observed: data_scale^2 sigma^2 / (alpha^2
    data_scale^2 + sigma^2), that of independent normal data. For those the result is exact; for
    other data it becomes so as the noise goes down.

    Sohl-Dickstein et al. multiply p(z_s | z_t) by r(z_s) itself: that draws N(0, I) data times r
    from p r^2 when steps are small, for r should then be what it is expected to be at the end of
    the path.

    Args:
        denoiser: of p(x); a derivative of it is taken at each call.
        observed: array of the event's shape, as the diffusion's decoder encodes events.
        mask: of the same shape, 1 where something was observed and 0 elsewhere.
        scale: standard deviation of the observations; 0 where they are certain, as in inpainting.
        data_scale: standard deviation of the data.

    Raises:
        ValueError: if shapes differ, or a scale is out of range.

    Source: Sohl-Dickstein et al. (2015), arXiv:1503.03585, section 2.5; Song et al. (2023),
    Pseudoinverse-guided diffusion models, ICLR, for the mean.
    """

    def __init__(
        self,
        denoiser: Denoises,
        *,
        observed: Float[Array, "..."],
        mask: Float[Array, "..."],
        scale: float = 0.0,
        data_scale: float = 1.0,
    ):
        if observed.shape != mask.shape:
            raise ValueError(
                f"mask must have the shape of what was observed, {observed.shape}, got "
                f"{mask.shape}."
            )
        if scale < 0 or data_scale <= 0:
            raise ValueError(
                f"scale must not be negative, and data_scale be positive; got {scale} and "
                f"{data_scale}."
            )
        self.denoiser, self.scale, self.data_scale = denoiser, scale, data_scale
        self.observed, self.mask = nnx.Variable(observed), nnx.Variable(mask)

    def __call__(self, z: Event, gamma: Level, cond: PyTree = None) -> Prediction:
        observed, mask = self.observed[...], self.mask[...]
        if z.shape != observed.shape:
            raise ValueError(
                f"Multiplied has a factor for events of shape {observed.shape}, got {z.shape}."
            )
        alpha, sigma = kernel.alpha(gamma), kernel.sigma(gamma)
        data, pull = jax.vjp(lambda z: self.denoiser(z, gamma, cond).data, z)
        spread = (self.data_scale * sigma) ** 2 / ((self.data_scale * alpha) ** 2 + sigma**2)
        # The covariance is symmetric, so that a transposed product is as good and takes one pass.
        (along,) = pull(mask * (observed - data) / (self.scale**2 + spread))
        data = data + sigma**2 / alpha * along
        return Prediction(data, (z - alpha * data) / sigma)


def inpainted(
    drawn: Float[Array, "..."], observed: Float[Array, "..."], mask: Float[Array, "..."]
) -> Float[Array, "..."]:
    """What was drawn, with what is known put in its place.

    Raises:
        ValueError: if shapes differ.
    """
    if not drawn.shape == observed.shape == mask.shape:
        raise ValueError(
            f"inpainting needs three arrays of one shape, got {drawn.shape}, {observed.shape} and "
            f"{mask.shape}."
        )
    return jnp.where(mask > 0, observed, drawn)
