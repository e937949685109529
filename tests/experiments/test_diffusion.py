import json
from typing import Any

import pytest

from experiments import diffusion


def small(tmp_path, **options: Any) -> diffusion.Config:
    few = {"steps": 4, "batch_size": 8, "width": 8, "channels": (8, 8), "bit_steps": 4}
    fewer = {"times": 2, "draw_steps": 2, "limit": 4, "out": tmp_path / "run"}
    return diffusion.Config(**(few | fewer | options))


def test_points_and_bits_leave_everything_behind(tmp_path):
    rows = diffusion.main(small(tmp_path, dataset=("swiss-roll", "heartbeat"), noise=("masks",)))
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == rows
    assert [(row["dataset"], row["noise"]) for row in rows] == [
        ("swiss roll", "normal noise"),
        ("heartbeat", "masks"),
    ]
    assert rows[1]["bits"] == pytest.approx(20, rel=0.3)  # fair coins, before training
    assert (tmp_path / "run" / "swiss-roll-normal-noise" / "films.png").is_file()
    assert (tmp_path / "run" / "heartbeat-masks" / "samples.png").is_file()


@pytest.mark.slow
def test_images_are_drawn_and_filled_in(tmp_path):
    (row,) = diffusion.main(small(tmp_path, dataset=("digits",), loss="hybrid"))
    assert row["bits_per_dim"] > 0
    for name in ("samples.png", "inpainting.png"):
        assert (tmp_path / "run" / "digits-normal-noise" / name).is_file()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"times must be at least 1, got 0"):
        diffusion.Config(times=0)
    with pytest.raises(ValueError, match="dataset must name at least one"):
        diffusion.Config(dataset=())
