import json
import sys

import numpy as np
import pytest
from PIL import Image

from experiments import iwae
from genmix.runs import command_line

TINY = {"k": (2,), "objective": ("iwae",), "steps": 5, "particles": 10, "hidden": 4, "latent": 2}


def run(tmp_path, **options):
    return iwae.main(iwae.Config(**{**TINY, "out": tmp_path / "run", **options}))


def width(picture):
    with Image.open(picture) as image:
        return image.width


def test_a_run_leaves_everything_behind(tmp_path, capsys):
    rows = run(tmp_path, k=(1, 2), objective=("elbo", "iwae"))
    out = tmp_path / "run"
    results = json.loads((out / "results.json").read_text())
    assert results["rows"] == rows
    assert [(r["model"], r.get("k")) for r in rows] == [
        ("independent Bernoulli", None),
        ("VAE", 1),
        ("VAE", 2),
        ("IWAE", 1),
        ("IWAE", 2),
    ]
    np.testing.assert_allclose(rows[0]["nll"], 26.80, atol=0.01)
    assert all(np.isfinite(row["nll"]) for row in rows)
    assert rows[1]["nll"] == rows[3]["nll"]  # with one particle both are the ELBO
    assert results["units"] == "nats per image; seconds"
    assert results["nll_particles"] == 10
    assert {"jax", "genmix", "python"} <= results["versions"].keys()
    config = json.loads((out / "config.json").read_text())
    assert config["dataset"] == "digits"
    assert width(out / "curves.png") > 500
    for model in ("elbo-k1", "elbo-k2", "iwae-k2"):
        assert width(out / model / "samples.png") > 500
        assert (out / model / "reconstructions.png").exists()
        assert (out / model / "metrics.jsonl").read_text().count("\n") == 5
        assert list((out / model / "tensorboard").iterdir())
        assert (out / model / "checkpoints" / "5").is_dir()
    assert not (out / "iwae-k1").exists()
    printed = capsys.readouterr().out
    for word in ("NLL", "active units", "independent Bernoulli", "TensorBoard", "samples.png"):
        assert word in printed


def test_a_finished_run_resumes_to_the_same_figures(tmp_path):
    first = run(tmp_path)
    second = run(tmp_path, resume=True)
    timing = ("train_seconds", "nll_seconds")
    for a, b in zip(first, second, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {
            k: v for k, v in b.items() if k not in timing
        }


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 2, "estimator": "dreg"},
        {"objective": ("renyi",), "estimator": "resampled"},
        {"objective": ("vr-max",), "estimator": "weighted"},
        {"objective": ("elbo",), "estimator": "stl"},
        {"estimator": "score-function"},
        {"estimator": "score-function", "k": (1,)},
        {"stream": True},
        {"precision": "bf16"},
    ],
)
def test_every_option_trains(tmp_path, options):
    rows = run(tmp_path, **options)
    assert np.isfinite(rows[-1]["nll"])
    assert len(rows[-1]["active_units"]) == options.get("layers", 1)


@pytest.mark.parametrize(
    "dataset",
    ["mnist", "binarized-mnist", "fashion-mnist", "caltech-silhouettes", "frey-faces"],
)
@pytest.mark.slow
def test_every_data_set_trains(tmp_path, data_dir, dataset):
    rows = run(tmp_path, dataset=dataset, data_dir=data_dir, particles=2, patience=5)
    assert all(np.isfinite(row["nll"]) for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 1438},
            "batch_size must be at most 1437, the training images of digits; got",
        ),
        ({"objective": ("vr-max",), "estimator": "dreg"}, "vr_max is not twice differentiable"),
        ({"patience": 3}, "digits has no validation images"),
        ({"dataset": "mnist"}, "pass the folder that holds mnist/"),
        ({"alpha": float("nan"), "objective": ("renyi",)}, "alpha must be finite, got nan"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "0"], "k must be at least 1, got (0,)."),
        (["--k", "-5"], "k must be at least 1, got (-5,)."),
        (["--steps", "0"], "steps must be at least 1, got 0."),
        (["--particles", "0"], "particles must be at least 1, got 0."),
        (["--learning-rate", "0"], "learning_rate must be positive, got 0.0."),
        (["--learning-rate", "nan"], "learning_rate must be positive, got nan."),
        (["--resume"], "resume needs --out DIR, the run to go on with."),
        (["--dataset", "mnits"], "there is no data set 'mnits' (did you mean mnist?)"),
        (["--objective", "elboo"], "invalid choice 'elboo'"),
        (["--estimator", "best"], "invalid choice 'best' for argument '--estimator'."),
        (["--layers", "3"], "invalid choice '3' for argument '--layers'."),
        (["--k", "many"], "Error parsing --k: Could not find"),
        (["--dataset", "mnist"], "pass the folder that holds mnist/ as data_dir"),
        (["--dataset", "mnist", "--data-dir", "nowhere"], "expected nowhere/mnist/train-labels"),
        (["--steps", "1", "--bogus", "2"], "unrecognized options: --bogus"),
    ],
)
def test_bad_command_lines_say_what_to_do_and_exit_with_2(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["iwae", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit:
        command_line.run(iwae.main, iwae.Config)
    assert exit.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message.lower() in error.lower()
    assert "Traceback" not in error
