import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import cycle_gan

TINY: dict[str, Any] = {"steps": 4, "batch_size": 4, "channels": (4,), "limit": 40}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "run"
    rows = cycle_gan.main(cycle_gan.Config(**TINY, out=out, domains=("inverted", "rotated")))
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["domains"] for row in rows] == ["inverted", "rotated"]
    for row in rows:
        assert (out / row["domains"] / "translations.png").is_file()
        assert 0 <= row["same"] <= 1
        assert 0 <= row["critic_b_accuracy"] <= 1
        assert 0 <= row["critic_a_coverage"] <= 1
    assert "coverage" in capsys.readouterr().out


@pytest.mark.slow
def test_two_folders_of_a_user(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(6):
            pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    config = cycle_gan.Config(
        **TINY,
        out=tmp_path / "run",
        domains=("folders",),
        folders=(str(tmp_path / "a"), str(tmp_path / "b")),
        side=8,
    )
    (row,) = cycle_gan.main(config)
    assert row["cycle_a"] > 0
    assert "same" not in row


def test_digits_become_mnist_or_fashion_by_name(data_dir):
    pair = cycle_gan.load(cycle_gan.Config(data_dir=data_dir, limit=10), "mnist-to-fashion")
    assert pair.source.train.shape == pair.target.train.shape == (59_600, 28, 28, 1)
    assert not pair.are_twins


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domains": ("folders",)}, "--domains folders and --folders A B go together"),
        ({"cycle": -1.0}, "cycle must not be negative, got -1"),
        ({"pool": -1}, "pool must not be negative, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        cycle_gan.Config(**options)
