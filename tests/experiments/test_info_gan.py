import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import games, info_gan, study
from genmix.data.grey import Images
from genmix.nets import state

TINY: dict[str, Any] = {"steps": 4, "batch_size": 20, "samples": 60}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = info_gan.main(info_gan.Config(**TINY, out=tmp_path / "run"))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    plane, images = rows
    assert (plane["dataset"], images["dataset"]) == ("eight-gaussians", "digits")
    assert plane["class_information"] < plane["class_entropy"] == pytest.approx(2.0794, abs=1e-4)
    assert images["class_information"] < images["class_entropy"] == pytest.approx(2.3026, abs=1e-4)
    assert images["style_entropy"] == pytest.approx(1.3863, abs=1e-4)
    assert 0.1 <= images["purity"] <= 1
    assert 0 < images["nearest_error"] < 1
    for name in info_gan.Config().dataset:
        assert (out / f"{name}.png").is_file()
    assert "class: I / H" in capsys.readouterr().out


@pytest.mark.slow
def test_the_defaults_inform_of_the_mode(tmp_path):
    """2 nats of at most log 8 = 2.08, in samples of eight Gaussians."""
    (row,) = info_gan.main(info_gan.Config(dataset=("eight-gaussians",), out=tmp_path / "run"))
    assert 2.0 <= row["class_information"] <= row["class_entropy"] + 1e-6


@pytest.mark.parametrize(("dataset", "classes"), [("digits", 12), ("eight-gaussians", 3)])
def test_there_are_as_many_codes_as_one_asks_for(dataset, classes):
    config = info_gan.Config(dataset=(dataset,), classes=classes)
    source = config.source(dataset)
    game = info_gan.build(config, source)
    z = game.generator.base.sample(jax.random.key(0))
    assert z[1].shape == (classes,)
    x = game.generator.network(z)
    assert info_gan.category_of(game).mean(x).shape == (classes,)
    assert info_gan.codes(config, source)["class"].entropy == np.log(classes)


@pytest.mark.parametrize("classes", [3, 12])
def test_pictures_show_all_classes_then_each_style(classes):
    """A generator whose image is its code: the class, both styles, the first number of noise."""
    config = info_gan.Config(dataset=("digits",), classes=classes)
    game = info_gan.build(config, config.source("digits"))
    game.generator.network = lambda z: jnp.stack([jnp.argmax(z[1]), *z[2], z[0][0]])
    rows, columns = 2 * info_gan.traversals(config, game) - 1, max(classes, 10)
    drawn, first, second, noise = np.moveaxis(rows, -1, 0)
    assert drawn.shape == (8, columns)
    np.testing.assert_array_equal(drawn[:4], np.tile(np.arange(columns) % classes, (4, 1)))
    np.testing.assert_array_equal(drawn[4:], np.repeat([[0], [1], [0], [1]], columns, 1))
    steps, still = np.tile(np.linspace(-2, 2, columns), (2, 1)), np.zeros((2, columns))
    np.testing.assert_allclose(first, [*still, *still, *steps, *still], atol=1e-6)
    np.testing.assert_allclose(second, [*still, *still, *still, *steps], atol=1e-6)
    np.testing.assert_allclose(noise, np.tile(noise[:, :1], columns), atol=1e-6)
    assert len(np.unique(noise[:4, 0])) == 4


def test_what_the_codes_tell_is_taken_from_the_loss():
    """The critic's score is 0, and the loss of a generator with that score log 2."""
    config = info_gan.Config(class_weight=3.0, style_weight=2.0)
    source = config.source("digits")

    @jax.jit
    def evaluate(x):
        game = info_gan.build(config, source)
        game.critic = jax.tree.map(jnp.zeros_like, game.critic)
        _, generator = info_gan.players(config, source)
        return generator.loss(game, jax.random.key(0), x, generator.initial_carry(game))

    value, (metrics, _) = evaluate(source.events(jax.random.key(0))[:10])
    told = 3 * metrics["class_information"] + 2 * metrics["style_information"]
    np.testing.assert_allclose(value, np.log(2) - told, rtol=1e-5)


def test_large_images_have_their_codes_read_from_what_the_critic_sees():
    """Both players have the bounds in their loss, and only the critic's moves what reads them."""
    x = np.asarray(jax.random.uniform(jax.random.key(0), (10, 12, 12, 1)))
    images = Images(x, x, (np.arange(10), np.arange(10)))
    config = info_gan.Config(class_weight=3.0, style_weight=2.0)
    source = games.Pictures(images, study.judge_of(config, images))

    @jax.jit
    def evaluate(x):
        game = info_gan.build(config, source)
        game.critic.out = jax.tree.map(jnp.zeros_like, game.critic.out)
        team = info_gan.players(config, source)
        losses = [p.loss(game, jax.random.key(0), x, p.initial_carry(game)) for p in team]
        same = jnp.stack([
            info_gan.category_of(state.evaluating(game)).log_prob(jnp.eye(10)[0], x[0]),
            jax.nn.log_softmax(game.category(state.evaluating(game).critic.features(x[0])))[0],
        ])  # fmt: skip
        return [(value, metrics) for value, (metrics, _) in losses], same

    losses, same = evaluate(jnp.asarray(x, jnp.float32))
    for (value, metrics), of_scores in zip(losses, (2 * np.log(2), np.log(2)), strict=True):
        told = 3 * metrics["class_information"] + 2 * metrics["style_information"]
        np.testing.assert_allclose(value, of_scores - told, rtol=1e-5)
    np.testing.assert_allclose(same[0], same[1], rtol=1e-5)
    critic, generator = info_gan.players(config, source)
    assert (critic.owns, generator.owns) == (("critic", "category", "style"), ("generator",))


@pytest.mark.parametrize("name", ["eight-gaussians", "digits"])
def test_the_rate_is_constant_for_images(name):
    config = info_gan.Config(steps=1)
    source, falls = config.source(name), name == "eight-gaussians"
    for player in info_gan.players(config, source):
        slopes: Any = jnp.ones(2)
        adam: Any = player.optimizer
        first, moments = adam.update(slopes, adam.init(slopes))
        second, _ = adam.update(slopes, moments)
        np.testing.assert_allclose(second, 0.0 if falls else first, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"styles": 0}, "styles must be at least 1, got 0"),
        ({"class_weight": -1.0}, "class_weight must not be negative, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        info_gan.Config(**options)
