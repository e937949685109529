import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.families import Implicit, RecurrentAdversarial, StandardNormal
from genmix.nets import MLP, Joined


def networks():
    rngs = nnx.Rngs(0)
    return Joined(MLP(5, (4,), (2, 2, 1), rngs=rngs)), MLP((2, 2, 1), (), 2, rngs=rngs)


def painter(**options):
    return RecurrentAdversarial(StandardNormal(3), *networks(), (2, 2, 1), **options)


def test_one_step_is_a_gan():
    decoder, encoder = networks()
    start = encoder(jnp.zeros((2, 2, 1)))
    plain = Implicit(StandardNormal(3), lambda z: jnp.tanh(decoder((z, start))))
    (key,) = jax.random.split(jax.random.key(0), 1)
    expected = plain.sample(key)
    for noise in ("fresh", "same"):
        part = painter(num_steps=1, noise=noise)
        np.testing.assert_allclose(part.sample(jax.random.key(0)), expected, rtol=1e-6)


@pytest.mark.parametrize("noise", ["fresh", "same"])
def test_the_canvas_is_the_sum_of_what_steps_added_and_squashed_once(noise):
    part, (decoder, encoder) = painter(num_steps=3, noise=noise), networks()
    draws = [part.base.sample(key) for key in jax.random.split(jax.random.key(0), 3)]
    canvas = added = jnp.zeros((2, 2, 1))
    film = part.film(jax.random.key(0))
    for t in range(3):
        z = draws[0] if noise == "same" else draws[t]
        added = decoder((z, encoder(added)))
        canvas += added
        np.testing.assert_allclose(film[t], jnp.tanh(canvas), rtol=1e-5)
    np.testing.assert_array_equal(part.sample(jax.random.key(0)), film[-1])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"needs at least 1 step, and noise .* got num_steps 0"):
        painter(num_steps=0)
    with pytest.raises(TypeError, match="cannot be the base of RecurrentAdversarial"):
        RecurrentAdversarial(3, *networks(), (2, 2, 1), num_steps=1)
