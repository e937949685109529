import json
from typing import Any

import pytest

from experiments import lapgan

TINY: dict[str, Any] = {
    **{"steps": 4, "batch_size": 8, "samples": 20, "limit": 20},
    **{"hidden": 6, "channels": 3, "latent": 3},
}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "run"
    rows = lapgan.main(lapgan.Config(**TINY, out=out))
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows][1:] == ["one scale", "pyramid", "pyramid on a VAE"]
    assert [len(row.get("critic_accuracy", ())) for row in rows] == [0, 1, 3, 2]
    assert (out / "pyramid-on-a-VAE" / "pyramid.png").is_file()
    assert "coverage" in capsys.readouterr().out


def test_each_level_is_a_pair_of_players_and_a_density_needs_no_critic():
    names = lambda name: [p.name for p in lapgan.players(lapgan.Config(levels=1), name)]
    assert names("one scale") == ["critic0", "generator0"]
    assert names("pyramid") == ["critic0", "generator0", "critic1", "generator1"]
    assert names("pyramid on a VAE") == ["vae", "critic1", "generator1"]
