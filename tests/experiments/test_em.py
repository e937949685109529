import json
from typing import Any

import pytest

from experiments import em


def test_a_few_steps(tmp_path):
    config = em.Config(components=3, steps=5, batch_size=50, out=tmp_path)
    rows = em.main(config)
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert len(rows) == 8
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "curves.png",
        "means-diagonal.png",
        "means-full.png",
        "means-tied.png",
        "means-bernoulli.png",
    }
    bernoulli = {row["method"]: row["test_log_prob"] for row in rows if row["model"] == "Bernoulli"}
    assert all(-35 < value < -15 for value in bernoulli.values())


@pytest.mark.parametrize("name", ["components", "steps", "batch_size"])
def test_counts_are_checked(name):
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        em.Config(**settings)


def test_bounds_are_checked():
    with pytest.raises(ValueError, match="components must be at most 1437, got 1438"):
        em.Config(components=1438)
    with pytest.raises(ValueError, match=r"floor must be between 0 and 1, got 0.0"):
        em.Config(floor=0.0)
