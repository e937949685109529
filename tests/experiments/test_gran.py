import json
from typing import Any

import pytest

from experiments import gran

TINY: dict[str, Any] = {
    **{"steps": 4, "batch_size": 4, "samples": 20, "limit": 20, "hidden": 5, "latent": 3},
}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "run"
    rows = gran.main(gran.Config(**TINY, out=out, painting=(1, 2)))
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    games = [(row["painting"], row["noise"]) for row in rows[1:]]
    assert games == [(1, "one"), (2, "fresh"), (2, "same")]
    assert (out / "2-fresh" / "canvas.png").is_file()
    assert "coverage" in capsys.readouterr().out
