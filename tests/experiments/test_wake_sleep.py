import json
from typing import Any

import numpy as np
import pytest

from experiments import wake_sleep

TINY: dict[str, Any] = {"layers": (4,), "k": 2, "steps": 3, "batch_size": 10, "limit": 20}


def tiny(**more: Any) -> wake_sleep.Config:
    return wake_sleep.Config(**{**TINY, **more})


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path):
    """With many particles, few bits: the estimate is the sum."""
    config = tiny(model=("reweighted, both",), particles=3000, out=tmp_path / "run")
    rows = wake_sleep.main(config)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rows"] == rows
    _, row = rows
    np.testing.assert_allclose(row["nll"], row["exact_nll"], atol=0.02)
    assert -row["elbo"] > row["exact_nll"]
    assert (tmp_path / "run" / "dreams.png").is_file()


@pytest.mark.slow
def test_every_algorithm_trains_two_layers(tmp_path):
    config = tiny(layers=(4, 3), particles=3, out=tmp_path / "run")
    rows = wake_sleep.main(config)
    assert [row["model"] for row in rows[1:]] == list(wake_sleep.phases(2))
    assert all(np.isfinite([row["nll"], row["elbo"]]).all() for row in rows[1:])


def test_the_players_own_the_net_and_its_posteriors():
    config = tiny(layers=(4, 3, 2))
    p, q = wake_sleep.players(config, "wake-sleep")
    model = wake_sleep.build(config, config.load())
    owned = [set(player.parameters(model)) for player in (p, q)]
    assert not owned[0] & owned[1]
    assert len(owned[0]) == 7
    assert len(owned[1]) == 6
    assert all("posterior" in path for path in owned[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 1}, "k must be at least 2, got 1: of one particle a posterior learns nothing"),
        ({"layers": ()}, r"layers must name at least one, got \(\)"),
        ({"layers": (0,)}, "layers must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)
