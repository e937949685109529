import json
from typing import Any

import numpy as np
import pytest

from experiments import pixelcnn
from genmix.densities.discretized_logistic_mixture import DiscretizedLogisticMixture
from genmix.families import Autoregressive, MaskMixture

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


@pytest.mark.slow
def test_grey_levels_are_reported_in_bits(tmp_path, capsys):
    """The baseline is that of density_flows, with a tenth more images to count."""
    config = pixelcnn.Config(
        likelihood="logistic-mixture", network=("made", "pixelcnn"), masks=2, out=tmp_path, **TINY
    )
    rows = pixelcnn.main(config)
    np.testing.assert_allclose(rows[0]["nll"], 106.082, atol=0.01)
    for row in rows:
        bits = row["nll"] / (64 * np.log(2))
        np.testing.assert_allclose(row["bits_per_dim"], bits, rtol=1e-10)
    assert all(2 < row["bits_per_dim"] < 6 for row in rows[1:])
    assert "bits/dim" in capsys.readouterr().out


def test_masks_are_those_of_made():
    config = pixelcnn.Config(masks=3, **TINY)
    dataset = pixelcnn.load(config)
    model = pixelcnn.build(config, dataset, "made")
    assert isinstance(model, MaskMixture)
    assert model.num_masks == 3
    assert isinstance(pixelcnn.build(config, dataset, "nade"), Autoregressive)


def test_levels_are_those_of_the_likelihood():
    grey = pixelcnn.Config(likelihood="logistic-mixture", **TINY)
    assert pixelcnn.load(grey).num_levels == 17
    model: Any = pixelcnn.build(grey, pixelcnn.load(grey), "nade")
    assert model.distribution == DiscretizedLogisticMixture(num_levels=17)
    assert pixelcnn.load(pixelcnn.Config()).num_levels == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"network": ()}, "network must name at least one, got"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"masks": 0}, "masks must be at least 1, got 0"),
        ({"masks": 3, "network": ("nade",)}, "masks are those of made, got 3 without"),
        ({"dataset": "frey-faces"}, "frey-faces has grey levels only: use --likelihood logistic"),
        (
            {"dataset": "binarized-mnist", "likelihood": "logistic-mixture"},
            "binarized-mnist has bits only: use --likelihood bernoulli, or one of digits",
        ),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        pixelcnn.Config(**options)


def test_digits_have_nothing_to_stop_for(tmp_path):
    with pytest.raises(ValueError, match="digits has no validation images, so it cannot stop"):
        pixelcnn.main(pixelcnn.Config(patience=3, out=tmp_path / "run"))
