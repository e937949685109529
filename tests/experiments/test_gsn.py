import json
from typing import Any

import numpy as np
import pytest

from experiments import gsn


def test_a_run_leaves_everything_behind(tmp_path):
    config = gsn.Config(
        walkback=(2,), hidden=8, steps=20, chains=10, burn_in=3, states=20, out=tmp_path / "run"
    )
    rows = gsn.main(config)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == ["independent Bernoulli", "walkback of 2"]
    # A network that knows little draws fair coins.
    assert rows[0]["nll"] < rows[1]["nll"] < 64 * np.log(2) + 5
    assert (tmp_path / "run" / "walkback2" / "chains.png").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"walkback": (0,)}, r"walkback must be at least 1, got \(0,\)"),
        ({"corruption": 0.0}, r"corruption must be above 0 and at most 1, got 0\.0"),
        ({"learning_rate": 0.0}, r"learning_rate must be positive, got 0\.0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        gsn.Config(**settings)


def test_grey_images_are_refused(tmp_path, data_dir):
    config = gsn.Config(dataset="frey-faces", data_dir=data_dir, out=tmp_path / "run")
    with pytest.raises(ValueError, match="frey-faces is grey"):
        gsn.main(config)
