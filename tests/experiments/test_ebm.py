import json
from typing import Any

import numpy as np
import pytest

from experiments import ebm


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(ebm, "CELLS", 50)
    config = ebm.Config(
        points=("rings",), hidden=8, steps=20, batch_size=20, langevin_steps=2, buffer=40,
        out=tmp_path,
    )  # fmt: skip
    rows = ebm.main(config)
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert (tmp_path / "densities.png").exists()
    # The wide normal alone has 2 log 2 + log 2 pi + E|x|^2 / 8, with E|x|^2 = 14 / 3 + 0.02.
    alone = 2 * np.log(2) + np.log(2 * np.pi) + (14 / 3 + 0.02) / 8
    assert [row["method"] for row in rows] == ["exact", "cd", "pcd"]
    assert all(abs(row["nll"] - alone) < 0.5 for row in rows)
    assert rows[0]["nll"] < alone


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"langevin_size": 0.0}, r"langevin_size must be positive, got 0.0"),
        ({"methods": ()}, r"methods must name at least one, got \(\)"),
        ({"buffer": 10}, "buffer must hold at least a batch, 200 chains; got 10"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        ebm.Config(**settings)
