import json
from typing import Any

import pytest

from experiments import sandwich


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path):
    config = sandwich.Config(
        k=(1,),
        latent=2,
        hidden=8,
        steps=10,
        images=4,
        particles=50,
        temperatures=5,
        chains=2,
        out=tmp_path,
    )
    rows = sandwich.main(config)
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert [row["images"] for row in rows] == ["test", "simulated"]
    for row in rows:
        assert row["elbo"] < row["iwae"] + 0.5
        assert abs(row["ais"] - row["iwae"]) < 1
    assert "upper" not in rows[0]
    assert rows[1]["upper"] > rows[1]["elbo"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": ()}, r"k must name at least one, got \(\)"),
        ({"images": 1}, "images must be between 2 and 360, got 1"),
        ({"temperatures": 0}, "temperatures must be at least 1, got 0"),
        ({"step_size": -1.0}, "step_size must be positive, got -1.0"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        sandwich.Config(**settings)
