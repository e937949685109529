import json
from typing import Any

import pytest

from experiments import aae

TINY: dict[str, Any] = {"steps": 4, "hidden": 6, "latent": 2, "batch_size": 20, "samples": 60}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = aae.main(aae.Config(**TINY, out=tmp_path / "run"))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == list(aae.Config().model)
    for row in rows:
        assert row["reconstruction"] < 0
        is_split = row["model"] in aae.CATEGORICAL
        assert ("style_mmd" in row) == ("test_error" in row) == is_split
    assert rows[-1]["clusters_used"] <= 16
    for name in ("samples", "semi-supervised", "clustering"):
        assert (out / f"{name}.png").is_file()
    assert "purity" in capsys.readouterr().out


def test_labels_are_few_and_of_each_class():
    source = aae.grey.load_images("digits")
    one_hot = aae.some_labels(aae.Config(labels=50), source)
    assert one_hot.sum(axis=0).tolist() == [5.0] * 10
    labelled = one_hot.sum(axis=1) > 0
    assert (one_hot[labelled].argmax(axis=1) == source.labels[0][labelled]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 0}, "clusters must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2 for an MMD, got 1"),
        ({"weight": 0.0}, "weight must be positive, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        aae.Config(**options)
