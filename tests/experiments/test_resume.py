"""Runs of several games or models that are stopped, and resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import gan


class Killed(BaseException):
    pass


def figures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """But the seconds, which are measured."""
    return [row | {"train_seconds": 0} for row in rows]


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob(pattern)}


@pytest.mark.slow
def test_a_gan_killed_in_its_second_game_ends_as_if_undisturbed(tmp_path, monkeypatch):
    """Killed after its third picture was kept, and before the checkpoint of that round was."""

    def run(name: str, **options: Any) -> list[dict[str, Any]]:
        sizes: dict[str, Any] = {"steps": 13, "batch_size": 16, "samples": 60}
        which: dict[str, Any] = {"dataset": ("grid",), "loss": ("hinge", "minimax")}
        return gan.main(gan.Config(**sizes, **which, out=tmp_path / name, **options))

    def save_and_die(path: Path, array: np.ndarray) -> None:
        save(path, array)
        if path == tmp_path / "killed/grid-minimax/samples-6.npy":
            raise Killed

    undisturbed, save = run("undisturbed"), np.save
    with monkeypatch.context() as patched:
        patched.setattr(np, "save", save_and_die)
        with pytest.raises(Killed):
            run("killed")
    first = contents(tmp_path / "killed/grid-hinge", "metrics.jsonl")
    assert figures(run("killed", resume=True)) == figures(undisturbed)
    assert contents(tmp_path / "killed/grid-hinge", "metrics.jsonl") == first
    for pattern, count in (("*.npy", 12), ("*.png", 1)):
        pictures = contents(tmp_path / "undisturbed", pattern)
        assert len(pictures) == count
        assert contents(tmp_path / "killed", pattern) == pictures
