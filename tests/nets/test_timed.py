"""Networks of a time: TimeFeatures, TimeMLP and UNet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import GroupNorm, TimeFeatures, TimeMLP, UNet, state


def perturbed(network):
    """Layers that start at zero would hide what does not reach the output."""
    values = state.variables(network, nnx.Param)
    keys = jax.random.split(jax.random.key(1), len(values))
    moved = {
        path: value + 0.3 * jax.random.normal(key, value.shape)
        for key, (path, value) in zip(keys, values.items(), strict=True)
    }
    return state.with_variables(network, moved)


def test_time_features():
    features = TimeFeatures(4, span=(0.0, 2.0), num_waves=2.0)
    angle = 2 * np.pi * np.array([0.5, 2.0]) * 0.3
    np.testing.assert_allclose(
        features(jnp.array(0.6)), [*np.sin(angle), *np.cos(angle)], rtol=1e-5
    )


NETWORKS = {
    "TimeMLP": lambda **options: TimeMLP((3,), 8, 2, rngs=nnx.Rngs(0), **options),
    "UNet": lambda **options: UNet((4, 4, 1), (4, 6), rngs=nnx.Rngs(0), **options),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_parameters_and_inputs_count_but_at_the_start(name):
    network = NETWORKS[name](cond_size=2)
    x = jax.random.normal(jax.random.key(0), network.in_shape)

    def output(network, x, time, cond):
        y = network(x, time, cond)
        return jnp.sum(jnp.sin(y)), y

    differentiate = jax.jit(jax.grad(output, (0, 1, 2, 3), has_aux=True))
    inputs = x, jnp.array(0.3), (jnp.array([0.5]), jnp.array(1.0))
    assert not jnp.any(differentiate(network, *inputs)[1])
    (parameters, *others), y = differentiate(perturbed(network), *inputs)
    assert y.shape == network.out_shape
    gradients = state.variables(parameters, nnx.Param)
    assert [path for path, value in gradients.items() if not jnp.any(value)] == []
    assert all(jnp.all(gradient != 0) for gradient in jax.tree.leaves(others))


def test_groups_are_normalized_over_the_whole_image():
    """As by nnx.GroupNorm, of a batch of one."""
    x = jax.random.normal(jax.random.key(0), (5, 4, 6)) * jnp.arange(1.0, 6).reshape(5, 1, 1)
    ours, theirs = GroupNorm(6, 2), nnx.GroupNorm(6, num_groups=2, rngs=nnx.Rngs(0))
    ours.scale[...], ours.shift[...] = jnp.arange(6.0), jnp.arange(6.0) ** 2
    theirs.scale, theirs.bias = nnx.Param(jnp.arange(6.0)), nnx.Param(jnp.arange(6.0) ** 2)
    np.testing.assert_allclose(ours(x), theirs(x[None])[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="num_groups must divide the channels, got 4 for 6"):
        GroupNorm(6, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimeFeatures(3), "even size of at least 2, got 3"),
        (lambda: TimeFeatures(4, span=(1.0, 1.0)), "span that rises"),
        (lambda: NETWORKS["TimeMLP"](out_shape=(0,)), "TimeMLP needs positive sizes"),
        (lambda: NETWORKS["UNet"](cond_size=-1), "UNet needs images"),
        (lambda: UNet((6, 8, 1), (4, 4, 4), rngs=nnx.Rngs(0)), "multiples of 4, got"),
        (lambda: NETWORKS["UNet"](out_shape=(2, 4, 1)), "UNet keeps height and width"),
    ],
)
def test_bad_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", NETWORKS)
def test_bad_inputs_are_refused(name):
    network, time = NETWORKS[name](cond_size=2), jnp.array(0.0)
    with pytest.raises(ValueError, match=f"{name} expects one .* got \\(5,\\)"):
        network(jnp.zeros(5), time)
    with pytest.raises(ValueError, match="cond of 2 entries, got 0"):
        network(jnp.zeros(network.in_shape), time)
