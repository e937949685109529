"""Bit for bit the numbers of `jax.random`, in whatever blocks and layouts they are drawn."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.mcmc.engine import noise, threefry
from genmix.mcmc.engine.noise import Noise

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


@partial(jax.jit, static_argnames="chains_last")
def numbers_of_steps(pairs, chains, *, chains_last=False):
    """All noise of pairs of steps: leaves [steps, ...]."""
    block = noise.block(data(), pairs, chains, SPEC, chains_last=chains_last)
    steps = jnp.arange(2 * pairs.size, dtype=jnp.int32)
    return jax.vmap(lambda step: noise.at(block, SPEC, step))(steps)


def test_noise_does_not_depend_on_how_it_is_drawn():
    """A number is a function of stream, step, chain and place."""
    pairs, chains = jnp.arange(5, 9, dtype=jnp.uint32), jnp.arange(7, dtype=jnp.uint32)
    all = numbers_of_steps(pairs, chains)
    assert all.normal["a"].shape == (8, 7, 2, 3)
    assert all.normal["b"].shape == (8, 7)
    assert all.uniform.shape == (8, 7, 2)
    last = numbers_of_steps(pairs, chains, chains_last=True)
    part = numbers_of_steps(pairs[2:3], chains[3:5])
    for whole, turned, some in zip(*map(jax.tree.leaves, (all, last, part)), strict=True):
        np.testing.assert_array_equal(jnp.moveaxis(turned, -1, 1), whole)
        np.testing.assert_array_equal(some, whole[4:6, 3:5])


def test_noise_is_of_its_distributions_and_has_no_repeats():
    """Kolmogorov-Smirnov over steps, chains and places; false alarm 1e-4, the key is fixed."""
    pairs, chains = jnp.arange(20, dtype=jnp.uint32), jnp.arange(50, dtype=jnp.uint32)
    drawn = numbers_of_steps(pairs, chains)
    normal = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(drawn.normal)])
    assert stats.kstest(normal, "norm").pvalue > 1e-4
    assert stats.kstest(np.ravel(drawn.uniform), "uniform").pvalue > 1e-4
    # 14,000 draws of 2^23 values: 12 pairs are equal by chance; a reused counter gives thousands
    assert len(np.unique(normal)) > len(normal) - 40
    one = noise.draw(key(), SPEC)
    assert [leaf.shape for leaf in jax.tree.leaves(one)] == [(2, 3), (), (2,)]


def test_shared_noise_is_one_for_all_chains():
    spec = SPEC._replace(shared=jax.ShapeDtypeStruct((2,), jnp.dtype("float32")))
    pairs = jnp.arange(400, dtype=jnp.uint32)
    steps = jnp.arange(2 * pairs.size, dtype=jnp.int32)

    def drawn(pairs, num_chains, chains_last):
        chains = jnp.arange(num_chains, dtype=jnp.uint32)
        block = noise.block(data(), pairs, chains, spec, chains_last=chains_last)
        return jax.vmap(lambda step: noise.at(block, spec, step))(steps[: 2 * pairs.size])

    few, many = drawn(pairs, 1, False), drawn(pairs[2:4], 7, True)
    assert few.shared.shape == (800, 2)
    np.testing.assert_array_equal(many.shared, few.shared[4:8])
    assert stats.kstest(np.ravel(few.shared), "uniform").pvalue > 1e-4
    assert len(np.unique(np.concatenate([few.shared.ravel(), few.uniform.ravel()]))) > 3150
    assert noise.draw(key(), spec).shared.shape == (2,)


PAIRS = threefry.normals, threefry.uniforms


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_numbers_of_a_counter_are_independent_standard_normals(dtype):
    """Kolmogorov-Smirnov of each, of the squared radius and of the angle; of uniforms likewise.

    False alarm 1e-4 each, the key is fixed; a correlation of 2^18 pairs has the error 0.002.
    """
    index = jnp.arange(2**18, dtype=jnp.uint32)
    with jax.enable_x64(dtype == "float64"):
        both = lambda d: [f(d, ZERO, index, jnp.dtype(dtype)) for f in PAIRS]
        drawn: list[Any] = [np.asarray(pairs) for pairs in jax.jit(both)(data())]
    normal, uniform = drawn
    assert normal.real.dtype == uniform.real.dtype == dtype
    for part in (normal.real, normal.imag):
        assert stats.kstest(part, "norm").pvalue > 1e-4
        tail = np.sum(np.abs(part) > 3.5)  # 122 expected, deviation 11
        assert abs(tail - 2**18 * 2 * stats.norm.sf(3.5)) < 4.5 * 11.1
    assert stats.kstest(np.abs(normal) ** 2, "expon", (0, 2)).pvalue > 1e-4
    assert stats.kstest(np.angle(normal), "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-4
    for part in (uniform.real, uniform.imag):
        assert stats.kstest(part, "uniform").pvalue > 1e-4
        assert part.min() >= 0
        assert part.max() < 1
    for both in (normal, uniform):
        assert abs(np.corrcoef(both.real, both.imag)[0, 1]) < 0.009


def test_points_on_the_circle_are_exact_to_single_precision():
    words = np.random.default_rng(0).integers(0, 2**32, 100_000, np.uint64).astype(np.uint32)
    on_circle = jax.jit(lambda w: threefry._on_circle(w, jnp.dtype("float32")))
    cosine, sine = on_circle(jnp.asarray(words))
    # quarters begin where their middle, an eighth of a turn, is subtracted
    turn = 2 * np.pi * (words.astype(np.float64) / 2**32) - np.pi / 4
    np.testing.assert_allclose(cosine, np.cos(turn), atol=1e-6)
    np.testing.assert_allclose(sine, np.sin(turn), atol=1e-6)


def test_normal_numbers_are_finite_at_the_ends_of_their_words(monkeypatch):
    ends = jnp.array([0, 1, 2**31, 2**32 - 1], jnp.uint32)
    first, second = jnp.repeat(ends, 4), jnp.tile(ends, 4)
    monkeypatch.setattr(threefry, "words", lambda *_: (first, second))
    drawn = jax.jit(lambda d: threefry.normals(d, ZERO, INDEX[:16], jnp.dtype("float32")))(data())
    assert bool(jnp.all(jnp.isfinite(jnp.abs(drawn))))
    assert float(jnp.max(jnp.abs(drawn))) == pytest.approx(6.66, abs=0.01)
