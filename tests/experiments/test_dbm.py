import json
from typing import Any

import pytest

from experiments import dbm


def test_a_run_leaves_everything_behind(tmp_path):
    config = dbm.Config(
        hidden=(4, 3),
        pretraining_steps=20,
        steps=20,
        temperatures=30,
        paths=3,
        particles=20,
        out=tmp_path / "run",
    )
    rows = dbm.main(config)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == ["independent Bernoulli", "layer by layer", "DBM"]
    for row in rows[1:]:
        # Small weights at the start: the model of independent pixels, but for what was learned.
        assert abs(row["nll"] - rows[0]["nll"]) < 2
        assert abs(row["log_z"] - row["annealed_log_z"]) < 0.5
        assert -row["elbo"] > row["nll"] - 0.1
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {
        "samples.png",
        "filters-1.png",
        "filters-2.png",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (3,)}, r"hidden must have two layers or more, got \(3,\)"),
        ({"mean_field_steps": 0}, "mean_field_steps must be at least 1, got 0"),
        ({"pretraining_steps": 0}, "pretraining_steps must be at least 1, got 0"),
        ({"paths": 1}, "paths must be at least 2, got 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        dbm.Config(**settings)


def test_grey_images_are_refused(tmp_path, data_dir):
    config = dbm.Config(dataset="frey-faces", data_dir=data_dir, out=tmp_path / "run")
    with pytest.raises(ValueError, match="frey-faces is grey"):
        dbm.main(config)
