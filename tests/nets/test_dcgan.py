import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import DCGANCritic, DCGANGenerator, state


def generator(shape=(8, 8, 1), channels=(4, 3), **options):
    return DCGANGenerator(5, channels, shape, rngs=nnx.Rngs(0), **options)


def critic(shape=(8, 8, 1), channels=(3, 4), **options):
    return DCGANCritic(shape, channels, rngs=nnx.Rngs(0), **options)


def hidden_layers(network):
    assert network.hidden is not None
    return network.hidden.layers


@jax.jit
def over_batch(network, x):
    """Outputs, and the network with the statistics that the batch left."""

    def one(x):
        copy = state.fresh(network)
        return copy(x), state.batch_statistics(copy)

    y, statistics = jax.vmap(one, axis_name="batch")(x)
    return y, state.with_variables(network, {n: v[0] for n, v in statistics.items()})


@pytest.mark.parametrize(
    ("shape", "channels"), [((8, 8, 1), (4, 3)), ((28, 28, 1), (4, 3)), ((32, 32, 3), (5, 4, 3))]
)
def test_from_vectors_to_images_to_scores(shape, channels):
    z = jax.random.normal(jax.random.key(0), (6, 5))
    x = jax.eval_shape(lambda z: over_batch(generator(shape, channels), z)[0], z)
    assert x.shape == (6, *shape)
    network = critic(shape, channels[::-1])
    assert jax.eval_shape(lambda x: over_batch(network, x)[0], x).shape == (6,)


def test_a_hidden_layer_lies_between_vector_and_image():
    """Its statistics are kept too, and without normalization there are none."""
    z = jax.random.normal(jax.random.key(0), (64, 5))
    network = generator(hidden=7)
    y, trained = over_batch(network, z)
    before, after = map(hidden_layers, (network, trained))
    h = jax.vmap(before[0])(z)
    np.testing.assert_allclose(after[1].mean[...], 0.1 * jnp.mean(h, axis=0), atol=1e-6)
    above = generator()
    above.in_size, above.linear, above.norms = 7, network.linear, network.norms
    above.convolutions = network.convolutions
    centred = h - jnp.mean(h, axis=0, keepdims=True)
    normalized = centred / jnp.sqrt(jnp.var(h, axis=0, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y, over_batch(above, jax.nn.relu(normalized))[0], atol=1e-5)
    plain = critic(hidden=6, batch_norm=False)
    x = jax.random.normal(jax.random.key(1), (8, 8, 1))
    assert plain.features(x).shape == (6,)
    assert not state.batch_statistics(plain)
    below = critic(batch_norm=False)
    below.convolutions = plain.convolutions
    h = hidden_layers(plain)[0](below.features(x))
    np.testing.assert_allclose(plain.features(x), jax.nn.leaky_relu(h, 0.2), rtol=1e-5)


def test_statistics_are_those_of_the_batch_and_serve_single_events():
    """With a momentum of 0.9 the mean goes a tenth of the way; then it is used as it is."""
    network = generator()
    z = jax.random.normal(jax.random.key(0), (64, 5))
    h = jax.vmap(network.linear)(z).reshape(64, *network.coarse)
    x, trained = over_batch(network, z)
    assert jnp.all(jnp.abs(x) < 1)
    np.testing.assert_allclose(trained.norms[0].mean[...], 0.1 * jnp.mean(h, (0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(
        trained.norms[0].var[...], 0.9 + 0.1 * jnp.var(h, (0, 1, 2)), rtol=1e-5
    )
    frozen = state.evaluating(trained)
    np.testing.assert_allclose(jax.vmap(frozen)(z[:2])[0], frozen(z[0]), rtol=1e-4, atol=1e-6)


def test_without_batch_normalization_events_are_alone():
    x = jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    network = critic(batch_norm=False)
    np.testing.assert_allclose(jax.vmap(network)(x)[1], network(x[1]), rtol=1e-3, atol=1e-6)
    assert not state.batch_statistics(network)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: generator((8, 6, 1)), r"must be multiples of 4, got \(8, 6, 1\)"),
        (lambda: generator(channels=()), "DCGANGenerator needs positive sizes"),
        (lambda: critic(channels=(3, 0)), "DCGANCritic needs positive sizes"),
        (lambda: generator(hidden=0), "DCGANGenerator needs .* hidden 0"),
        (lambda: critic(hidden=0), "DCGANCritic needs .* hidden 0"),
        (lambda: generator()(jnp.zeros(4)), "one vector of 5 entries, got shape"),
        (lambda: critic()(jnp.zeros((8, 8, 3))), "expects one event of shape"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
