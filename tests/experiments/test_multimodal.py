import json
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


@pytest.mark.slow
def test_a_mixture_trains(tmp_path):
    (row,) = multimodal.main(multimodal.Config(**TINY, model=("mixture",), out=tmp_path))
    assert row["nll"] > 0
