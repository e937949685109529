import json

import numpy as np
import pytest

from experiments import mcmc


@pytest.mark.slow
def test_a_short_run(tmp_path):
    config = mcmc.Config(
        target=("banana",), sampler=("random-walk", "hmc"), chains=8, warmup=100, out=tmp_path
    )
    rows = mcmc.main(config)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"] == rows
    walk, hmc, *log_z = rows
    assert [row["method"] for row in log_z] == ["AIS", "SMC"]
    for row in log_z:  # five standard errors
        assert abs(row["log_z"] - mcmc.LOG_Z_RING) < 5 * row["error"] < 0.2
    assert (tmp_path / "banana-traces.png").is_file()
    assert (tmp_path / "banana-hmc.png").is_file()
    assert hmc["ess_bulk"] > walk["ess_bulk"]
    # five standard errors of each mean
    error = np.abs(np.subtract(hmc["mean"], hmc["exact_mean"]))
    assert np.all(error < 5 * np.array(hmc["mcse"]))


def test_a_mesh_has_chains_along_it(tmp_path):
    config = mcmc.Config(mesh="data=2", out=tmp_path / "run")
    with pytest.raises(ValueError, match=r"described as chain=C with whole numbers, got 'data=2'"):
        mcmc.main(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("chains", 0), ("warmup", 19), ("draws", 3), ("particles", 31)]
)
def test_counts_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least .*, got {value}"):
        mcmc.Config(**{name: value})
