import json
from typing import Any

import numpy as np
import pytest

from experiments import outliers

TINY: dict[str, Any] = {
    "latent": 2, "hidden": 4, "levels": 4, "steps": 3, "batch_size": 10, "limit": 12,
    "regret_steps": 2, "particles": 3,
}  # fmt: skip


def tiny(**more: Any) -> outliers.Config:
    return outliers.Config(**{**TINY, **more})


@pytest.mark.slow
def test_a_run_scores_both_sets(tmp_path, data_dir):
    rows = outliers.main(tiny(data_dir=data_dir, out=tmp_path))
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    of_vae = ["likelihood", "typicality", "reconstruction", "KL", "regret"]
    assert [row["score"] for row in rows] == [*of_vae, *of_vae[:2]]
    assert all(0 <= row["auroc"] <= 1 for row in rows)
    assert all(np.isfinite([row["known"], row["strange"]]).all() for row in rows)
    assert (tmp_path / "images.png").is_file()


def test_images_are_halved_into_few_levels(data_dir):
    dataset = outliers.coarse(tiny(data_dir=data_dir), "mnist")
    assert dataset.test.shape == (12, 14, 14, 1)
    assert dataset.num_levels == 4
    assert set(np.unique(dataset.train)) == {0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outliers": "fashion-mnist"}, "outliers must be of another set than the models'"),
        ({"levels": 1}, "levels must be at least 2, got 1"),
        ({"levels": 300}, "levels must be at most 256, got 300"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)
