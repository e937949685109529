import json
from typing import Any

import pytest

from experiments import rbm


def test_a_run_leaves_everything_behind(tmp_path):
    config = rbm.Config(
        methods=("pcd",), hidden=4, steps=20, temperatures=30, paths=3, out=tmp_path / "run"
    )
    rows = rbm.main(config)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == ["independent Bernoulli", "pcd"]
    for row in rows[1:]:
        # Small weights at the start: the model of independent pixels, but for what was learned.
        assert abs(row["exact_log_prob"] - rows[0]["exact_log_prob"]) < 2
        assert abs(row["log_prob"] - row["exact_log_prob"]) < 0.5
        assert {p.name for p in (tmp_path / "run" / row["model"]).glob("*.png")} == {
            "filters.png",
            "samples.png",
        }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"temperatures": 28}, "temperatures must be at least 29, got 28"),
        ({"methods": ()}, r"methods must name at least one, got \(\)"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        rbm.Config(**settings)


def test_grey_images_are_refused(tmp_path, data_dir):
    config = rbm.Config(dataset="frey-faces", data_dir=data_dir, out=tmp_path / "run")
    with pytest.raises(ValueError, match="frey-faces is grey"):
        rbm.main(config)
    assert not (tmp_path / "run").exists()
