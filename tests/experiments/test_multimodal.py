import json
import types
from typing import Any

import pytest

from experiments import multimodal

TINY: dict[str, Any] = {
    "hidden": 4, "latent": 2, "steps": 2, "batch_size": 4, "particles": 2, "limit": 12,
}  # fmt: skip


@pytest.mark.parametrize("second", ["label", "rotated"])
def test_a_run_leaves_everything_behind(second, tmp_path):
    model = ("product",) if second == "label" else ("joint",)
    rows = multimodal.main(multimodal.Config(**TINY, model=model, second=second, out=tmp_path))
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    (row,) = rows
    assert min(row["nll"], row["nll_first"], row["nll_second"], row["cross"]) > 0
    assert ("accuracy" in row) == (second == "label")
    assert (tmp_path / model[0] / "crossed.png").exists()


def test_the_picture_begins_with_the_data(monkeypatch, tmp_path):
    config = multimodal.Config(**TINY, second="rotated", out=tmp_path)
    x = multimodal.pairs(config, config.load(), "test")
    model = multimodal.build(config, x, "product")
    sheets = []
    monkeypatch.setattr(multimodal.pictures, "save_sheet", lambda path, rows: sheets.append(rows))
    result: Any = types.SimpleNamespace(model=model, directory=tmp_path)
    multimodal.draw(config, x, result)
    (rows,) = sheets
    assert [*rows] == ["image", "given itself", "given its twin", "twin", "given the image"]


@pytest.mark.slow
def test_a_mixture_trains(tmp_path):
    (row,) = multimodal.main(multimodal.Config(**TINY, model=("mixture",), out=tmp_path))
    assert row["nll"] > 0
