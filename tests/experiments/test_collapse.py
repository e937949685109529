import json
from typing import Any

import jax
import numpy as np
import pytest

from experiments import collapse
from experiments.cures.config import MODELS, Config
from experiments.cures.parts import build
from genmix.families import AutoregressiveNormal, InputDropout
from genmix.training import Game

TINY: dict[str, Any] = {
    "steps": 4, "batch_size": 10, "hidden": 4, "width": 2, "layers": 1, "latent": 2,
    "particles": 3, "limit": 20,
}  # fmt: skip


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = collapse.main(Config(**TINY, out=tmp_path / "run"))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == list(MODELS)
    for row in rows:
        assert np.isfinite([row["nll"], row["elbo"], row["rate"], row["information"]]).all()
    assert (out / "draws_given_z.png").is_file()
    assert "I(x; z)" in capsys.readouterr().out


@pytest.mark.parametrize("name", MODELS)
def test_each_row_has_the_tool_that_it_names(name):
    config = Config(**TINY)
    team = collapse.players(config, name)

    def made() -> Any:
        model = build(config, name, (8, 8, 1))
        return model, [player.initial_carry(model) for player in team]

    model, _ = jax.eval_shape(made)
    assert isinstance(model, Game) == ("constrained" in name)
    inner = model.model if isinstance(model, Game) else model
    assert isinstance(inner.likelihood, InputDropout) == (name == "dropped inputs")
    assert isinstance(inner.prior, AutoregressiveNormal) == (name == "committed rate")
    names = {
        "lagging encoder": ["encoder", "decoder"],
        "rate constrained": ["model", "multiplier"],
        "distortion constrained": ["model", "multiplier"],
    }
    assert [player.name for player in team] == names.get(name, ["model"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 1}, "latent must be at least 2, got 1"),
        ({"warm_up": 0.0}, r"warm_up must be in \(0, 1\], got 0"),
        ({"correlation": 1.0}, r"correlation must be in \(-1, 1\), got 1"),
        ({"rate": 0.0}, "rate must be positive, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options)
