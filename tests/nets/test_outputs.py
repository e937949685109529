"""Networks that a part tells how many numbers it needs for each entry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.densities import normal
from genmix.families import (
    Autoregressive,
    Bernoulli,
    DiscretizedLogistic,
    FullNormal,
    Normal,
    OneHot,
)
from genmix.nets import (
    MADE,
    MLP,
    NADE,
    ConvDecoder,
    ConvEncoder,
    GatedPixelCNN,
    Rescale,
    StepwiseMADE,
    outputs,
)

NETWORKS = {
    "mlp": (lambda rngs: MLP(3, (4,), (2, 5), rngs=rngs), (3,)),
    "encoder": (lambda rngs: ConvEncoder((4, 4, 1), (2,), 3, rngs=rngs), (4, 4, 1)),
    "decoder": (lambda rngs: ConvDecoder(3, (4, 2), (8, 4, 2), rngs=rngs), (3,)),
    "wrapped": (lambda rngs: Rescale(MLP(3, (), 2, rngs=rngs), loc=1.0, scale=2.0), (3,)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_part_tells_its_network_how_many_numbers_it_needs(name):
    build, in_shape = NETWORKS[name]
    rngs = nnx.Rngs(0)
    network = build(rngs)
    shape, cond = outputs.out_shape(network), jnp.ones(in_shape)
    assert shape is not None
    assert network(cond).shape == shape
    part = Normal(network)
    assert part.network(cond).shape == (*shape, 2)
    assert part.sample(jax.random.key(0), cond).shape == shape
    assert Normal(part.network).network is part.network
    assert network(cond).shape == shape  # the one that was given stays as it is
    for same in (Bernoulli(network), Normal(network, scale=0.1)):
        assert same.network is network
    # As if its size had been known at once: whatever is drawn next is not moved.
    again = build(nnx.Rngs(0))
    assert jax.tree.structure(again) == jax.tree.structure(network)
    np.testing.assert_array_equal(again(cond), network(cond))


def test_the_told_network_is_the_one_of_that_size():
    told = Normal(MLP(3, (4,), 2, rngs=nnx.Rngs(0))).network
    for known in (
        MLP(3, (4,), 2, num_outputs=2, rngs=nnx.Rngs(0)),
        lambda c: MLP(3, (4,), 4, rngs=nnx.Rngs(0))(c).reshape(2, 2).T,
    ):
        np.testing.assert_array_equal(told(jnp.ones(3)), known(jnp.ones(3)))


def test_a_model_is_built_on_shapes_and_under_jit():
    build = lambda key: Normal(MLP(3, (4,), 2, rngs=nnx.Rngs(key)))
    shapes, part = jax.eval_shape(build, jax.random.key(0)), jax.jit(build)(jax.random.key(0))
    assert jax.tree.structure(shapes) == jax.tree.structure(part)
    np.testing.assert_allclose(part.mean(jnp.ones(3)), build(jax.random.key(0)).mean(jnp.ones(3)))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_part_built_too_late_is_refused(name):
    """In a loss, or after training, it would lose the last layer that was trained."""
    build, in_shape = NETWORKS[name]
    network, x = build(nnx.Rngs(0)), jnp.ones(in_shape)
    loss = lambda network: jnp.sum(Normal(network).mean(x))
    trained = jax.tree.map(lambda leaf: leaf + 1, network)
    for late in (jax.jit(loss), jax.grad(loss)):
        with pytest.raises(ValueError, match="no longer those that it was drawn with"):
            late(network)
    with pytest.raises(ValueError, match=r"new, outside of losses and jitted functions; or give"):
        Normal(trained)
    # What needs no other number of outputs is built anywhere.
    assert jnp.all(jnp.isfinite(jax.jit(lambda n: Bernoulli(n).mean(x))(trained)))
    assert jnp.isfinite(jax.jit(loss)(Normal(network).network))


@pytest.mark.parametrize(
    "network",
    [
        lambda rngs: NADE(2, 3, rngs=rngs),
        lambda rngs: StepwiseMADE(MADE(2, (3,), rngs=rngs)),
        lambda rngs: GatedPixelCNN((1, 2), 2, 1, rngs=rngs),
    ],
)
def test_an_autoregressive_part_built_too_late_is_refused(network):
    loss = lambda network: Autoregressive(network, normal.Normal()).log_prob(jnp.ones(shape))
    new = network(nnx.Rngs(0))
    shape = new.shape
    assert jnp.isfinite(loss(new))
    with pytest.raises(ValueError, match="no longer those that it was drawn with"):
        jax.jit(loss)(new)


def test_vectors_have_numbers_of_their_own():
    assert FullNormal(MLP(3, (), 4, rngs=nnx.Rngs(0))).network(jnp.ones(3)).shape == (14,)
    assert OneHot(MLP(3, (), 4, rngs=nnx.Rngs(0))).network(jnp.ones(3)).shape == (4,)
    network = MLP(3, (), (2, 4), rngs=nnx.Rngs(0))
    part = FullNormal(network)
    assert part.sample(jax.random.key(0), jnp.ones(3)).shape == (2, 4)
    assert part.network(jnp.ones(3)).shape == (2, 14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FullNormal(lambda c: c), "cannot ask function for the size of its .* give dim"),
        (lambda: OneHot(lambda c: c), "cannot ask function .*: give num_classes"),
        (
            lambda: FullNormal(MLP(3, (), 4, rngs=nnx.Rngs(0)), 5),
            r"entries of shape \(5,\), on the last axes .* events of shape \(4,\)",
        ),
        (
            lambda: ConvDecoder(3, (2,), (4, 4, 1), rngs=nnx.Rngs(0)).with_outputs((4,), 2),
            r"images of \(4, 4\) pixels, so it cannot give 2 numbers for each entry of \(4,\)",
        ),
        (
            lambda: DiscretizedLogistic(lambda c: c).mean(jnp.ones(3)),
            r"needs 2 numbers for each entry, on the last axis .*got \(3,\)",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
