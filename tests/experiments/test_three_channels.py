"""Every experiment on judged images takes those of three channels, too: tried on shapes."""

import importlib
from typing import Any

import numpy as np
import pytest

from experiments import growing_gan, mix, study
from experiments.study import trial
from tests.experiments.test_lowering import TINY


@pytest.mark.parametrize("name", ["gran", "lapgan", "style_gan", "vae_gan"])
def test_coloured_digits_can_be_trained_on(name):
    module = importlib.import_module(f"experiments.{name}")
    config = module.Config(**TINY[name], dataset="coloured-digits")
    games = [v for v in module.experiment(config).variants if isinstance(v, study.Variant)]
    assert np.shape(games[-1].data)[1:] == (8, 8, 3)
    games[-1].trace()


def test_a_growing_game_has_odd_sizes_and_colours():
    config = growing_gan.Config(channels=(3, 2, 2), latent=3, batch_size=4, steps=2)
    stages = growing_gan.stages(config, "growing", np.zeros((8, 7, 5, 3), np.float32))
    assert [stage.name for stage in stages] == ["2x2", "4x3", "7x5"]
    last = stages[-1]
    build = lambda: last.begin(growing_gan.build(config, (7, 5, 3)))
    trial.traced(build, last.players, last.data, last.plan)


@pytest.mark.parametrize("network", ["dcgan", "growing"])
def test_a_mix_has_a_critic_of_either_network(network):
    options: dict[str, Any] = {**TINY["mix"], "adversarial": "data", "critic_network": network}
    (variant,) = mix.experiment(mix.Config(**options)).variants
    assert isinstance(variant, study.Variant)
    variant.trace()


def test_such_a_critic_is_of_images_alone():
    with pytest.raises(ValueError, match="--critic-network dcgan is of images alone"):
        mix.Config(adversarial="latent", critic_network="dcgan")
    with pytest.raises(ValueError, match="--critic-network dcgan is of a game"):
        mix.Config(critic_network="dcgan")
