from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.families import StyleBased
from genmix.nets import state, style
from genmix.objectives.comparison import data, per_event


def generator(kind: Any = "modulated", shape=(7, 5, 3), **options):
    rngs = nnx.Rngs(0)
    mapping = style.Mapping(4, 6, num_layers=2, rngs=rngs)
    synthesis = style.Synthesis(6, (5, 4, 3), shape, kind=kind, rngs=rngs)
    for layer in synthesis.layers:
        layer.strength[...] = jnp.array(0.3)
    return StyleBased(mapping, synthesis, latent=4, **options)


@pytest.mark.parametrize("kind", ["modulated", "adain"])
def test_mixing_at_layer_0_is_the_second_style_and_beyond_the_last_the_first(kind):
    part, keys = generator(kind), jax.random.split(jax.random.key(0))
    first, second = (part.style(jax.random.normal(key, (4,))) for key in keys)
    image = jax.jit(lambda a, b, layer: part.image(jax.random.key(1), part.mixed(a, b, layer)))
    alone = lambda w: image(w, w, 0)
    np.testing.assert_array_equal(image(first, second, 0), alone(second))
    np.testing.assert_array_equal(image(first, second, 5), alone(first))
    assert np.any(image(first, second, 2) != alone(first))
    assert np.any(image(first, second, 2) != alone(second))
    assert alone(first).shape == (7, 5, 3)


def test_truncation_at_0_is_constant_but_for_the_noise_and_at_1_nothing():
    part = state.evaluating(generator())
    part.mean_style[...] = jax.random.normal(jax.random.key(5), (6,))
    z = jax.random.normal(jax.random.key(0), (3, 4))
    draw = lambda part: jax.vmap(
        lambda z: part.image(jax.random.key(1), part.mixed(part.style(z), part.style(z), 0))
    )(z)
    constant = np.asarray(draw(part.truncated(0.0)))
    np.testing.assert_array_equal(constant[0], constant[1])
    np.testing.assert_array_equal(constant[0], constant[2])
    np.testing.assert_array_equal(draw(part.truncated(1.0)), draw(part))
    mean = part.mean_style[...][None]
    half, whole = jax.vmap(part.truncated(0.5).style)(z), jax.vmap(part.style)(z)
    np.testing.assert_allclose(half - mean, 0.5 * (whole - mean), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"the generator is truncated already, at 0.5"):
        part.truncated(0.5).truncated(0.5)


def test_the_running_mean_moves_in_training_alone():
    part = generator(mean_decay=0.9)
    x = jnp.zeros((8, 7, 5, 3))
    _, found = per_event(data.draw, part, jax.random.key(0), x)
    (path,) = found
    assert path == "mean_style"
    assert np.any(found[path] != 0)
    _, found = per_event(data.draw, state.evaluating(part), jax.random.key(0), x)
    np.testing.assert_array_equal(found[path], 0)


def test_an_evaluated_generator_has_one_style():
    """All layers have one style, so the image is one of those without mixing."""
    part = state.evaluating(generator(mixing=1.0))
    plain = state.evaluating(generator(mixing=0.0))
    draw = lambda part: state.fresh(part).sample(jax.random.key(3))
    np.testing.assert_array_equal(draw(part), draw(plain))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"mixing must be in .0, 1., got 2"):
        generator(mixing=2.0)
    with pytest.raises(ValueError, match="Synthesis needs styles of shape"):
        generator().image(jax.random.key(0), jnp.zeros((2, 6)))
