import json
from typing import Any

import pytest

from experiments import style_gan

TINY: dict[str, Any] = {
    **{"steps": 4, "batch_size": 4, "samples": 20, "limit": 20, "mapping_layers": 1},
    **{"channels": (3, 2), "latent": 3},
}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "run"
    rows = style_gan.main(style_gan.Config(**TINY, out=out, kind=("modulated",)))
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row.get("truncation") for row in rows] == [None, 1.0, 0.7]
    for name in ("samples", "mixing", "truncation"):
        assert (out / "modulated" / f"{name}.png").is_file()
    assert "coverage" in capsys.readouterr().out
