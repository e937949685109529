"""Two-dimensional flows are probability densities: they integrate to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import bijectors as bij
from genmix.families.explicit.standard_normal import StandardNormal
from genmix.families.flow import transformed
from tests.bijectors.table import SPLINE, coupling, made, perturbed


def masked(transformer):
    return bij.masked_autoregressive(made(transformer.num_parameters, dim=2), transformer)


def inverse_autoregressive(transformer):
    return bij.inverse_autoregressive(made(transformer.num_parameters, dim=2), transformer)


def pair(transformer):
    layer = lambda: coupling(transformer, dim=2, split=1)
    return bij.chain([layer(), bij.Reverse(), layer()])


DENSITIES = {
    "triangular affine": lambda: bij.TriangularAffine(2),
    "radial": lambda: bij.Radial(2, rngs=nnx.Rngs(0)),
    "householder": lambda: bij.Householder(2, 1, rngs=nnx.Rngs(0)),
    "linear convolution": lambda: bij.InvertibleConvolution(2, rngs=nnx.Rngs(0)),
    "additive coupling": lambda: pair(bij.Shift()),
    "affine coupling": lambda: pair(bij.ShiftScale()),
    "spline coupling": lambda: pair(SPLINE),
    "masked autoregressive": lambda: masked(bij.ShiftScale()),
    "autoregressive spline": lambda: masked(SPLINE),
    "gated inverse autoregressive": lambda: inverse_autoregressive(bij.Gate()),
    "neural autoregressive": lambda: bij.inverse(inverse_autoregressive(bij.DeepSigmoid())),
    "planar": lambda: bij.inverse(bij.Planar(2, rngs=nnx.Rngs(0))),
    "orthogonal sylvester": lambda: bij.inverse(bij.OrthogonalSylvester(2, 2, rngs=nnx.Rngs(0))),
    "householder sylvester": lambda: bij.inverse(bij.HouseholderSylvester(2, 1, rngs=nnx.Rngs(0))),
    "triangular sylvester": lambda: bij.inverse(bij.TriangularSylvester(2, rngs=nnx.Rngs(0))),
    "repeated": lambda: bij.repeated(
        [bij.chain([masked(bij.ShiftScale()), bij.Reverse()]) for _ in range(3)]
    ),
}


def integral(flow, low, high, num_points=401):
    """Sum over the midpoints of a square grid."""
    step = (high - low) / num_points
    line = low + step * (jnp.arange(num_points) + 0.5)
    grid = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)
    return jnp.sum(jnp.exp(jax.vmap(flow.log_prob)(grid))) * step**2


@pytest.mark.parametrize("name", DENSITIES)
def test_densities_integrate_to_one(name):
    @jax.jit
    def run():
        return integral(transformed(StandardNormal(2), perturbed(DENSITIES[name]())), -12, 12)

    np.testing.assert_allclose(run(), 1.0, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("bijector", "low"), [(bij.Sigmoid(), 0), (bij.Tanh(), -1)])
def test_densities_on_a_square_integrate_to_one(bijector, low):
    # Narrow, since a wide base has peaks at the edges that no grid resolves.
    narrow = perturbed(bij.TriangularAffine(2), -0.5)
    flow = transformed(StandardNormal(2), bij.chain([narrow, bijector]))
    np.testing.assert_allclose(integral(flow, low, 1), 1.0, rtol=0, atol=1e-3)
    assert integral(flow, 1.01, 2.0) == 0
