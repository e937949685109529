import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from genmix.runs import run_log


def lines(path: Path) -> list[dict]:
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    texts = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(text, parse_constant=refuse) for text in texts]


def events(path: Path) -> list:
    """The events of every event file, in the order of the files; the record format is TFRecord."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    found = []
    for file in sorted((path / "tensorboard").iterdir(), key=lambda f: f.stat().st_mtime_ns):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[12 + size + 4 :]
    return found


def scalars(path: Path) -> list[tuple[int, str, float]]:
    return [
        (event.step, value.tag, value.simple_value)
        for event in events(path)
        for value in event.summary.value
    ]


def test_a_line_and_an_event_for_each_write(tmp_path):
    with run_log.RunLog(tmp_path / "run") as log:
        log.write(1, {"bound": -2.5, "kl": np.float32(0.1)})
        log.write(2, {"bound": jnp.float32(-1.25)})
    first, second = lines(tmp_path / "run")
    assert list(first) == ["step", "time", "bound", "kl"]
    assert (first["step"], first["bound"], first["kl"]) == (1, -2.5, float(np.float32(0.1)))
    assert (second["step"], second["bound"]) == (2, -1.25)
    assert 0 <= first["time"] <= second["time"] < 60
    expected = [(1, "bound", -2.5), (1, "kl", float(np.float32(0.1))), (2, "bound", -1.25)]
    assert scalars(tmp_path / "run") == expected


def test_values_that_are_not_finite_stay_strict_json_and_come_back(tmp_path, caplog):
    values = [float("nan"), float("inf"), -float("inf"), 2.0**99]
    with run_log.RunLog(tmp_path) as log:
        for step, value in enumerate(values):
            log.write(step, {"loss": value})
    assert [line["loss"] for line in lines(tmp_path)] == ["NaN", "Infinity", "-Infinity", 2.0**99]
    steps, read = run_log.read_metrics(tmp_path / "metrics.jsonl")["loss"]
    np.testing.assert_array_equal(steps, [0, 1, 2, 3])
    np.testing.assert_array_equal(read, values)
    assert scalars(tmp_path) == [(3, "loss", 2.0**99)]
    assert caplog.records == []


def test_a_killed_process_loses_no_line(tmp_path):
    program = (
        "import os, sys; from genmix.runs.run_log import RunLog\n"
        "log = RunLog(sys.argv[1])\n"
        "for step in range(5): log.write(step, {'a': step})\n"
        "os._exit(9)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert result.returncode == 9
    assert [line["step"] for line in lines(tmp_path)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("torn", [b'{"step": 30, "ti', b'{"step": 30, "ti\n', b"\0\0\0\n", b"7"])
def test_resuming_drops_later_steps_and_a_torn_line(tmp_path, torn):
    with run_log.RunLog(tmp_path) as log:
        for step in (10, 20, 30):
            log.write(step, {"a": float("nan") if step == 10 else step})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    before = lines_until(path, 2)
    with run_log.RunLog(tmp_path, resume_step=20) as log:
        assert lines(tmp_path) == before
        log.write(30, {"a": -1.0})
    assert [(line["step"], line["a"]) for line in lines(tmp_path)] == [
        (10, "NaN"),
        (20, 20.0),
        (30, -1.0),
    ]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["metrics.jsonl"]


def lines_until(path: Path, count: int) -> list[dict]:
    return [json.loads(text) for text in path.read_bytes().split(b"\n")[:count]]


def test_resuming_tells_tensorboard_which_steps_to_forget(tmp_path):
    with run_log.RunLog(tmp_path) as log:
        log.write(20, {"a": 1.0})
        log.write(30, {"a": 2.0})
    with run_log.RunLog(tmp_path, resume_step=20) as log:
        log.write(30, {"a": 3.0})
    # TensorBoard forgets what came before a start event and has its step or a later one.
    (start,) = [event for event in events(tmp_path) if event.HasField("session_log")]
    assert (start.step, start.session_log.status) == (21, start.session_log.START)
    assert scalars(tmp_path) == [(20, "a", 1.0), (30, "a", 2.0), (30, "a", 3.0)]


def test_time_goes_on_where_the_resumed_step_was(tmp_path):
    text = '{"step": 1, "time": 100.0, "a": 1}\n{"step": 2, "time": 200, "a": 1}\n'
    (tmp_path / "metrics.jsonl").write_text(text)
    with run_log.RunLog(tmp_path, resume_step=1) as log:
        log.write(2, {"a": 2})
    assert 100 <= lines(tmp_path)[-1]["time"] < 160


def test_resuming_a_run_that_logged_nothing(tmp_path):
    with run_log.RunLog(tmp_path, resume_step=0) as log:
        log.write(1, {"a": 1})
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_resuming_is_atomic(tmp_path, monkeypatch):
    text = '{"step": 1, "time": 1.0}\n{"step": 2, "time": 2.0}\n'
    (tmp_path / "metrics.jsonl").write_text(text)

    def replace(source, target):
        raise OSError("killed here")

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="killed here"):
        run_log.RunLog(tmp_path, resume_step=1)
    assert (tmp_path / "metrics.jsonl").read_text() == text


def test_a_log_that_is_there_is_not_taken_for_a_new_one(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("kept")
    with pytest.raises(ValueError, match="already exists; pass resume_step"):
        run_log.RunLog(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == "kept"


@pytest.mark.parametrize("name", ["step", "time"])
def test_reserved_names_are_refused(tmp_path, name):
    with run_log.RunLog(tmp_path) as log:
        with pytest.raises(ValueError, match=f'A metric cannot be called "{name}"'):
            log.write(1, {name: 3.0})
    assert lines(tmp_path) == []


def test_read_metrics_of_metrics_that_come_and_go(tmp_path):
    text = (
        '{"step": 1, "time": 0.5, "a": 1.5}\n'
        '{"step": 2, "time": 1.5, "a": 2.5, "b": "-Infinity"}\n'
        '{"step": 3, "ti'
    )
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    metrics = run_log.read_metrics(path)
    assert {name: (s.tolist(), v.tolist()) for name, (s, v) in metrics.items()} == {
        "time": ([1, 2], [0.5, 1.5]),
        "a": ([1, 2], [1.5, 2.5]),
        "b": ([2], [-float("inf")]),
    }
    assert metrics["a"][0].dtype == np.int64
    assert metrics["a"][1].dtype == np.float64


def test_read_metrics_of_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        run_log.read_metrics(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[1]",
        "7",
        '{"step": 1}',
        '{"time": 1.0}',
        '{"step": "1", "time": 1.0}',
        '{"step": 1, "time": 1.0, "a": "high"}',
        '{"step": 1, "time": 1.0, "a": [1]}',
    ],
)
def test_a_damaged_line_inside_the_log_is_named(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    good = '{"step": 0, "time": 0.0}\n'
    path.write_text(good + bad + "\n" + good)
    with pytest.raises(ValueError, match=r"metrics.jsonl, line 2, is not a line of metrics"):
        run_log.read_metrics(path)
    with pytest.raises(ValueError, match="line 2, is not a line of metrics"):
        run_log.RunLog(tmp_path, resume_step=1)
    assert path.read_text() == good + bad + "\n" + good
    path.write_text(good + bad + "\n" + good[:9])  # one line may be torn, but not two
    with pytest.raises(ValueError, match="line 2, is not a line of metrics"):
        run_log.read_metrics(path)
