import json
from typing import Any

import numpy as np
import pytest

from experiments import growing_gan
from experiments.study import trial

TINY: dict[str, Any] = {"batch_size": 4, "limit": 20, "channels": (3, 2), "latent": 3}


@pytest.mark.slow
def test_a_short_run_that_is_resumed_says_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "run"
    options = {**TINY, "steps": 4, "samples": 20, "out": out, "model": ("growing",)}
    rows = growing_gan.main(growing_gan.Config(**options))
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert rows[1]["rounds"] == 8
    assert (out / "growing" / "stages.png").is_file()
    assert "coverage" in capsys.readouterr().out
    again = growing_gan.main(growing_gan.Config(**options, resume=True))
    for name in ("frechet", "critic_accuracy", "rounds"):
        assert again[1][name] == rows[1][name]


def test_the_program_of_each_stage_lowers():
    config = growing_gan.Config(**TINY, steps=2)
    stages = growing_gan.stages(config, "growing", np.zeros((8, 8, 8, 1), np.float32))
    assert [stage.name for stage in stages] == ["4x4", "8x8"]
    for stage in stages:
        build = lambda stage=stage: stage.begin(growing_gan.build(config, (8, 8, 1)))
        traced = trial.traced(build, stage.players, stage.data, stage.plan)
        lowered = traced.lower(lowering_platforms=("cuda", "tpu"))
        assert "func.func public @main" in lowered.as_text()


def test_both_games_have_as_many_rounds():
    config, images = growing_gan.Config(**TINY, steps=5), np.zeros((8, 8, 8, 1), np.float32)
    rounds = [
        sum(stage.plan.num_rounds for stage in growing_gan.stages(config, name, images))
        for name in ("growing", "at once")
    ]
    assert rounds == [10, 10]
