import json
from typing import Any

import jax
import numpy as np
import pytest

from experiments import gan

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


@pytest.mark.parametrize("penalty", ["none", "r1", "spectral-norm"])
def test_networks_are_normalized_as_the_penalty_allows(penalty):
    blank, label = np.zeros((1, 28, 28, 1)), np.zeros(1)
    images = gan.Images(blank, blank, (label, label))
    game = gan.build(gan.Config(penalty=penalty), images)
    assert (len(game.critic.norms) > 0) == (penalty == "none")
    assert hasattr(game.critic.out, "direction") == (penalty == "spectral-norm")


def test_training_points_are_those_of_the_mixture():
    mixture = gan.BY_NAME["grid"]
    x = np.asarray(gan.training_data(jax.random.key(0), mixture))
    found = gan.sample_quality.modes(x[:5000], mixture.centres, mixture.scale)
    assert found.covered == 25
    # 98.9 % of a round normal lies within three deviations; 5 standard errors of 5,000 draws.
    assert abs(found.high_quality - 0.9889) < 0.0075


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critic_steps": 0}, "critic_steps must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"conditional": True}, "eight-gaussians, grid has no classes, which --conditional needs"),
        ({"penalty_weight": float("nan")}, "penalty_weight must not be negative, got nan"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gan.Config(**options)
