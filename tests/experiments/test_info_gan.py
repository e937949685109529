import json
from typing import Any

import pytest

from experiments import info_gan

TINY: dict[str, Any] = {"steps": 4, "batch_size": 20, "samples": 60}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = info_gan.main(info_gan.Config(**TINY, out=tmp_path / "run"))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    plane, images = rows
    assert (plane["dataset"], images["dataset"]) == ("eight-gaussians", "digits")
    assert plane["class_information"] < plane["class_entropy"] == pytest.approx(2.0794, abs=1e-4)
    assert images["class_information"] < images["class_entropy"] == pytest.approx(2.3026, abs=1e-4)
    assert images["style_entropy"] == pytest.approx(1.3863, abs=1e-4)
    assert 0.1 <= images["purity"] <= 1
    for name in info_gan.Config().dataset:
        assert (out / f"{name}.png").is_file()
    assert "class: I / H" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"styles": 0}, "styles must be at least 1, got 0"),
        ({"class_weight": -1.0}, "class_weight must not be negative, got -1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        info_gan.Config(**options)
