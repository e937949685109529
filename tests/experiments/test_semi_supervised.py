import json
from typing import Any

import numpy as np
import pytest

from experiments import semi_supervised
from experiments.few_labels import config, parts
from genmix import data
from genmix.families import Classified, LatentVariableModel, Summed
from genmix.training import Game

TINY: dict[str, Any] = {
    "steps": 4, "batch_size": 20, "hidden": 4, "latent": 2, "style": 2, "clusters": 3,
    "labels": (10, 20), "labelled_batch_size": 5, "limit": 50,
}  # fmt: skip
DIGITS = data.load("digits")


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    settings = config.Config(**TINY, out=tmp_path / "run")
    rows = semi_supervised.main(settings)
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    of = lambda name: [row["labels"] for row in rows if row["model"] == name]
    assert {name: of(name) for name in config.MODELS} == {
        **{name: [10, 20] for name in config.MODELS},
        "clusters": [0],
    }
    assert all(0 <= row["test_error"] <= 1 for row in rows)
    assert (out / "analogies.png").is_file()
    printed = capsys.readouterr().out
    assert "10 labels" in printed
    assert "M1+M2" in printed


def test_each_row_has_the_model_that_it_names():
    settings = config.Config(**TINY)
    build = lambda name: parts.build(settings, name, (8, 8, 1), 10)
    assert isinstance(build("M1"), LatentVariableModel)
    assert isinstance(build("M2"), Classified)
    assert isinstance(build("clusters").prior, Summed)
    both = build("M1+M2")
    assert isinstance(both, Game)
    assert isinstance(both.m2.model.part, LatentVariableModel)
    names = lambda name: [
        player.name
        for player in semi_supervised.players(
            settings, name, semi_supervised.labelled(settings, DIGITS, 10)
        )
    ]
    assert names("M2") == ["model"]
    assert names("M1+M2") == ["m1", "m2"]


def test_labels_are_as_many_of_each_class():
    x, classes = semi_supervised.labelled(config.Config(**TINY), DIGITS, 20)
    assert x.shape == (20, 8, 8, 1)
    assert np.all(np.sum(classes, axis=0) == 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": 0}, "style must be at least 1, got 0"),
        ({"weight": -1.0}, "weight must not be negative, got -1"),
        ({"labels": (20, 20)}, "labels must name each once"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config.Config(**options)


def test_too_few_or_no_labels_are_refused(tmp_path, data_dir):
    with pytest.raises(ValueError, match="at least one for each of 10 classes, got 5"):
        semi_supervised.main(config.Config(**(TINY | {"labels": (5,), "out": tmp_path})))
    with pytest.raises(ValueError, match="must have labels and bits"):
        semi_supervised.main(config.Config(dataset="frey-faces", data_dir=data_dir))
