import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from experiments import gradient_estimators
from genmix import bounds, data
from genmix.nets import MLP, state
from genmix.runs import command_line
from genmix.training import Game

TINY = {
    "k": (1, 3),
    "table_k": 2,
    "draws": 40,
    "reference": 1,
    "images": 2,
    "steps": 5,
    "train_k": 2,
    "hidden": 4,
    "latent": 2,
}
DATASET = data.load("digits")


def run(out, **options):
    return gradient_estimators.main(
        gradient_estimators.Config(**{**TINY, "out": out / "run", **options})
    )


def of(rows, model):
    return [row for row in rows if row["model"] == model]


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, capsys):
    rows = run(tmp_path, k=(1,), table_k=1)
    out = tmp_path / "run"
    results = json.loads((out / "results.json").read_text())
    assert results["rows"] == rows
    assert {(r["bound"], r["k"]) for r in of(rows, "normal")} == {("elbo", 1)}
    assert len(of(rows, "discrete")) == 2 * (3 + 4 + 4)
    assert {"jax", "genmix", "python"} <= results["versions"].keys()
    assert json.loads((out / "config.json").read_text())["draws"] == 40
    with Image.open(out / "snr.png") as image:
        assert image.width > 1000
    for model in ("normal", "discrete"):
        assert list((out / model / "tensorboard").iterdir())
        assert (out / model / "checkpoints" / "5").is_dir()
    printed = capsys.readouterr().out
    for word in ("leave-one-out", "exact reference", "L_k, k = 2", "posterior: signal", "snr.png"):
        assert word in printed
    assert all(len(line) <= 80 for line in printed.splitlines() if str(out) not in line)


@pytest.mark.slow
def test_all_bounds_and_a_resumed_run(tmp_path):
    rows = run(tmp_path)
    settings = {("elbo", 1), ("elbo", 2), ("iwae", 2), ("iwae", 3)}
    assert {(r["bound"], r["k"]) for r in of(rows, "normal")} == settings
    assert len(of(rows, "normal")) == 2 * (8 + 3 * 9)
    agree_where_they_must(rows)
    untimed = lambda rows: [{**row, "train_seconds": 0} for row in rows]
    assert untimed(run(tmp_path, resume=True)) == untimed(rows)


def agree_where_they_must(rows):
    """Estimators that are the same function of the same random numbers."""
    table = {
        (r["model"], r["bound"], r["k"], r["estimator"], r["parameters"]): r["variance"]
        for r in rows
    }
    for (model, bound, k, name, group), variance in table.items():
        same = {"weighted": "plain", "DReG": "STL" if bound == "elbo" else None}.get(name)
        if group == "likelihood" and name != "resampled":
            same = "plain" if model == "normal" else "score, no baseline"
        if same is not None:
            expected = table[model, bound, k, same, group]
            np.testing.assert_allclose(variance, expected, rtol=1e-3)


def judged(make, **options):
    config = gradient_estimators.Config(**{**TINY, **options})
    model = make(config, nnx.Rngs(3))
    return config, Game(model=model, baseline=MLP((8, 8, 1), (), 1, rngs=nnx.Rngs(4)))


def images(n=2):
    return jnp.asarray(DATASET.test[:n])


def figures(rows, name, group="posterior"):
    return next(r for r in rows if (r["estimator"], r["parameters"]) == (name, group))


def test_score_functions_agree_with_the_exact_gradient():
    """|bias| < 5 errors of a t of 19 degrees in 6 comparisons: false alarm 5e-4, fixed key."""
    config, model = judged(gradient_estimators.discrete_model, draws=2000)
    exact = gradient_estimators.exact_gradient(model, images(), bounds.iwae.bound, 2)
    names = ("score, no baseline", "score, running mean", "score, leave-one-out")
    rows = gradient_estimators.measure(config, model, DATASET, "iwae", 2, names, exact)
    for row in rows:
        assert abs(row["bias"]) < 5 * row["bias_standard_error"], row["estimator"]
    assert figures(rows, names[2])["variance"] < 0.1 * figures(rows, names[0])["variance"]
    assert figures(rows, names[1])["variance"] < 0.5 * figures(rows, names[0])["variance"]


def test_more_particles_do_not_change_the_exact_gradient_of_the_elbo():
    _, model = judged(gradient_estimators.discrete_model)
    one, two = (
        gradient_estimators.exact_gradient(model, images(), bounds.elbo.bound, k) for k in (1, 2)
    )
    for group in gradient_estimators.GROUPS:
        np.testing.assert_allclose(one[group], two[group], rtol=1e-3, atol=1e-4)
        assert np.linalg.norm(one[group]) > 0.1


@pytest.mark.slow
def test_signal_to_noise_against_the_number_of_particles():
    """Rainforth et al. (2018): a quarter is left with 16 times the particles, or it is fourfold.

    With few particles it has not come to that yet. The posterior is wider than the true one, so
    that weights have all moments. Factors are asked for to within 1.5, or 2.2 for the plain one,
    whose ratio is least certain; both are beyond 4 standard errors, and the key is fixed.
    """
    config, model = judged(gradient_estimators.normal_model, draws=2000, reference=1)
    wide = {"model.posterior.network.out.bias": jnp.array([0.5, -0.5, 1.0, 1.2])}
    model = state.with_variables(model, wide)
    names = ("plain", "DReG", "STL")
    few, many = (
        gradient_estimators.measure(config, model, DATASET, "iwae", k, names) for k in (16, 256)
    )
    ratio = {n: figures(many, n)["snr"] / figures(few, n)["snr"] for n in names}
    assert 1 / 4 / 2.2 < ratio["plain"] < 2.2 / 4
    assert 4 / 1.5 < ratio["DReG"] < 1.5 * 4
    likelihood = [figures(r, "plain", "likelihood")["snr"] for r in (few, many)]
    assert 4 / 1.5 < likelihood[1] / likelihood[0] < 1.5 * 4
    stuck = figures(many, "STL")
    assert stuck["bias"] > 10 * stuck["bias_standard_error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "0"], "k must be at least 1, got (0,)."),
        (["--table-k", "0"], "table_k must be at least 1, got 0."),
        (["--draws", "50"], "draws must be a multiple of 20, at least 40, got 50."),
        (["--draws", "20"], "draws must be a multiple of 20, at least 40, got 20."),
        (["--steps", "0"], "steps must be at least 1, got 0."),
        (["--learning-rate", "nan"], "learning_rate must be positive, got nan."),
        (["--batch-size", "1438"], "batch_size must be at most 1437, the training examples"),
        (["--images", "361"], "images must be at most 360, the test images of digits; got 361"),
        (["--resume"], "resume needs --out DIR, the run to go on with."),
    ],
)
def test_bad_command_lines_say_what_to_do_and_exit_with_2(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["gradient_estimators", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit:
        command_line.run(gradient_estimators.main, gradient_estimators.Config)
    assert exit.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message.lower() in error.lower()
    assert "Traceback" not in error
