"""Threefry-2x32, bit for bit the generator behind `jax.random`, as straight-line code that fuses.

JAX's own is a primitive, on CPUs a loop, with which XLA fuses nothing. Here a number is a function
of a stream (two words), and a counter (two words): it may be drawn alone, in blocks or on another
device, and is the same. `bits(stream, 0, i)` is entry i of `jax.random.bits` with the key whose
data are the stream, for arrays of fewer than 2**32 entries; so are `uniform` and `normal`.

Source: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3, section 3.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, UInt, UInt32

Stream = UInt32[Array, "2"]
Counter = UInt32[ArrayLike, "*#n"]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def stream(key: Array) -> Stream:
    """A stream of its own for a key, which is used up."""
    return jax.random.bits(key, (2,), jnp.uint32)


def words(
    stream: Stream, high: Counter, low: Counter
) -> tuple[UInt32[Array, "*n"], UInt32[Array, "*n"]]:
    """Two random words for each counter."""
    first, second = stream
    schedule = (first, second, first ^ second ^ _PARITY)
    x, y = jnp.broadcast_arrays(high + first, low + second)
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation)))
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def bits(stream: Stream, high: Counter, low: Counter, *, width: int = 32) -> UInt[Array, "*n"]:
    """Random bits for each counter, 32 or 64 of them (64 only where x64 is on).

    Raises:
        ValueError: for another width, or 64 with x64 off.
    """
    if width == 32:
        x, y = words(stream, high, low)
        return x ^ y
    if width != 64 or not jax.config.read("jax_enable_x64"):
        raise ValueError(f"width must be 32, or 64 with x64 on, got {width}.")
    x, y = words(stream, high, low)
    return (x.astype(jnp.uint64) << np.uint64(32)) | y.astype(jnp.uint64)


def uniform(
    stream: Stream, high: Counter, low: Counter, dtype: jnp.dtype | None = None
) -> Float[Array, "*n"]:
    """A uniform number in [0, 1) for each counter; of the default float type, if none is given."""
    return _uniform(stream, high, low, dtype, 0.0, 1.0)


def normal(
    stream: Stream, high: Counter, low: Counter, dtype: jnp.dtype | None = None
) -> Float[Array, "*n"]:
    """A standard normal number for each counter; of the default float type, if none is given."""
    dtype = jnp.dtype(dtype or jnp.result_type(float))
    lowest = np.nextafter(np.array(-1, dtype), np.array(0, dtype))
    u = _uniform(stream, high, low, dtype, lowest, 1.0)
    return lax.erf_inv(u) * np.array(np.sqrt(2), dtype)


def _uniform(stream, high, low, dtype, lowest, highest) -> Array:
    dtype = jnp.dtype(dtype or jnp.result_type(float))
    if dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype}.")
    info = jnp.finfo(dtype)
    random = bits(stream, high, low, width=info.bits)
    one = np.array(1, dtype).view(random.dtype)
    mantissa = random >> np.array(info.bits - info.nmant, random.dtype)
    unit = lax.bitcast_convert_type(mantissa | one, dtype) - np.array(1, dtype)
    lowest, highest = np.array(lowest, dtype), np.array(highest, dtype)
    return lax.max(jnp.broadcast_to(lowest, unit.shape), unit * (highest - lowest) + lowest)
