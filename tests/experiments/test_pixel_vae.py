import json
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import pixel_vae
from genmix import data, objectives
from genmix.families import InputDropout, LatentVariableModel
from genmix.runs import command_line

TINY: dict[str, Any] = {
    "steps": 4, "batch_size": 5, "particles": 3, "hidden": 4, "latent": 2, "width": 4, "layers": 2,
}  # fmt: skip
DIGITS = data.load("digits")


@pytest.mark.parametrize("name", pixel_vae.TOOLS)
def test_each_row_has_the_model_and_the_tools_that_it_names(name):
    config = pixel_vae.Config(**TINY, reach=2)
    model: Any = pixel_vae.build(config, DIGITS, name)
    tools = pixel_vae.TOOLS[name]
    evaluated = pixel_vae.without_dropout(model)
    assert isinstance(model, LatentVariableModel) == (name != "pixelcnn")
    if name not in ("pixelcnn", "vae"):
        assert isinstance(model.likelihood, InputDropout) == ("dropout" in tools)
        assert evaluated.likelihood.network.reach == (2 if "reach" in tools else 4)
        assert evaluated.posterior is model.posterior
    loss = lambda model: objectives.elbo()(model, jax.random.key(0), DIGITS.test[:2], ())[0]
    gradient = jax.eval_shape(jax.grad(loss), model)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))


def run(tmp_path, **options):
    return pixel_vae.main(pixel_vae.Config(**{**TINY, "out": tmp_path / "run", **options}))


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    options = {"model": ("pixelcnn", "vae", "plain", "all")}
    rows = run(tmp_path, **options)
    out = tmp_path / "run"
    results = json.loads((out / "results.json").read_text())
    assert results["rows"] == rows
    assert [row["model"] for row in rows] == [
        "independent Bernoulli",
        "PixelCNN, no z",
        "VAE, pixels independent given z",
        "PixelVAE",
        "with all four",
    ]
    np.testing.assert_allclose(rows[0]["nll"], 26.80, atol=0.01)
    assert "rate" not in rows[1]
    for row in rows[2:]:
        assert np.isfinite([row["nll"], row["elbo"], row["rate"]]).all()
    for picture in ("rates", "pixelcnn/samples", "all/samples", "all/draws_given_z"):
        with Image.open(out / f"{picture}.png") as image:
            assert image.width > 500
    lines = (out / "all" / "metrics.jsonl").read_text().splitlines()
    beta = [json.loads(line)["beta"] for line in lines]
    assert beta == [0.0, 0.5, 1.0, 1.0]
    printed = capsys.readouterr().out
    for word in ("NLL", "KL", "active units", "with all four", "TensorBoard"):
        assert word in printed
    again = run(tmp_path, resume=True, **options)
    for first, second in zip(rows, again, strict=True):
        assert {**first, "train_seconds": 0} == {**second, "train_seconds": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--steps 0", "steps must be at least 1, got 0."),
        ("--reach 0", "reach must be at least 1, got 0."),
        ("--dropout 1.5", r"dropout must be in \[0, 1\], got 1.5."),
        ("--warm-up nan", r"warm_up must be in \[0, 1\], got nan."),
        ("--free-nats -1", "free_nats must not be negative, got -1.0."),
        ("--learning-rate 0", "learning_rate must be positive, got 0.0."),
        ("--model plain plain", "model must name each once"),
        ("--model pixel", "invalid choice 'pixel'"),
        ("--batch-size 1438", "batch_size must be at most 1437, the training examples"),
        ("--resume", "resume needs --out DIR"),
    ],
)
def test_bad_command_lines_say_what_to_do_and_exit_with_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(sys, "argv", ["pixel_vae", *arguments.split()])
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        command_line.run(pixel_vae.main, pixel_vae.Config)
    assert exit.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert re.search(message, error, re.IGNORECASE), error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_grey_levels_are_refused(data_dir):
    with pytest.raises(ValueError, match=r"frey-faces has 256 grey levels, .* experiments.mix"):
        pixel_vae.main(pixel_vae.Config(dataset="frey-faces", data_dir=data_dir))
