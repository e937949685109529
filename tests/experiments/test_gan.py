import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments import games, gan, study
from genmix.data.grey import Images
from genmix.data.mixtures import BY_NAME

TINY: dict[str, Any] = {"steps": 12, "batch_size": 16, "samples": 60}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"dataset": ("eight-gaussians",), "loss": ("hinge",), "critic_steps": 2},
        {"dataset": ("digits",), "penalty": "none", "network": "dcgan"},
        {"dataset": ("digits", "grid"), "penalty": "wgan-gp", "loss": ("wasserstein",)},
        {"dataset": ("digits",), "conditional": True},
        {"dataset": ("digits",), "conditional": True, "network": "dcgan"},
    ],
)
def test_a_short_run(tmp_path, capsys, monkeypatch, options):
    monkeypatch.setenv("COLUMNS", "200")
    rows = gan.main(gan.Config(**{**TINY, "out": tmp_path / "run", **options}))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    games = [row for row in rows if row["loss"] != "(training images)"]
    assert len(games) == len(options["dataset"]) * len(options.get("loss", "1"))
    for row in games:
        assert row["train_seconds"] > 0
        assert 0 <= row["data_accuracy"] <= 1
        assert ("agreement" in row) == options.get("conditional", False)
        wanted = f"{row['dataset']}-{row['loss']}" if "frechet" in row else row["dataset"]
        assert (out / f"{wanted}.png").is_file()
    assert "training" in capsys.readouterr().out


@pytest.mark.slow
def test_the_defaults_cover_eight_gaussians(tmp_path):
    """And nine of ten samples lie within three deviations of a mode."""
    (row,) = gan.main(gan.Config(dataset=("eight-gaussians",), out=tmp_path / "run"))
    assert row["covered"] == row["modes"] == 8
    assert row["high_quality"] >= 0.9


@pytest.mark.parametrize("penalty", ["none", "r1", "spectral-norm"])
def test_networks_are_normalized_as_the_penalty_allows(penalty):
    blank, label = np.zeros((1, 28, 28, 1)), np.zeros(1)
    images = Images(blank, blank, (label, label))
    config = gan.Config(penalty=penalty)
    game = gan.build(config, games.Pictures(images, study.judge_of(config, images)))
    assert (len(game.critic.norms) > 0) == (penalty == "none")
    assert hasattr(game.critic.out, "direction") == (penalty == "spectral-norm")


def test_time_scales_are_two():
    """Adam's first step is as long as the learning rate."""
    config = gan.Config(learning_rate=0.1, critic_learning_rate=0.4)
    players = gan.players(config, "hinge", games.PLANE, 10)
    x = {"x": np.ones((), np.float32)}
    for player, rate in zip(players, (0.4, 0.1), strict=True):
        step: Any = player.optimizer.update(x, player.optimizer.init(x))[0]
        np.testing.assert_allclose(step["x"], -rate, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "size"), [({"dataset": ("digits",)}, 1437), ({"dataset": ("grid",)}, 2**16)]
)
def test_a_batch_has_no_more_than_all_events(tmp_path, options, size):
    config = gan.Config(**options, batch_size=size + 1, out=tmp_path / "run")
    with pytest.raises(ValueError, match=f"batch_size must be at most {size}, the training"):
        gan.main(config)
    assert not (tmp_path / "run").exists()


def test_training_points_are_those_of_the_mixture():
    grid = games.Points(BY_NAME["grid"])
    found = grid.quality(Path(), grid.events(jax.random.key(0))[:5000])
    assert found["covered"] == found["modes"] == 25
    # 98.9 % of a round normal lies within three deviations; 5 standard errors of 5,000 draws.
    assert abs(found["high_quality"] - 0.9889) < 0.0075


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critic_steps": 0}, "critic_steps must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"conditional": True}, "eight-gaussians, grid has no classes, which --conditional needs"),
        ({"penalty_weight": float("nan")}, "penalty_weight must not be negative, got nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be positive, got inf"),
        ({"critic_learning_rate": 0.0}, "critic_learning_rate must be positive, got 0.0"),
        ({"dataset": ()}, "dataset must name at least one, got"),
        ({"loss": ("hinge", "hinge")}, r"loss must name each once, got \('hinge', 'hinge'\)"),
        ({"samples": 3}, "samples must be at least 4, got 3"),
        ({"average_decay": 1.0}, r"average_decay must be in \[0, 1\), got 1.0"),
        (
            {"penalty": "spectral-norm", "penalty_weight": 1.0},
            "--penalty spectral-norm adds none: use --penalty r1, wgan-gp, wgan-lp",
        ),
        ({"network": "dcgan"}, "grid has points, and --network dcgan is of images: leave it out"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gan.Config(**options)
