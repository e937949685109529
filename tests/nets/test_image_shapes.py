"""Networks of images: one or three channels, odd sizes too, or words that say what they need."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from genmix.nets import (
    ConvDecoder,
    ConvEncoder,
    ConvStack,
    DCGANCritic,
    DCGANGenerator,
    DiagonalBiLSTM,
    GatedPixelCNN,
    GlowNetwork,
    MapDecoder,
    MapEncoder,
    ResidualTranslator,
    RowLSTM,
    UNet,
)
from genmix.nets.style import GrowingCritic, GrowingGenerator, Synthesis

SHAPES = [(8, 12, 3), (7, 5, 3)]
RNGS = nnx.Rngs(0)
Z = jnp.zeros(3)
PLAIN = {"batch_norm": False, "rngs": RNGS}
READS = {  # an image, whose size the output does not have
    "ConvEncoder": lambda s: ConvEncoder(s, (4, 4), 2, rngs=RNGS),
    "MapEncoder": lambda s: MapEncoder(s, (4, 4), 2, rngs=RNGS),
    "DCGANCritic": lambda s: DCGANCritic(s, (4, 4), **PLAIN),
    "GrowingCritic": lambda s: GrowingCritic(s, (4, 4), rngs=RNGS),
}
CHANGES = {  # an image into an image
    "ConvStack": lambda s: ConvStack(s[-1], (4,), s[-1], rngs=RNGS),
    "GlowNetwork": lambda s: GlowNetwork(s[-1], 4, s[-1:], rngs=RNGS),
    "ResidualTranslator": lambda s: ResidualTranslator(s, (4, 4), rngs=RNGS),
    "UNet": lambda s: UNet(s, (8, 8), rngs=RNGS),
}
HALVED = (
    "ConvEncoder",
    "MapEncoder",
    "DCGANCritic",
    "ConvDecoder",
    "DCGANGenerator",
    "MapDecoder",
    "UNet",
)
DRAWS = {  # an image of numbers
    "ConvDecoder": lambda s: ConvDecoder(3, (4, 4), s, rngs=RNGS),
    "DCGANGenerator": lambda s: DCGANGenerator(3, (4, 4), s, **PLAIN),
    "GrowingGenerator": lambda s: GrowingGenerator(3, (4, 4), s, rngs=RNGS),
    "MapDecoder": lambda s: MapDecoder(3, (4, 4), s, rngs=RNGS),
    "Synthesis": lambda s: Synthesis(5, (4, 4), s, rngs=RNGS),
}
NETWORKS = READS | CHANGES | DRAWS


def given(name, network, shape):
    """What the network is called with."""
    if name == "UNet":
        return jnp.zeros(shape), jnp.zeros(())
    if name == "Synthesis":
        return jax.random.key(0), jnp.zeros((network.num_styles, 5))
    if name == "MapDecoder":
        return (jnp.zeros(network.in_shape),)
    return (Z if name in DRAWS else jnp.zeros(shape),)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_shape_is_taken_or_refused_in_words(name, shape):
    make = NETWORKS[name]
    if name in HALVED and shape[0] % 2:
        with pytest.raises(ValueError, match=rf"{name} .*must be multiples of \d, got .* layers"):
            make(shape)
        return
    network = make(shape)
    out = jax.eval_shape(network, *given(name, network, shape))
    assert name in READS or out.shape == shape


@pytest.mark.parametrize("network", [GatedPixelCNN, RowLSTM, DiagonalBiLSTM])
def test_networks_row_by_row_ask_for_a_height_and_a_width(network):
    with pytest.raises(ValueError, match=r"needs a height, a width .* got shape \(8, 8, 3\)"):
        network((8, 8, 3), 4, 1, rngs=RNGS)
