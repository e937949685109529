"""Every bijector, in double precision, with parameters away from their start."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from genmix import bijectors as bij
from genmix.nets import MLP
from genmix.nets.made import MADE

DIM = 4
IMAGE = (4, 4, 2)


def perturbed(bijector, scale=0.3):
    """Copy with other, fixed, values for every parameter."""

    def move(leaf):
        if not isinstance(leaf, nnx.Param):
            return leaf
        value = leaf[...]
        noise = np.sin(np.arange(1, value.size + 1) * 1.7).reshape(value.shape)
        return nnx.Param(value.astype(float) + scale * jnp.asarray(noise))

    return jax.tree.map(move, bijector, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


def made(num_outputs, dim=DIM, **options):
    return MADE(dim, (6,), num_outputs, activation=jnp.tanh, rngs=nnx.Rngs(1), **options)


def coupling(transformer, dim=DIM, split=2, cond_size=0):
    out = (dim - split, transformer.num_parameters)
    network = MLP(split + cond_size, (5,), out, rngs=nnx.Rngs(2))
    return bij.coupling_layer(network, transformer, split=split, cond_size=cond_size)


class Pointwise(nnx.Module):
    """The same linear network at every position of an image."""

    def __init__(self, channels, out_shape):
        self.linear = nnx.LinearGeneral(channels, out_shape, rngs=nnx.Rngs(3))

    def __call__(self, x):
        return jnp.tanh(self.linear(x))


def glow_step(channels):
    transformer, half = bij.ShiftScale(), channels // 2
    return bij.chain(
        [
            bij.coupling_layer(Pointwise(half, (channels - half, 2)), transformer, split=half),
            bij.InvertibleConvolution(channels, rngs=nnx.Rngs(channels)),
            bij.ActNorm(channels),
        ]
    )


SPLINE = bij.RationalQuadratic(num_bins=4, bound=2.0)


def maf():
    return bij.chain([bij.masked_autoregressive(made(2), bij.ShiftScale()), bij.Reverse()])


# name -> (constructor, shape of an event)
BIJECTORS = {
    "affine": (lambda: bij.Affine(DIM), (DIM,)),
    "triangular affine": (lambda: bij.TriangularAffine(DIM), (DIM,)),
    "permutation": (lambda: bij.Permutation((2, 0, 3, 1)), (DIM,)),
    "cyclic shift": (lambda: bij.Permutation((1, 2, 3, 0)), (DIM,)),
    "reverse": (bij.Reverse, (DIM,)),
    "additive coupling": (lambda: coupling(bij.Shift()), (DIM,)),
    "affine coupling": (lambda: coupling(bij.ShiftScale()), (DIM,)),
    "exponential coupling": (
        lambda: coupling(bij.ShiftScale(bij.exponential_scale), split=1),
        (DIM,),
    ),
    "bounded coupling": (lambda: coupling(bij.ShiftScale(bij.bounded_scale)), (DIM,)),
    "spline coupling": (lambda: coupling(SPLINE), (DIM,)),
    "masked autoregressive": (
        lambda: bij.masked_autoregressive(made(2, order=(2, 0, 3, 1)), bij.ShiftScale()),
        (DIM,),
    ),
    "autoregressive spline": (
        lambda: bij.masked_autoregressive(made(SPLINE.num_parameters), SPLINE),
        (DIM,),
    ),
    "inverse autoregressive": (
        lambda: bij.inverse_autoregressive(made(2), bij.ShiftScale()),
        (DIM,),
    ),
    "gated inverse autoregressive": (
        lambda: bij.inverse_autoregressive(made(2), bij.Gate()),
        (DIM,),
    ),
    "neural autoregressive": (
        lambda: bij.inverse_autoregressive(made(9), bij.DeepSigmoid(num_units=3)),
        (DIM,),
    ),
    "planar": (lambda: bij.Planar(DIM, rngs=nnx.Rngs(0)), (DIM,)),
    "radial": (lambda: bij.Radial(DIM, rngs=nnx.Rngs(0)), (DIM,)),
    "householder": (lambda: bij.Householder(DIM, 3, rngs=nnx.Rngs(0)), (DIM,)),
    "orthogonal sylvester": (lambda: bij.OrthogonalSylvester(DIM, 2, rngs=nnx.Rngs(0)), (DIM,)),
    "householder sylvester": (lambda: bij.HouseholderSylvester(DIM, 2, rngs=nnx.Rngs(0)), (DIM,)),
    "triangular sylvester": (lambda: bij.TriangularSylvester(DIM, rngs=nnx.Rngs(0)), (DIM,)),
    "actnorm": (lambda: bij.ActNorm(2), IMAGE),
    "invertible convolution": (lambda: bij.InvertibleConvolution(2, rngs=nnx.Rngs(0)), IMAGE),
    "squeeze": (lambda: bij.inverse(bij.Squeeze()), IMAGE),
    "multiscale": (lambda: bij.multiscale([glow_step(8), glow_step(16)], 2), IMAGE),
    "sigmoid": (lambda: bij.Sigmoid(margin=0.05), (DIM,)),
    "tanh": (bij.Tanh, (DIM,)),
    "chain": (lambda: bij.chain([bij.Radial(DIM, rngs=nnx.Rngs(0)), bij.Affine(DIM)]), (DIM,)),
    "inverse": (lambda: bij.inverse(bij.Radial(DIM, rngs=nnx.Rngs(0))), (DIM,)),
    "repeated": (lambda: bij.repeated([maf() for _ in range(3)], unroll=2), (DIM,)),
}


def make(name):
    """A bijector of the table and an event of its base."""
    constructor, shape = BIJECTORS[name]
    size = int(np.prod(shape))
    x = np.cos(np.arange(size) * 2.3).reshape(shape) + 0.1
    # One compiled call is faster than many small ones.
    return jax.jit(lambda: perturbed(constructor()))(), jnp.asarray(x)
