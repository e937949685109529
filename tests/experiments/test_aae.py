import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import aae
from genmix.nets import state
from genmix.objectives import comparison

TINY: dict[str, Any] = {"steps": 4, "hidden": 6, "latent": 2, "batch_size": 20, "samples": 60}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = aae.main(aae.Config(**TINY, out=tmp_path / "run"))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == list(aae.Config().model)
    for row in rows:
        assert np.isfinite(row["reconstruction"])
        is_split = row["model"] in aae.CATEGORICAL
        assert ("style_mmd" in row) == ("test_error" in row) == is_split
    assert rows[-1]["clusters_used"] <= 16
    for name in ("samples", "semi-supervised", "clustering"):
        assert (out / f"{name}.png").is_file()
    assert "purity" in capsys.readouterr().out


def test_there_is_a_label_for_each_class():
    config = aae.Config(**TINY, labels=9)
    with pytest.raises(ValueError, match="at least one for each of 10 classes"):
        aae.players(config, "semi-supervised", config.images())


def test_each_loss_moves_what_its_player_owns():
    """The classifier learns from labelled images, and the encoder alone."""
    config = aae.Config(**TINY)
    source = config.images()
    game = aae.build(config, "semi-supervised", source)
    team = {player.name: player for player in aae.players(config, "semi-supervised", source)}
    assert list(team) == ["critic", "autoencoder", "encoder", "classifier"]
    classifier = team["classifier"]
    before = classifier.parameters(game)
    assert all(path.startswith("autoencoder.posterior.") for path in before)
    x = jnp.asarray(source.train[:20], jnp.float32)

    @jax.jit
    def slopes(parameters):
        def loss(parameters):
            changed = state.with_variables(game, parameters)
            return classifier.loss(
                changed, jax.random.key(0), x, classifier.initial_carry(changed)
            )[0]

        return jax.value_and_grad(loss)(parameters)

    value, gradient = slopes(before)
    assert value > 0
    for path, slope in gradient.items():
        is_of_style = path.startswith("autoencoder.posterior.network.style")
        assert bool(jnp.any(slope != 0)) != is_of_style, path


def test_a_class_of_small_weights_is_used_as_much():
    """What the batch normalization of the logits is for."""
    config = aae.Config(**TINY)
    source = config.images()
    network = aae.build(config, "clustering", source).autoencoder.posterior.network
    x = jnp.asarray(source.train[:100], jnp.float32)
    share = jax.jit(
        lambda network: comparison.per_event(
            lambda network, _, x: network(x)[0], network, jax.random.key(0), x
        )[0]
    )
    before = share(network)
    kernel = network.category.layers[0].kernel
    kernel[...] = kernel[...].at[:, 3].multiply(0.1)
    np.testing.assert_allclose(share(network), before, atol=1e-2)


def test_class_and_style_have_a_critic_each():
    """The loss of an encoder whose critics' scores are 0 is log 2 for each of them."""
    config = aae.Config(**TINY)
    source = config.images()
    critic, _, encoder = aae.players(config, "clustering", source)

    @jax.jit
    def evaluate(x):
        game, key = aae.build(config, "clustering", source), jax.random.key(0)
        losses = critic.loss(game, key, x, critic.initial_carry(game))
        game.critics = jax.tree.map(jnp.zeros_like, game.critics)
        key = jax.random.clone(key)
        return losses, encoder.loss(game, key, x, encoder.initial_carry(game))[0]

    x = jnp.asarray(source.train[:20], jnp.float32)
    (value, (metrics, _)), of_encoder = evaluate(x)
    told_apart = sum(2 * (np.log(2) - metrics[f"{name}_jsd"]) for name in ("class", "style"))
    penalty = metrics["class_r1"] + metrics["style_r1"]
    assert penalty > 1e-3
    np.testing.assert_allclose(value, told_apart + 0.1 * penalty, rtol=1e-5)
    np.testing.assert_allclose(of_encoder, 2 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 0}, "clusters must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2 for an MMD, got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0"),
        ({"scale": 0.0}, "scale must be positive, got 0"),
        ({"hidden_pixels": 1.0}, r"hidden_pixels must be in \[0, 1\), got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        aae.Config(**options)
