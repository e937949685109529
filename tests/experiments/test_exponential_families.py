import json
from typing import Any

import pytest

from experiments import exponential_families


@pytest.mark.slow
def test_fits_come_near_the_truth(tmp_path):
    config = exponential_families.Config(
        draws=500, steps=300, boltzmann_steps=300, chains=20, out=tmp_path / "run"
    )
    rows = exponential_families.main(config)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["rows"] == rows
    families = [row for row in rows if "family" in row]
    assert len(families) == len(exponential_families.FAMILIES)
    for row in families:
        assert row["duality_gap"] < 1e-5
        assert row["round_trip"] < 1e-4
        # Twice the draws times the divergence is chi-squared with a degree or two.
        assert row["kl_closed"] < 0.02
        assert abs(row["kl_exact"] - row["kl_closed"]) < 0.02
    independent, exact, gibbs = (row["nll"] for row in rows if "model" in row)
    assert exact < independent - 0.3
    assert abs(gibbs - exact) < 0.2
    assert {p.name for p in (tmp_path / "run").glob("*.png")} == {"gaps.png", "means.png"}


def test_one_family(tmp_path):
    config = exponential_families.Config(draws=200, steps=50)
    row, gaps = exponential_families.fits(config, "Bernoulli")
    assert row["duality_gap"] < 1e-6
    assert row["natural"] == pytest.approx([1.2])
    assert row["kl_closed"] < 0.05
    assert gaps["exact"][-1] < 1e-5 < gaps["exact"][0]


@pytest.mark.parametrize("name", ["draws", "steps", "samples", "boltzmann_steps", "chains"])
def test_counts_are_checked(name):
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        exponential_families.Config(**settings)
