import json
from typing import Any

import numpy as np
import pytest

from experiments import flow_priors

TINY: dict[str, Any] = {
    "flows": 2,
    "components": 3,
    "latent": 4,
    "hidden": 6,
    "steps": 2,
    "batch_size": 10,
    "particles": 4,
}


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, capsys):
    rows = flow_priors.main(flow_priors.Config(out=tmp_path, **TINY))
    names = list(flow_priors.Config().model)
    assert [row["model"] for row in rows] == names
    for row in rows:
        assert -row["elbo"] > row["nll"]
        assert (tmp_path / row["model"] / "samples.png").is_file()
    # a flow of one kind has as many parameters as a prior as it has as a posterior, but for the
    # layer that hands it x
    count = dict(zip(names, [row["parameters"] for row in rows], strict=True))
    assert count["iaf-posterior"] - count["maf"] == 2 * 6 * 6
    assert count["vamp"] - count["normal"] == 3 * 64
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert "normal, IAF posterior" in capsys.readouterr().out


@pytest.mark.slow
def test_validation_where_there_are_images_for_it(tmp_path, data_dir):
    config = flow_priors.Config(
        dataset="binarized-mnist", data_dir=data_dir, model=("normal",), out=tmp_path, **TINY
    )
    assert np.isfinite(flow_priors.main(config)[0]["nll"])
    assert "validation" in (tmp_path / "normal" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "components must be at least 1, got 0"),
        ({"model": ()}, "model must name at least one, got"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, got -1.0"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        flow_priors.Config(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 1438, "model": ("normal", "vamp")}, "at most the 1437 training images"),
        (
            {"latent": 1, "model": ("normal", "maf")},
            "maf cannot be trained: its layers need a laten",
        ),
        ({"hidden": 10, "model": ("normal", "maf")}, "maf cannot be trained: MADE over 20 entries"),
    ],
)
def test_what_cannot_be_built_is_refused_before_training(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        flow_priors.main(flow_priors.Config(out=tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_digits_have_nothing_to_stop_for(tmp_path):
    with pytest.raises(ValueError, match="digits has no validation images, so it cannot stop"):
        flow_priors.main(flow_priors.Config(patience=3, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
