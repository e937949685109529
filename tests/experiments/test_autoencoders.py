import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import autoencoders
from genmix.data import grey

TINY: dict[str, Any] = {"steps": 4, "batch_size": 20, "hidden": 4, "limit": 60}
SOURCE = grey.load_images("digits", limit=60)


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows = autoencoders.main(autoencoders.Config(**TINY, out=tmp_path / "run"))
    out = tmp_path / "run"
    assert json.loads((out / "results.json").read_text())["rows"] == rows
    names = ["PCA", *autoencoders.KINDS]
    expected = [(name, dim) for name in names for dim in (2, 5)]
    expected += [(name, 2) for name in autoencoders.HALVES]
    assert [(row["model"], row["bottleneck"]) for row in rows] == expected
    assert all(row["squared_error"] > rows[1]["squared_error"] for row in rows[2:])
    for picture in ("reconstructions", "denoised", "latents"):
        assert (out / f"{picture}.png").is_file()
    assert "PSNR" in capsys.readouterr().out


def test_principal_components_have_the_figures_of_any_model():
    restore, encode = autoencoders.principal(SOURCE, 5)
    found = autoencoders.figures(autoencoders.Config(), SOURCE, restore, encode)
    error = np.sum((SOURCE.test - np.asarray(restore(jnp.asarray(SOURCE.test)))) ** 2)
    np.testing.assert_allclose(found["squared_error"], error / len(SOURCE.test), rtol=1e-4)
    assert found["psnr"] > found["psnr_denoised"]
    assert 0.5 < found["probe"] <= 1


@pytest.mark.parametrize("kind", [*autoencoders.KINDS, *autoencoders.HALVES])
def test_each_kind_gives_back_images(kind):
    config = autoencoders.Config(**TINY)
    x = jnp.asarray(SOURCE.test[:2], jnp.float32)

    def restore() -> jax.Array:
        return autoencoders.restored(autoencoders.build(config, kind, 2, x.shape[1:]), x)

    assert jax.eval_shape(restore).shape == x.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bottleneck": (2, 2)}, "bottleneck must name each once"),
        ({"amount": 0.0}, "amount must be positive, got 0"),
        ({"amount": 1.5}, "rate must be between 0 and 1, got 1.5"),
        ({"amount": 1.5, "noise": "salt-and-pepper"}, "at most 1, got 1.5"),
        ({"bottleneck": (65,)}, "num_components must be between 1 and 64"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        autoencoders.main(autoencoders.Config(**TINY | options, out=tmp_path))
