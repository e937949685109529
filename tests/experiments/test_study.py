import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments import study
from experiments.study import study as mechanism
from genmix.objectives import Term
from genmix.training import Player


class Line(nnx.Module):
    def __init__(self, slope: float):
        self.slope = nnx.Param(jnp.asarray(slope))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    slope: study.Each[float] = (1.0, 2.0)
    share: study.Share = 0.5
    sizes: tuple[study.Count, ...] = (3, 3)
    hidden: study.Count | None = None
    kind: Literal["a", "b"] = "a"
    floor: Annotated[float, study.Rule(lambda v: 0 < v < 1, "be between 0 and 1")] = 0.5
    steps: study.Count = 4
    batch_size: study.Count = 2


def squares(model: Any, key: Any, batch: jax.Array, carry: Any) -> Any:
    del key
    value = jnp.mean((model.slope[...] * batch - batch) ** 2)
    return value, ({"error": value}, carry)


def variant(config: Config, slope: float, **options: Any) -> study.Variant:
    settings: dict[str, Any] = {
        "name": f"slope {slope:g}",
        "row": {"slope": slope},
        "build": lambda: Line(slope),
        "players": [Player(loss=Term(squares), optimizer=optax.sgd(1e-2))],
        "data": np.arange(1.0, 9.0, dtype=np.float32),
        "plan": config.plan(),
    }
    return study.Variant(**(settings | options))


def statement(config: Config, **options: Any) -> study.Study:
    settings: dict[str, Any] = {
        "variants": [variant(config, slope) for slope in config.slope],
        "measure": lambda result: {"final": float(result.model.slope[...])},
        "tables": [study.Table("to {goal}", {"slope": "{slope:g}", "final": "{final:.3f}"})],
        "facts": {"goal": 1.0},
        "units": "none",
    }
    return study.Study(**(settings | options))


def run(out: Path, *, settings: Any = None, **options: Any) -> list[dict[str, Any]]:
    config = Config(out=out, **(settings or {}))
    return study.run("trial", config, lambda config: statement(config, **options))


def test_a_run_trains_measures_draws_prints_and_writes(tmp_path, capsys):
    drawn = []
    rows = run(
        tmp_path / "run",
        before=[{"slope": 0.0, "final": None}],
        draw_each=lambda result: drawn.append(result.directory.name),
        draw=lambda out, found: drawn.append([result.name for result in found]),
    )
    assert drawn == ["slope-1", "slope-2", ["slope 1", "slope 2"]]
    assert [row["slope"] for row in rows] == [0.0, 1.0, 2.0]
    assert rows[1]["final"] == 1.0
    assert 1 < rows[2]["final"] < 2
    assert rows[2]["train_seconds"] > 0
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["rows"] == rows
    assert (results["goal"], results["units"], results["seed"]) == (1.0, "none", 0)
    printed = capsys.readouterr().out
    assert "to 1.0" in printed
    assert "1.000" in printed


def test_variants_of_one_name_are_trained_once(tmp_path):
    variants = [
        variant(Config(), 2.0, row={"model": name}, name="both") for name in ("one", "other")
    ]
    measured = []
    rows = run(
        tmp_path / "run",
        variants=variants,
        measure=lambda result: measured.append(result.name) or {},
        tables=[],
    )
    assert measured == ["both"]
    assert [row["model"] for row in rows] == ["one", "other"]
    assert rows[0]["train_seconds"] == rows[1]["train_seconds"]


