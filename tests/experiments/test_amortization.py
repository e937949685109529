import jax
import numpy as np
import pytest

from experiments import amortization
from genmix import data, evaluation
from genmix.families import LatentVariableModel, Optimized


def test_all_start_from_one_encoder():
    """SVI and the semi-amortized model have the VAE's networks; their z is moved on from it."""
    dataset = data.load("digits", pixels="bits")
    config = amortization.Config(hidden=4, latent=2, inner=1)
    models = {name: amortization.build(config, dataset, name) for name in config.model}
    first = jax.tree.leaves(models["VAE"])
    for name in ("SVI", "semi-amortized"):
        posterior = models[name].posterior
        assert isinstance(posterior, Optimized)
        assert posterior.through == (name == "semi-amortized")
        jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(models[name]), first)


def test_the_gaps_add_up_to_that_of_the_encoder():
    """And the best q is better than the encoder's, of a network that nobody trained."""
    dataset = data.load("digits", pixels="bits")
    dataset = dataset._replace(test=dataset.test[:8], test_labels=None)
    config = amortization.Config(hidden=4, latent=2, best=200, particles=200)
    model = amortization.build(config, dataset, "VAE")
    found = amortization.gaps(config, dataset, model)
    bound = evaluation.elbo(config.key, model, dataset.test, num_samples=20).elbo
    np.testing.assert_allclose(found["encoder_elbo"], bound, rtol=1e-5)
    total = found["approximation_gap"] + found["amortization_gap"]
    np.testing.assert_allclose(total, found["log_likelihood"] - bound, rtol=1e-5)
    assert found["amortization_gap"] > 0.01
    assert isinstance(model, LatentVariableModel)


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    config = amortization.Config(
        hidden=4, latent=2, inner=1, best=3, steps=20, particles=5, limit=20, out=tmp_path / "run"
    )
    rows = amortization.main(config)
    assert [row["model"] for row in rows] == ["VAE", "SVI", "semi-amortized"]
    assert "of amortization" in capsys.readouterr().out
