"""Convolutional encoder and decoder against plain loops, and the shapes they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import ConvDecoder, ConvEncoder, state

SHAPES = [(8, 8, 1), (28, 28, 1), (28, 28, 3), (28, 20, 1)]


def encoder(shape, channels=(4, 6), out_size=5):
    return ConvEncoder(shape, channels, out_size, rngs=nnx.Rngs(0))


def decoder(shape, channels=(6, 4), in_size=5):
    return ConvDecoder(in_size, channels, shape, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("shape", SHAPES)
def test_from_image_to_vector_and_back(shape):
    x = jax.random.normal(jax.random.key(0), (2, *shape))
    encode, decode = encoder(shape), decoder(shape)
    z = jax.jit(jax.vmap(encode))(x)
    assert z.shape == (2, 5)
    np.testing.assert_allclose(z[1], jax.jit(encode)(x[1]), rtol=1e-4, atol=1e-6)
    y = jax.jit(jax.vmap(decode))(z)
    assert y.shape == (2, *shape)
    np.testing.assert_allclose(y[1], jax.jit(decode)(z[1]), rtol=1e-4, atol=1e-6)


def test_the_encoder_is_what_it_says():
    """One 3x3 convolution of stride 2 with zeros around the image, relu, a linear layer."""
    network = encoder((4, 6, 2), channels=(3,), out_size=2)
    biased = {"convolutions.0.bias": jnp.array([0.3, -0.2, 0.1]), "out.bias": jnp.ones(2)}
    network = state.with_variables(network, biased)
    kernel = np.asarray(network.convolutions[0].kernel[...], float)
    x = np.asarray(jax.random.normal(jax.random.key(1), (4, 6, 2)), float)
    # An even side of stride 2 is padded at its end alone.
    padded = np.pad(x, ((0, 1), (0, 1), (0, 0)))
    h = np.zeros((2, 3, 3))
    bias = np.array([0.3, -0.2, 0.1])
    for i in range(2):
        for j in range(3):
            patch = padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            h[i, j] = np.tensordot(patch, kernel, axes=3) + bias
    expected = np.maximum(h, 0).reshape(-1) @ np.asarray(network.out.kernel[...], float) + 1
    np.testing.assert_allclose(network(jnp.asarray(x, jnp.float32)), expected, rtol=1e-4)


def test_the_decoder_is_what_it_says():
    """A linear layer, relu, and each coarse pixel adds its 4x4 patch to the finer image."""
    network = decoder((4, 6, 2), channels=(3,), in_size=2)
    network = state.with_variables(network, {"convolutions.0.bias": jnp.array([0.3, -0.2])})
    kernel = np.asarray(network.convolutions[0].kernel[...], float)
    z = jnp.array([0.7, -1.2])
    h = np.maximum(np.asarray(network.linear(z), float), 0).reshape(2, 3, 3)
    canvas = np.zeros((2 * 2 + 2, 2 * 3 + 2, 2))
    for i in range(2):
        for j in range(3):
            # JAX's transposed convolution slides the kernel as it is, so patches are its mirror.
            patch = np.tensordot(h[i, j], kernel[::-1, ::-1], axes=(0, 2))
            canvas[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += patch
    expected = canvas[1:-1, 1:-1] + [0.3, -0.2]
    np.testing.assert_allclose(network(z), expected, rtol=1e-4, atol=1e-5)


def test_every_pixel_is_seen_and_drawn():
    x = jax.random.normal(jax.random.key(0), (8, 8, 1))
    seen = jax.jit(jax.jacrev(encoder((8, 8, 1), (16, 32))))(x)
    assert jnp.all(jnp.any(seen != 0, axis=0))
    drawn = jax.jit(jax.jacfwd(decoder((8, 8, 1), (32, 16))))(jnp.ones(5))
    assert jnp.all(jnp.any(drawn != 0, axis=-1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: encoder((8, 8)), r"ConvEncoder needs images \[height, width, channels\], got"),
        (lambda: encoder((8, 6, 1)), r"sides must be multiples of 4, got \(8, 6, 1\)"),
        (lambda: decoder((28, 28, 1), (8, 8, 8)), r"here 3, so its sides must be multiples of 8"),
        (lambda: encoder((8, 8, 1), out_size=0), "ConvEncoder needs positive sizes, got channels"),
        (lambda: encoder((8, 8, 1), (4, 0)), "ConvEncoder needs positive sizes, got channels"),
        (lambda: decoder((8, 8, 1), ()), "ConvDecoder needs positive sizes and at least one layer"),
        (lambda: decoder((8, 8, 1), in_size=0), "ConvDecoder needs positive sizes and at least"),
        (lambda: encoder((8, 8, 1))(jnp.zeros((2, 8, 8))), "expects one event of shape"),
        (lambda: encoder((8, 8, 1))(jnp.zeros((8, 8, 3))), "for a batch use jax.vmap"),
        (lambda: decoder((8, 8, 1))(jnp.zeros(4)), "expects one vector of 5 entries, got shape"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
