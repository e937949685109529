import json
from typing import Any

import numpy as np
import pytest

from experiments import pixelcnn

TINY: dict[str, Any] = {"steps": 2, "batch_size": 10, "layers": 1, "width": 2, "hidden": 4}


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, capsys):
    config = pixelcnn.Config(network=("made", "nade", "pixelcnn", "bilstm"), out=tmp_path, **TINY)
    rows = pixelcnn.main(config)
    assert [row["model"] for row in rows] == ["independent Bernoulli", *config.network]
    np.testing.assert_allclose(rows[0]["nll"], 26.80, atol=0.01)
    for row in rows[1:]:
        assert 20 < row["nll"] < 60
        assert (tmp_path / row["model"] / "samples.png").is_file()
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert "pixelcnn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"network": ()}, "network needs at least one name, got none"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        pixelcnn.Config(**options)


def test_digits_have_nothing_to_stop_for(tmp_path):
    with pytest.raises(ValueError, match="digits has no validation images, so it cannot stop"):
        pixelcnn.main(pixelcnn.Config(patience=3, out=tmp_path / "run"))
