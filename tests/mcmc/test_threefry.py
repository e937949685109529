"""Bit for bit the numbers of `jax.random`, in whatever blocks and layouts they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.mcmc import noise, threefry
from genmix.mcmc.noise import Noise

NUM = 10_007
INDEX = jnp.arange(NUM, dtype=jnp.uint32)
ZERO = np.uint32(0)


def key():
    return jax.random.key(2**31 + 5)


def data():
    return jax.random.key_data(key())


def test_bits_are_those_of_jax():
    got = jax.jit(lambda d: threefry.bits(d, ZERO, INDEX))(data())
    np.testing.assert_array_equal(got, jax.random.bits(key(), (NUM,)))


@pytest.mark.usefixtures("x64")
def test_bits_of_double_width_are_those_of_jax():
    got = jax.jit(lambda d: threefry.bits(d, ZERO, INDEX, width=64))(data())
    np.testing.assert_array_equal(got, jax.random.bits(key(), (NUM,), jnp.uint64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["uniform", "normal"])
def test_real_numbers_are_those_of_jax(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        ours, theirs = getattr(threefry, name), getattr(jax.random, name)
        got = jax.jit(lambda d: ours(d, ZERO, INDEX, jnp.dtype(dtype)))(data())
        np.testing.assert_array_equal(got, theirs(key(), (NUM,), dtype))


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match="width must be 32, or 64 with x64 on, got 16"):
        threefry.bits(data(), ZERO, INDEX, width=16)
    with pytest.raises(ValueError, match="dtype must be float32 or float64, got bfloat16"):
        threefry.normal(data(), ZERO, INDEX, jnp.dtype("bfloat16"))


SPEC = Noise(
    normal={
        "a": jax.ShapeDtypeStruct((2, 3), jnp.dtype("float32")),
        "b": jax.ShapeDtypeStruct((), jnp.dtype("float32")),
    },
    uniform=jax.ShapeDtypeStruct((2,), jnp.dtype("float32")),
)


def test_noise_does_not_depend_on_how_it_is_drawn():
    """A number is a function of stream, step, chain and place."""
    steps, chains = jnp.arange(5, 9, dtype=jnp.uint32), jnp.arange(7, dtype=jnp.uint32)
    all = noise.block(data(), steps, chains, SPEC)
    assert all.normal["a"].shape == (4, 7, 2, 3)
    assert all.normal["b"].shape == (4, 7)
    assert all.uniform.shape == (4, 7, 2)
    last = noise.block(data(), steps, chains, SPEC, chains_last=True)
    part = noise.block(data(), steps[2], chains[3:5], SPEC)
    for whole, turned, some in zip(*map(jax.tree.leaves, (all, last, part)), strict=True):
        np.testing.assert_array_equal(jnp.moveaxis(turned, -1, 1), whole)
        np.testing.assert_array_equal(some, whole[2, 3:5])


def test_noise_is_of_its_distributions_and_has_no_repeats():
    """Kolmogorov-Smirnov over steps, chains and places; false alarm 1e-4, the key is fixed."""
    steps, chains = jnp.arange(40, dtype=jnp.uint32), jnp.arange(50, dtype=jnp.uint32)
    drawn = noise.block(data(), steps, chains, SPEC)
    normal = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(drawn.normal)])
    assert stats.kstest(normal, "norm").pvalue > 1e-4
    assert stats.kstest(np.ravel(drawn.uniform), "uniform").pvalue > 1e-4
    # 14,000 draws of 2^23 values: 12 pairs are equal by chance; a reused counter gives thousands
    assert len(np.unique(normal)) > len(normal) - 40
    one = noise.draw(key(), SPEC)
    assert [leaf.shape for leaf in jax.tree.leaves(one)] == [(2, 3), (), (2,)]
