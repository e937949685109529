import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import vae_gan

TINY: dict[str, Any] = {
    "steps": 4,
    "hidden": 6,
    "latent": 2,
    "batch_size": 20,
    "samples": 60,
    "particles": 5,
}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = vae_gan.main(
        vae_gan.Config(**TINY, out=tmp_path / "run", model=("VAE", "+ data + latent", "VAE-GAN"))
    )
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == ["VAE", "+ data + latent", "VAE-GAN"]
    assert rows[2]["pixels"] == 0.0
    assert all(row["nll_standard_error"] > 0 for row in rows)
    assert (out / "samples.png").is_file()
    assert (out / "reconstructions.png").is_file()
    assert "precision" in capsys.readouterr().out


def test_only_the_critics_that_are_asked_play():
    team = lambda name: [
        player.name for player in vae_gan.players(vae_gan.Config(), vae_gan.MODELS[name])
    ]
    assert team("VAE") == ["model"]
    assert team("+ latent") == ["latents", "model"]
    assert team("+ data + latent") == ["images", "latents", "model"]
    assert team("VAE-GAN") == ["images", "model"]


def test_the_objective_is_the_weighed_sum_of_its_terms():
    """The critics' scores are 0, and the loss of a generator with that score log 2."""
    config = vae_gan.Config(**TINY)
    source = config.images()
    weights = vae_gan.Weights(pixels=2.0, features=3.0, data=5.0, latent=7.0)
    model = vae_gan.players(config, weights)[-1]

    @jax.jit
    def evaluate(x):
        game = vae_gan.build(config, source.test.shape[1:])
        game.images.out = jax.tree.map(jnp.zeros_like, game.images.out)
        game.latents = jax.tree.map(jnp.zeros_like, game.latents)
        return model.loss(game, jax.random.key(0), x, model.initial_carry(game))

    value, (metrics, _) = evaluate(jnp.asarray(source.train[:10], jnp.float32))
    likelihood = 2 * metrics["log_likelihood"] + 3 * metrics["feature_log_likelihood"]
    expected = metrics["rate"] - likelihood + 12 * np.log(2)
    np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"scale": 0.0}, "scale must be positive, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        vae_gan.Config(**options)
