import json
from typing import Any

import pytest

from experiments import diffusion


def small(tmp_path, **options: Any) -> diffusion.Config:
    few = {"steps": 4, "batch_size": 8, "width": 8, "channels": (8, 8), "bit_steps": 4}
    fewer = {"times": 2, "draw_steps": 2, "limit": 4, "out": tmp_path / "run"}
    return diffusion.Config(**(few | fewer | options))


def test_bits_leave_everything_behind(tmp_path):
    (row,) = rows = diffusion.main(small(tmp_path, dataset=("heartbeat",), noise=("masks",)))
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == rows
    assert row["bits"] == pytest.approx(20, rel=0.3)  # fair coins, before training
    assert (tmp_path / "run" / "heartbeat-masks" / "samples.png").is_file()


@pytest.mark.slow
def test_points_and_images_are_drawn_and_filled_in(tmp_path):
    rows = diffusion.main(small(tmp_path, dataset=("swiss-roll", "digits"), loss="hybrid"))
    assert rows[1]["bits_per_dim"] > 0
    for name in ("swiss-roll-normal-noise/films", "digits-normal-noise/samples"):
        assert (tmp_path / "run" / f"{name}.png").is_file()
    assert (tmp_path / "run" / "digits-normal-noise" / "inpainting.png").is_file()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"times must be at least 1, got 0"):
        diffusion.Config(times=0)
    with pytest.raises(ValueError, match="dataset must name at least one"):
        diffusion.Config(dataset=())
