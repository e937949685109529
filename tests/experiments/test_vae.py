import json
import sys
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import study, vae
from genmix import evaluation
from genmix.runs import command_line
from genmix.training import Plan

TINY = {"steps": 5, "batch_size": 10, "particles": 10, "hidden": 4, "latent": 3}
PICTURES = ["samples", "reconstructions", "interpolations", "traversal", "curves"]


def run(tmp_path, **options):
    (row,) = vae.main(vae.Config(**{**TINY, "out": tmp_path / "run", **options}))
    return row


def size(picture):
    with Image.open(picture) as image:
        return image.size


def test_a_run_leaves_everything_behind(tmp_path, capsys):
    values = run(tmp_path)
    out = tmp_path / "run"
    results = json.loads((out / "results.json").read_text())
    assert results["rows"] == [values]
    assert results["units"] == "nats per image; seconds"
    assert values["elbo"] == values["reconstruction"] - values["rate"]
    np.testing.assert_allclose(values["rate"], np.sum(values["rate_by_dimension"]), rtol=1e-6)
    assert -values["nll"] > values["elbo"]
    assert values["bits_per_dim"] is None
    np.testing.assert_allclose(values["independent_pixels_nll"], 26.80, atol=0.01)
    assert json.loads((out / "config.json").read_text())["decoder"] == "bernoulli"
    for name in PICTURES:
        assert size(out / f"{name}.png")[0] > 500
    # Three rows of eleven cells for the dimensions, ten pairs for the interpolations.
    assert size(out / "traversal.png") == (11 * 58 + 2, 3 * 58 + 2)
    assert size(out / "interpolations.png") == (11 * 58 + 2, 10 * 58 + 2)
    assert not (out / "manifold.png").exists()
    assert (out / "checkpoints" / "5").is_dir()
    assert list((out / "tensorboard").iterdir())
    printed = capsys.readouterr().out
    for word in ("ELBO", "NLL", "active units", "rate KL", "TensorBoard", "traversal.png"):
        assert word in printed
    assert "bits/dim" not in printed


@pytest.mark.slow
def test_a_finished_run_resumes_to_the_same_figures(tmp_path):
    first, second = run(tmp_path), run(tmp_path, resume=True)
    assert {**second, "train_seconds": 0} == {**first, "train_seconds": 0}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"network": "mlp", "decoder": "normal", "rate_beta": 4.0, "rate_warm_up": 3},
            marks=pytest.mark.slow,
        ),
        {"network": "mlp", "decoder": "discretized-logistic", "rate_free_nats": 0.5},
        pytest.param(
            {"network": "conv", "decoder": "bernoulli", "rate_analytic": False},
            marks=pytest.mark.slow,
        ),
        pytest.param({"network": "conv", "decoder": "normal"}, marks=pytest.mark.slow),
        pytest.param(
            {"network": "conv", "decoder": "discretized-logistic"}, marks=pytest.mark.slow
        ),
    ],
)
def test_every_option_trains(tmp_path, capsys, options):
    values, decoder = run(tmp_path, latent=2, **options), options["decoder"]
    assert all(np.isfinite(values[n]) for n in ("elbo", "nll", "rate", "reconstruction"))
    out = tmp_path / "run"
    assert size(out / "manifold.png") == (20 * 58 + 2, 20 * 58 + 2)
    assert size(out / "posterior_means.png")[0] > 500
    printed = capsys.readouterr().out
    assert ("bits/dim" in printed) == (decoder != "bernoulli")
    assert ("nats, density on [0, 1]^64" in printed) == (decoder == "normal")
    units = json.loads((out / "results.json").read_text())["units"]
    assert ("density" in units) == (decoder == "normal")


def test_bits_per_dimension_of_both_grey_decoders_mean_the_same():
    """A density of levels with noise is num_levels times their probability, in each dimension."""
    normal, logistic = (vae.Config(decoder=d) for d in ("normal", "discretized-logistic"))
    dataset = vae.load(normal)
    bits = [
        vae.bits_per_dim(config, dataset, vae.independent_pixels(config, dataset))
        for config in (normal, logistic)
    ]
    assert bits[0] == pytest.approx(bits[1], rel=1e-6)
    difference = vae.independent_pixels(logistic, dataset) - vae.independent_pixels(normal, dataset)
    np.testing.assert_allclose(difference, 64 * np.log(17), rtol=1e-6)


