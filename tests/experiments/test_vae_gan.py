import json
from typing import Any

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
