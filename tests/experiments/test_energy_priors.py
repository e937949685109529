import json
from typing import Any

import numpy as np
import pytest

from experiments import energy_priors
from genmix.families import Normalized

TINY: dict[str, Any] = {
    "bits": 4, "units": 3, "latent": 2, "hidden": 4, "k": 2, "chains": 6, "chain_steps": 1,
    "steps": 3, "batch_size": 10, "limit": 20, "temperatures": 30, "particles": 5,
}  # fmt: skip


def tiny(**more: Any) -> energy_priors.Config:
    return energy_priors.Config(**{**TINY, **more})


@pytest.mark.slow
def test_every_prior_leaves_a_row_and_samples(tmp_path):
    rows = energy_priors.main(tiny(out=tmp_path))
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert [row["prior"] for row in rows] == list(tiny().model)
    for row in rows:
        assert np.isfinite([row["nll"], row["elbo"], row["rate"]]).all()
        assert (tmp_path / row["prior"].replace(" ", "-") / "samples.png").is_file()
    for row in rows[1:2]:
        assert abs(row["log_z"] - row["annealed_log_z"]) < 0.1
    assert "log_z" not in rows[0]
    assert "log_z" not in rows[2]


def test_a_machine_is_judged_with_its_normalizer():
    config = tiny()
    trained = energy_priors.build(config, "boltzmann", (8, 8, 1))
    model, figures = energy_priors.judged(config, trained)
    assert isinstance(model.prior, Normalized)
    assert model.prior.log_partition[...] == np.float32(figures["log_z"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 1}, "k must be at least 2, got 1"),
        ({"temperatures": 28}, "temperatures must be at least 29, got 28"),
        ({"chains": 0}, "chains must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)
