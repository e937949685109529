import jax
import pytest

from experiments import hierarchies
from genmix import data
from genmix.families import LatentVariableModel, TopDown

NAMES = ("plain", "ladder", "iaf-top-down", "biva", "very-deep")


def test_all_have_the_same_layers():
    config = hierarchies.Config(latents=(3, 2), hidden=4)
    dataset = data.load("digits", pixels="bits")
    for name in NAMES:
        model = hierarchies.build(config, dataset, name)
        assert isinstance(model, LatentVariableModel if name == "plain" else TopDown)
        rates = lambda key, x, model=model: model.log_weight_terms(key, x).rates
        rates = jax.eval_shape(rates, jax.random.key(0), dataset.test[0])
        assert rates.shape == ((4,) if name == "biva" else (2,))
    one = hierarchies.build(hierarchies.Config(latents=(3,)), dataset, "ladder")
    assert jax.eval_shape(one.log_weight, jax.random.key(0), dataset.test[0]).shape == ()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="latents must name the dimensions of at least one layer"):
        hierarchies.Config(latents=())


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    config = hierarchies.Config(
        latents=(3, 2), hidden=4, steps=20, particles=5, limit=20, out=tmp_path / "run"
    )
    rows = hierarchies.main(config)
    assert [row["model"] for row in rows] == list(NAMES)
    for row in rows:
        assert row["nll"] < row["negative_elbo"]
        assert len(row["layer_rates"]) == len(row["active_units"])
    assert (tmp_path / "run" / "samples.png").is_file()
    assert "active" in capsys.readouterr().out