def test_levels_with_noise_are_numbers_in_the_unit_interval():
    config = vae.Config(decoder="normal")
    dataset = vae.load(config)
    x = vae.as_seen(config, dataset, dataset.test)
    np.testing.assert_array_equal(np.floor(17 * x), dataset.test)
    noisy = vae.transform(config, dataset)
    assert noisy is not None
    batch = noisy(jax.random.key(1), dataset.test)
    np.testing.assert_array_equal(np.floor(17 * batch), dataset.test)
    assert np.all(batch != x)


@pytest.mark.parametrize(
    ("dataset", "decoder"),
    [
        ("mnist", "bernoulli"),
        ("mnist", "normal"),
        ("fashion-mnist", "discretized-logistic"),
        ("binarized-mnist", "bernoulli"),
        ("caltech-silhouettes", "bernoulli"),
        ("frey-faces", "discretized-logistic"),
        ("frey-faces", "normal"),
    ],
)
@pytest.mark.slow
def test_every_data_set_trains(tmp_path, data_dir, dataset, decoder):
    values = run(
        tmp_path,
        dataset=dataset,
        decoder=decoder,
        network="conv",
        latent=2,
        data_dir=data_dir,
        particles=2,
    )
    assert np.isfinite(values["nll"])
    assert (tmp_path / "run" / "posterior_means.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 1438},
            "batch_size must be at most 1437, the training examples; got",
        ),
        ({"dataset": "mnist"}, "pass the folder that holds mnist/"),
        (
            {"dataset": "caltech-silhouettes", "decoder": "normal"},
            "caltech-silhouettes has bits and no grey levels, which a normal decoder is for",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **options)
    assert not (tmp_path / "run").exists()


def test_grey_levels_are_no_bits(data_dir):
    with pytest.raises(ValueError, match="frey-faces has 256 grey levels, and a bernoulli decoder"):
        vae.load(vae.Config(dataset="frey-faces", data_dir=data_dir))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--latent", "0"], "latent must be at least 1, got 0."),
        (["--steps", "0"], "steps must be at least 1, got 0."),
        (["--rate-beta", "-1"], "rate_beta must not be negative, got -1.0."),
        (["--rate-beta", "nan"], "rate_beta must not be negative, got nan."),
        (["--rate-warm-up", "-1"], "rate_warm_up must not be negative, got -1."),
        (["--learning-rate", "0"], "learning_rate must be positive, got 0.0."),
        (["--decoder", "poisson"], "invalid choice 'poisson' for argument '--decoder'."),
        (["--network", "rnn"], "invalid choice 'rnn' for argument '--network'."),
        (["--dataset", "mnist"], "pass the folder that holds mnist/ as data_dir"),
        (["--resume"], "resume needs --out DIR, the run to go on with."),
    ],
)
def test_bad_command_lines_say_what_to_do_and_exit_with_2(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["vae", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit:
        command_line.run(vae.main, vae.Config)
    assert exit.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message.lower() in error.lower()
    assert "Traceback" not in error


def test_what_is_kept_is_the_best_on_validation_images(tmp_path, monkeypatch):
    digits = vae.load(vae.Config(decoder="discretized-logistic"))
    assert vae.validation(vae.Config(), digits) is None
    few = digits._replace(train=digits.train[:20], valid=digits.train[20:60])
    options: dict[str, Any] = {"patience": 2, "rate_beta": 2.0, **TINY}
    config = vae.Config(decoder="discretized-logistic", **options)
    validation = vae.validation(config, few)
    assert validation is not None
    assert (validation.every, validation.patience) == (5, 2)
    model = vae.build(config, few)
    bound = evaluation.elbo(config.key, model, few.valid, num_samples=1)
    expected = np.mean(bound.log_likelihood) - 2 * np.mean(bound.rates)
    np.testing.assert_allclose(validation.score(model), expected, rtol=1e-5)
    monkeypatch.setattr(vae, "load", lambda config: few)
    (variant,) = vae.experiment(config).variants
    assert isinstance(variant, study.Variant)
    assert isinstance(variant.plan, Plan)
    assert variant.plan.validation is not None
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has no validation images, so it cannot stop early"):
        vae.experiment(vae.Config(patience=2))


def test_one_test_image_has_figures_and_pictures(tmp_path):
    values = run(tmp_path, limit=1)
    assert values["nll"] > 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["rows"][0]["nll_standard_error"] is None
    assert (tmp_path / "run" / "reconstructions.png").is_file()
