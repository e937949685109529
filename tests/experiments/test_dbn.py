import json
from typing import Any

import pytest

from experiments import dbn


def test_a_run_leaves_everything_behind(tmp_path):
    config = dbn.Config(
        hidden=(4, 3),
        steps=20,
        tuning_steps=20,
        temperatures=30,
        paths=3,
        particles=20,
        out=tmp_path / "run",
    )
    rows = dbn.main(config)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == rows
    names = ["independent Bernoulli", "one machine", "greedy", "up-down"]
    assert [row["model"] for row in rows] == names
    for row in rows[1:]:
        # Small weights at the start: the model of independent pixels, but for what was learned.
        assert abs(row["nll"] - rows[0]["nll"]) < 2
        assert abs(row["log_z"] - row["annealed_log_z"]) < 0.5
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {
        "samples-greedy.png",
        "samples-up-down.png",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (3,)}, r"hidden must have two machines or more, got \(3,\)"),
        ({"hidden": (3, 0)}, r"hidden must be at least 1, got \(3, 0\)"),
        ({"temperatures": 28}, "temperatures must be at least 29, got 28"),
        ({"tuning_rate": 0.0}, r"tuning_rate must be positive, got 0\.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        dbn.Config(**settings)


def test_grey_images_are_refused(tmp_path, data_dir):
    config = dbn.Config(dataset="frey-faces", data_dir=data_dir, out=tmp_path / "run")
    with pytest.raises(ValueError, match="frey-faces is grey"):
        dbn.main(config)
