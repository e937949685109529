import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import beta_vae

TINY: dict[str, Any] = {
    "steps": 4,
    "hidden": 6,
    "latent": 2,
    "batch_size": 20,
    "side": 8,
    "images": 60,
    "test_images": 100,
}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = beta_vae.main(beta_vae.Config(**TINY, out=tmp_path / "run", beta=(0.0, 4.0)))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    assert [row["beta"] for row in rows] == [0.0, 4.0]
    for row in rows:
        assert 0 <= row["mig"] <= 1
        assert 0 <= row["factor_vae"] <= 1
        assert set(row["informations"]) == {"shape", "scale", "orientation", "x", "y"}
    assert (out / "data.png").is_file()
    assert (out / "beta-4.png").is_file()
    assert "FactorVAE" in capsys.readouterr().out


def test_beta_multiplies_the_rate():
    config = beta_vae.Config(**TINY)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (60, 8, 8, 1)), jnp.float32)
    (player,) = beta_vae.variant(config, 4.0, np.asarray(x)).players
    model = beta_vae.build(config)
    loss, (metrics, _) = jax.jit(player.loss)(model, jax.random.key(0), x, jnp.zeros((), int))
    assert metrics["rate"] > 1e-3
    np.testing.assert_allclose(loss, 4 * metrics["rate"] - metrics["log_likelihood"], rtol=1e-5)


def test_a_batch_has_no_more_than_all_images(tmp_path):
    options: dict[str, Any] = TINY | {"batch_size": 61, "out": tmp_path / "run"}
    config = beta_vae.Config(**options)
    with pytest.raises(ValueError, match="batch_size must be at most 60, the training examples"):
        beta_vae.main(config)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 1}, "latent must be at least 2 for a gap, got 1"),
        ({"beta": (-1.0,)}, "beta must not be negative, got"),
        ({"beta": ()}, "beta must name at least one, got"),
        ({"beta": (1.0, 1.0000001)}, r"beta must name each once, got \(1.0, 1.0000001\)"),
        ({"resume": True}, "resume needs --out DIR"),
        ({"side": 0}, "side must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        beta_vae.Config(**options)
