import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import flow_gan

TINY: dict[str, Any] = {
    "steps": 4,
    "layers": 2,
    "hidden": 8,
    "critic_steps": 2,
    "samples": 50,
    "batch_size": 20,
    "likelihood_weight": (0.1,),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "models"),
    [
        ({"dataset": "eight-gaussians"}, ["MLE", "ADV", "hybrid 0.1"]),
        ({"flow": "nice"}, ["(training images)", "MLE", "ADV", "hybrid 0.1"]),
    ],
)
def test_a_short_run(tmp_path, capsys, options, models):
    rows = flow_gan.main(flow_gan.Config(**{**TINY, "out": tmp_path / "run", **options}))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == models
    assert all(np.isfinite(row["nll"]) for row in rows[-3:])
    is_plane = options.get("dataset") == "eight-gaussians"
    assert (out / ("samples.png" if is_plane else "hybrid-0.1.png")).is_file()
    assert ("bits_per_dim" in rows[-1]) != is_plane
    assert "NLL" in capsys.readouterr().out


@pytest.mark.slow
def test_lambda_multiplies_the_log_likelihood():
    """In the loss, which is minimised, with a minus."""
    config = flow_gan.Config(**{**TINY, "dataset": "eight-gaussians"})
    source = flow_gan.load(config)
    game = flow_gan.build(config, source)
    x = jnp.asarray(source.train[:50], jnp.float32)
    losses = [flow_gan.players(config, w, has_critic=True)[1].loss for w in (0.5, 1.5)]
    values = [loss(game, jax.random.key(0), x, ((), ())) for loss in losses]
    nll = -float(values[0][1][0]["log_prob"])
    np.testing.assert_allclose(float(values[1][0] - values[0][0]), nll, rtol=1e-4)


def test_images_pass_through_levels():
    config = flow_gan.Config()
    source = flow_gan.load(config)
    x = source.noisy(jax.random.key(0), jnp.asarray(source.test[:5]))
    assert jnp.all((x >= 0) & (x < 1))
    expected = source.test[:5].reshape(5, 8, 8, 1) / 16
    np.testing.assert_allclose(source.to_image(x), expected, atol=1e-6)


def test_a_batch_has_no_more_than_all_events(tmp_path):
    config = flow_gan.Config(batch_size=1438, out=tmp_path / "run")
    with pytest.raises(ValueError, match="batch_size must be at most 1437, the training examples"):
        flow_gan.main(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"likelihood_weight": (0.0,)}, r"likelihood_weight must be positive, got \(0.0,\)"),
        ({"likelihood_weight": (1.0, 1.0)}, "likelihood_weight must name each once"),
        ({"samples": 3}, "samples must be at least 4, got 3"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        flow_gan.Config(**options)
