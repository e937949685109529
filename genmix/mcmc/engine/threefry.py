"""Threefry-2x32, bit for bit the generator behind `jax.random`, as straight-line code that fuses.

JAX's own is a primitive, on CPUs a loop, with which XLA fuses nothing. Here a number is a function
of a stream (two words), and a counter (two words): it may be drawn alone, in blocks or on another
device, and is the same. `bits(stream, 0, i)` is entry i of `jax.random.bits` with the key whose
data are the stream, for arrays of fewer than 2**32 entries; so are `uniform` and `normal`.

JAX makes one number of the two words that a counter gives. `uniforms` and `normals` make two, as
the parts of a complex number, which XLA computes in one pass: 2 and 2.4 times as fast.

Source: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3, section 3; Box & Muller
(1958), Annals of Mathematical Statistics 29(2), for `normals`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Complex, Float, UInt, UInt32

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


def uniforms(stream: Stream, high: Counter, low: Counter, dtype: jnp.dtype) -> Complex[Array, "*n"]:
    """Two uniform numbers in [0, 1) for each counter, one a part; `dtype` is that of a part."""
    if _checked(dtype) == jnp.float64:
        return _parts(uniform, stream, high, low, dtype)
    x, y = words(stream, high, low)
    return lax.complex(_unit(x, dtype), _unit(y, dtype))


def normals(stream: Stream, high: Counter, low: Counter, dtype: jnp.dtype) -> Complex[Array, "*n"]:
    """Two standard normal numbers for each counter, one a part; `dtype` is that of a part."""
    if _checked(dtype) == jnp.float64:
        return _parts(normal, stream, high, low, dtype)
    x, y = words(stream, high, low)
    # 31 bits, so that tails reach 6.7 deviations
    u = (lax.convert_element_type(x >> np.uint32(1), jnp.int32).astype(dtype) + 0.5) * 2.0**-31
    radius = jnp.sqrt(-2 * jnp.log(u))
    cosine, sine = _on_circle(y, dtype)
    return lax.complex(radius * cosine, radius * sine)


def _parts(draw, stream, high, low, dtype) -> Array:
    """A double takes both words of a counter, so two of them take two."""
    high = np.uint32(2) * high
    return lax.complex(
        draw(stream, high, low, dtype), draw(stream, high + np.uint32(1), low, dtype)
    )


def _on_circle(word: Array, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Cosine and sine of word / 2**32 of a turn; error below 1e-6.

    The first two bits are the quadrant, the rest an angle of at most an eighth of a turn from its
    middle, for which Taylor polynomials suffice.
    """
    angle = (_unit(word << np.uint32(2), dtype) - 0.5) * np.array(np.pi / 2, dtype)
    square = angle**2
    cosine = _taylor(square, (1.0, -1 / 2, 1 / 24, -1 / 720, 1 / 40320), dtype)
    sine = angle * _taylor(square, (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880), dtype)
    quadrant = word >> np.uint32(30)
    is_odd = (quadrant & np.uint32(1)) == 1
    sign = jnp.where(quadrant >= 2, np.array(-1, dtype), np.array(1, dtype))
    return sign * jnp.where(is_odd, -sine, cosine), sign * jnp.where(is_odd, cosine, sine)


def _taylor(x: Array, coefficients: tuple[float, ...], dtype: jnp.dtype) -> Array:
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + np.array(coefficient, dtype)
    return total


def _uniform(stream, high, low, dtype, lowest, highest) -> Array:
    dtype = _checked(dtype or jnp.result_type(float))
    unit = _unit(bits(stream, high, low, width=jnp.finfo(dtype).bits), dtype)
    lowest, highest = np.array(lowest, dtype), np.array(highest, dtype)
    return lax.max(jnp.broadcast_to(lowest, unit.shape), unit * (highest - lowest) + lowest)


def _checked(dtype: Any) -> jnp.dtype:
    dtype = jnp.dtype(dtype)
    if dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"dtype must be float32 or float64, got {dtype}.")
    return dtype


def _unit(bits: Array, dtype: jnp.dtype) -> Array:
    """A number in [0, 1) from as many leading bits as a mantissa has."""
    info = jnp.finfo(dtype)
    one = np.array(1, dtype)
    mantissa = bits >> np.array(info.bits - info.nmant, bits.dtype)
    return lax.bitcast_convert_type(mantissa | one.view(bits.dtype), dtype) - one
