"""Several processes make one run, which goes on in as many or as few others."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genmix import processes
from genmix.runs.run_log import read_metrics

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def launch(folder, commands, timeout=200, meanwhile=lambda started: None):
    """Exit code, stdout and stderr of each of the commands, run at once.

    A lone process has one device, and one of several has two. `meanwhile` is given the processes.
    """
    started = []
    devices = f"--xla_force_host_platform_device_count={min(len(commands), 2)}"
    given = os.environ.get("XLA_FLAGS", "")
    flags = f"{given} {devices} --xla_backend_optimization_level=0"  # compilation takes longest
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}  # JAX warns
    environment["XLA_FLAGS"] = flags
    for i, command in enumerate(commands):
        with (folder / f"{i}.out").open("w") as out, (folder / f"{i}.err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=out, stderr=err, cwd=ROOT, env=environment
            )
        started.append(process)
    try:
        meanwhile(started)
        codes = [process.wait(timeout=timeout) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    texts = [
        [(folder / f"{i}.{end}").read_text() for end in ("out", "err")]
        for i in range(len(commands))
    ]
    return [(code, *text) for code, text in zip(codes, texts, strict=True)]


def said(*texts):
    """The lines without those of Gloo, whose threads tell of their connections all at once.

    On a slow machine the likelihood takes long enough for its progress to be shown.
    """
    lines = [line for text in texts for line in text.splitlines()]
    expected = ("[Gloo]", "peer ranks", "likelihood ")
    return [line for line in lines if line and not any(word in line for word in expected)]


def train(folder, count, *runs):
    """What the runs end in, in one process with one device, or several with two devices each."""
    address = f"127.0.0.1:{free_port()}"
    orders = [
        {
            "processes": f"{address},{i}/{count}" if count > 1 else None,
            "mesh": f"data={count},particle=2" if count > 1 else None,
            "runs": [run | {"directory": str(folder / run["directory"])} for run in runs],
            "results": str(folder / "results.json"),
        }
        for i in range(count)
    ]
    commands = [["tests.process_program", json.dumps(order)] for order in orders]
    results = launch(folder, commands)
    for code, _, error in results:
        assert code == 0, error
    assert [line for _, *texts in results for line in said(*texts)] == []
    ends = json.loads((folder / "results.json").read_text())
    return {run["directory"]: end for run, end in zip(runs, ends, strict=True)}


def resumed(name, of, folder, **options):
    """Order to go on with a copy of a run."""
    shutil.copytree(folder / of, folder / name)
    return {"directory": name, "num_rounds": 20, "resume": True, **options}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def ends(folder):
    """Runs of 20 rounds, undisturbed or stopped after 10 and resumed elsewhere."""
    whole, one = ({"directory": name, "num_rounds": n} for name, n in [("whole", 20), ("one", 10)])
    two = {"directory": "two", "num_rounds": 10, "scatter_from": 100}
    ends = train(folder, 1, whole, one) | train(folder, 2, two)
    two_to_two = resumed("two to two", "two", folder, scatter_from=100)
    ends |= train(folder, 2, two_to_two, resumed("one to two", "one", folder))
    return ends | train(folder, 1, resumed("two to one", "two", folder))


RESUMED = ["two to two", "one to two", "two to one"]


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_ends_alike_in_however_many_processes(ends, name):
    end, whole = ends[name], ends["whole"]
    np.testing.assert_allclose(end["parameters"], whole["parameters"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(end["nll"], whole["nll"], rtol=1e-5)
    assert end["history"].keys() == whole["history"].keys()
    for metric in end["history"].keys() - {"seconds"}:
        np.testing.assert_allclose(
            end["history"][metric], whole["history"][metric], rtol=1e-4, err_msg=metric
        )


def test_the_processes_were_two(ends):
    assert ends["two"]["processes"] == ends["one to two"]["processes"] == 2
    assert ends["two"]["largest_shard"] <= ends["one to two"]["largest_shard"] / 2


@pytest.mark.parametrize("name", ["two", "two to two", "one to two"])
def test_one_process_writes(ends, folder, name):
    steps, _ = read_metrics(folder / name / "metrics.jsonl")["iwae"]
    assert steps.tolist() == np.arange(5, 5 * len(ends[name]["history"]["iwae"]) + 1, 5).tolist()
    launches = 1 + ("to" in name)
    assert len(list((folder / name / "tensorboard").iterdir())) == launches
    assert not list(folder.glob(f"{name}/**/*tmp*"))


@pytest.mark.slow
def test_an_experiment_in_two_processes(tmp_path):
    tiny = "--k 2 --objective iwae --steps 20 --particles 10 --hidden 8 --latent 2".split()
    mesh = ["--mesh", "data=2,particle=2", "--shard-parameters"]

    def run(out, *more):
        address = f"127.0.0.1:{free_port()}"
        command = ["experiments.iwae", *tiny, *mesh, "--out", str(tmp_path / out), *more]
        commands = [[*command, "--processes", f"{address},{i}/2"] for i in range(2)]
        return launch(tmp_path, commands)

    (code, out, error), (other_code, other_out, other_error) = run("two")
    assert (code, other_code) == (0, 0), error + other_error
    assert "samples.png" in out
    assert not said(other_out, other_error)
    [(code, _, error)] = launch(
        tmp_path, [["experiments.iwae", *tiny, "--out", str(tmp_path / "one")]]
    )
    assert code == 0, error
    two, one = (json.loads((tmp_path / n / "results.json").read_text()) for n in ("two", "one"))
    np.testing.assert_allclose(two["rows"][1]["nll"], one["rows"][1]["nll"], rtol=1e-5)
    files = lambda name: {
        p.relative_to(tmp_path / name).as_posix()
        for p in (tmp_path / name).rglob("*")
        if not {"checkpoints", "tensorboard"} & set(p.parts)
    }
    assert files("two") == files("one")
    first, second = run("two")  # without --resume
    assert "already holds a run" in first[2]
    assert said(second[2]) == ["error: process 0 has stopped; its message says why."]
    assert first[0] == second[0] == 2


@pytest.mark.slow
def test_a_signal_to_one_process_saves_the_run_of_all(tmp_path):
    tiny = "--k 2 --objective iwae --particles 10 --hidden 8 --latent 2 --steps 600".split()
    log = tmp_path / "run" / "iwae-k2" / "metrics.jsonl"

    def stop_the_second(started):
        deadline = time.monotonic() + 100
        while not log.exists() or len(log.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started[1].send_signal(signal.SIGTERM)

    def run(*more, **options):
        address = f"127.0.0.1:{free_port()}"
        mesh = ["--mesh", "data=2,particle=2", "--out", str(tmp_path / "run"), *more]
        command = ["experiments.iwae", *tiny, *mesh]
        commands = [[*command, "--processes", f"{address},{i}/2"] for i in range(2)]
        return launch(tmp_path, commands, **options)

    for code, _, error in run(meanwhile=stop_the_second):
        assert code == 143, error
        assert "stopped by SIGTERM after round" in error
    steps, _ = read_metrics(log)["iwae"]
    assert (log.parent / "checkpoints" / str(steps[-1])).is_dir()
    assert steps[-1] < 600
    for code, _, error in run("--resume"):
        assert code == 0, error
    steps, _ = read_metrics(log)["iwae"]
    assert steps.tolist() == list(range(12, 601, 12))


@pytest.mark.parametrize(
    "text", ["", "two", "localhost,0/2", "localhost:1234", "localhost:1234,2/2", "a:1,-1/2"]
)
def test_descriptions_that_make_no_sense_are_refused(text):
    with pytest.raises(ValueError, match=r"described as auto or HOST:PORT,I/N .*; got '" + text):
        processes.join(text)


def test_without_a_launcher_nothing_is_found():
    launchers = ("SLURM", "OMPI", "KUBERNETES", "TPU", "JAX_COORDINATOR_ADDRESS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(launchers)}
    # A process of its own, since in this one JAX may have begun to compute.
    run = subprocess.run(
        [sys.executable, "-c", "from genmix import processes; processes.join('auto')"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "ValueError: nothing here tells of other processes" in run.stderr


def test_one_process_has_the_largest_value_alone():
    assert processes.largest(7) == 7


def test_what_the_first_process_cannot_do_it_says():
    def fail():
        raise ValueError("no")

    done = []
    processes.first_does(lambda: done.append(1))
    assert done == [1]
    with pytest.raises(ValueError, match="no"):
        processes.first_does(fail)