def test_several_rows_of_one_result(tmp_path):
    rows = run(tmp_path / "run", measure=lambda result: [{"final": 1.0}, {"final": 2.0}])
    assert [(row["slope"], row["final"]) for row in rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_computation_is_timed_and_has_no_players(tmp_path, capsys):
    compute = lambda directory: jnp.ones(2)
    rows = run(
        tmp_path / "run",
        variants=[study.Computation(name="sum", row={"slope": 0.0}, compute=compute)],
        measure=lambda result: {"final": float(jnp.sum(result.model))},
    )
    assert rows[0]["final"] == 2.0
    assert rows[0]["seconds"] >= 0
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("sum  0/1  0:00:0")
    assert first.endswith("  computing")
    assert last.startswith("sum  1/1  0:00:0")


def test_what_cannot_be_trained_is_refused_before_anything_is_written(tmp_path):
    def wrong(model, key, batch, carry):
        return model.slope[...] * jnp.ones(3) @ batch, ({}, carry)

    team = [Player(loss=Term(wrong), optimizer=optax.sgd(1e-2))]
    with pytest.raises(ValueError, match="slope 5 cannot be trained: "):
        run(tmp_path / "run", variants=[variant(Config(), 5.0, players=team)])
    with pytest.raises(ValueError, match="batch_size must be at most 8, the training examples"):
        run(tmp_path / "run", settings={"batch_size": 9})
    assert not (tmp_path / "run").exists()


def test_a_misspelt_column_is_refused_once_the_results_are_written(tmp_path):
    table = study.Table("trial", {"slope": "{slope:g}", "end": "{finale:.3f}"})
    with pytest.raises(ValueError, match="column 'end' shows finale, which no row has; there are"):
        run(tmp_path / "run", tables=[table])
    assert json.loads((tmp_path / "run/results.json").read_text())["rows"][0]["final"] == 1.0


def test_figures_that_are_not_finite_are_null_with_the_reason(tmp_path):
    figures = {"final": math.inf, "final_standard_error": math.nan, "parts": [1.0, -math.inf]}
    rows = run(tmp_path / "run", settings={"slope": (1.0,)}, measure=lambda result: figures)
    assert rows[0]["final"] == math.inf
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["rows"][0]["final"] is None
    assert results["rows"][0]["parts"] == [1.0, None]
    assert results["not_finite"] == {
        "rows[0].final": "inf",
        "rows[0].final_standard_error": "nan: a standard error needs two events or more",
        "rows[0].parts[1]": "-inf",
    }


@pytest.mark.parametrize("resume", [False, True])
def test_each_variant_goes_on_where_its_run_does(tmp_path, monkeypatch, resume):
    runs = []

    def fit(key, model, players, data, plan, run_):
        runs.append((run_.resume, run_.directory, run_.label))
        return real(key, model, players, data, plan, run_)

    real = mechanism.fit
    if resume:
        run(tmp_path / "run")
    monkeypatch.setattr(mechanism, "fit", fit)
    run(tmp_path / "run", settings={"resume": resume})
    names = {"slope-1": "slope 1", "slope-2": "slope 2"}
    assert runs == [(resume, tmp_path / "run" / folder, name) for folder, name in names.items()]


def test_a_resumed_run_ends_with_the_same_rows(tmp_path):
    first = run(tmp_path / "run")
    again = run(tmp_path / "run", settings={"resume": True})
    assert again == first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slope": ()}, r"slope must name at least one, got \(\)"),
        ({"slope": (1.0, 1.0)}, r"slope must name each once, got \(1.0, 1.0\)"),
        ({"share": 1.5}, r"share must be in \[0, 1\], got 1.5"),
        ({"sizes": (3, 0)}, r"sizes must be at least 1, got \(3, 0\)"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"hidden": 2**31}, r"hidden must be below 2\^31, got 2147483648"),
        ({"floor": 1.0}, "floor must be between 0 and 1, got 1.0"),
        ({"learning_rate": math.nan}, "learning_rate must be positive, got nan"),
        ({"seed": -1}, r"seed must be between 0 and 2\^63 - 1, got -1"),
        ({"seed": 2**63}, r"seed must be between 0 and 2\^63 - 1"),
        ({"resume": True}, "resume needs --out DIR, the run to go on with"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Config(**settings)


def test_a_variant_lowers_for_other_platforms():
    traced = variant(Config(), 1.0).trace()
    lowered = traced.lower(lowering_platforms=("cuda", "tpu"))
    assert "func.func" in lowered.as_text()


@pytest.mark.parametrize("columns", [None, "60"])
def test_a_wide_table_is_whole_where_there_is_no_width(capsys, monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    names = [f"a column {i}" for i in range(9)]
    table = study.Table("wide", {name: f"{{x{i}:.3f}}" for i, name in enumerate(names)})
    table.show([{f"x{i}": 100.0 + i for i in range(9)}], {})
    said = capsys.readouterr().out
    if columns is None:
        assert all(name in said for name in names)
        assert all(f"{100.0 + i:.3f}" in said for i in range(9))
    else:
        assert max(map(len, said.splitlines())) <= 60
