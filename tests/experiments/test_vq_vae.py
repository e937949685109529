import json
from typing import Any

import jax
import numpy as np
import pytest

from experiments import vq_vae
from experiments.codes import config, parts
from genmix import data
from genmix.families import LatentVariableModel, VectorQuantized

TINY: dict[str, Any] = {
    "steps": 4, "batch_size": 20, "channels": 4, "width": 2, "codes": 4, "dim": 2, "particles": 2,
    "limit": 40,
}  # fmt: skip
DIGITS = data.load("digits")


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = vq_vae.main(config.Config(**TINY, out=tmp_path / "run"))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == list(config.KINDS)
    for row in rows:
        sum_of_terms = row["rate"] - row["log_likelihood"]
        if row["model"] != "vimco":  # whose bound is of several particles
            np.testing.assert_allclose(row["nll"], sum_of_terms, rtol=1e-4)
        np.testing.assert_allclose(row["uniform_rate"], 16 * np.log(4), rtol=1e-6)
        assert 1 <= row["perplexity"] <= row["codes_in_use"] <= 4
    np.testing.assert_allclose(rows[0]["rate"], rows[0]["uniform_rate"], rtol=1e-5)
    assert (out / "samples.png").is_file()
    assert (out / "reconstructions.png").is_file()
    assert "perplexity" in capsys.readouterr().out


@pytest.mark.parametrize("name", config.KINDS)
def test_each_row_has_the_codes_and_the_prior_that_it_names(name):
    kind, settings = config.KINDS[name], config.Config(**TINY)
    team = vq_vae.player(settings, kind)

    def made() -> Any:
        model = parts.build(settings, DIGITS, kind)
        return model, team.parameters(model)

    model, owned = jax.eval_shape(made)
    assert isinstance(model, LatentVariableModel) == (kind.codes == "drawn")
    assert isinstance(model.prior, VectorQuantized) == (kind.codes == "levels")
    inner = {"uniform": "UniformCodes", "made": "CodesOfBits", "rbm": "CodesOfBits"}
    prior = model.prior.prior if kind.codes == "levels" else model.prior
    assert type(prior).__name__ == inner.get(kind.prior, "Autoregressive")
    assert "codebook.vectors" in owned or kind.codes == "drawn"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codes": 6}, "a power of two for rbm and made, got 6"),
        ({"decay": 1.0}, "decay must be below 1"),
        ({"halvings": 0}, "halvings must be at least 1, got 0"),
        ({"revive_below": -1.0}, r"revive_below must not be negative, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        config.Config(**options)


def test_more_codes_than_the_first_batch_has_encodings_are_refused(tmp_path):
    settings = config.Config(**(TINY | {"codes": 2048, "out": tmp_path, "model": ("uniform",)}))
    with pytest.raises(ValueError, match="2048 codes, more than the 1280 vectors"):
        vq_vae.main(settings)
