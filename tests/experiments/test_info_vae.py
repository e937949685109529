import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import info_vae
from genmix import data

TINY: dict[str, Any] = {
    "steps": 4,
    "hidden": 4,
    "width": 2,
    "layers": 2,
    "latent": 2,
    "particles": 5,
    "events": 50,
    "batch_size": 20,
}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys):
    config = info_vae.Config(**TINY, model=("VAE", "AAE"), out=tmp_path / "run")
    rows = info_vae.main(config)
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["model"] for row in rows] == 2 * ["VAE", "AAE"]
    assert [row["decoder"] for row in rows] == ["mlp", "mlp", "pixelcnn", "pixelcnn"]
    for row in rows:
        rate = row["information"] + row["marginal_kl"]
        np.testing.assert_allclose(row["elbo"], row["reconstruction"] - rate, rtol=1e-4)
        assert row["information"] < np.log(50) + 1e-3
    assert all((out / f"samples-{name}.png").is_file() for name in config.decoder)
    assert "I(x; z)" in capsys.readouterr().out


@pytest.mark.slow
def test_objectives_are_weighed_sums_of_two_terms():
    config = info_vae.Config(**TINY)
    dataset = data.load("digits")
    model = info_vae.build(config, dataset.test.shape[1:])
    x = jnp.round(jnp.asarray(dataset.test[:20]))

    @jax.jit
    def evaluate():
        teams = [info_vae.players(config, info_vae.MODELS[n], 1) for n in ("VAE", "InfoVAE")]
        carry = (jnp.zeros((), int), ())
        return [player.loss(model, jax.random.key(0), x, carry) for (player,) in teams]

    (vae, (metrics, _)), (info, (same, _)) = evaluate()
    np.testing.assert_allclose(vae, -metrics["elbo"], rtol=1e-5)
    expected = -same["log_likelihood"] + 0.25 * same["rate"] + 100 * same["latent_mmd"]
    np.testing.assert_allclose(info, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "latent must be at least 1, got 0"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2 for an MMD, got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        info_vae.Config(**options)
