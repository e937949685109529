import json
from typing import Any

import pytest

from experiments import hvi


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path):
    config = hvi.Config(leapfrog=(0, 2), latent=2, hidden=8, steps=10, particles=20, out=tmp_path)
    rows = hvi.main(config)
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert (tmp_path / "curves.png").exists()
    assert [row["leapfrog"] for row in rows] == [0, 2]
    assert all(25 < row["nll"] < 50 and row["gap"] > 0 for row in rows)
    assert rows[1]["step_size"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"leapfrog": ()}, r"leapfrog must name at least one, got \(\)"),
        ({"leapfrog": (-1,)}, r"leapfrog must not be negative or empty, got \(-1,\)"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"learning_rate": 0.0}, r"learning_rate must be positive, got 0.0"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        hvi.Config(**settings)
