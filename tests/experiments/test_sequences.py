import json
from typing import Any

import jax
import numpy as np
import pytest

from experiments import sequences
from experiments.sequential import models
from genmix.data import pianorolls
from genmix.families.sequence import unrolled


def test_a_run_leaves_everything_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(sequences, "BUCKETS", 1)
    config = sequences.Config(
        dataset="digits",
        objective=("fivo",),
        particles=(2,),
        test_particles=2,
        hidden=4,
        latent=2,
        steps=5,
        out=tmp_path,
    )
    rows = sequences.main(config)
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert (tmp_path / "FIVO-N=2" / "rolls.png").exists()
    assert [row["model"] for row in rows][2:] == ["trained by FIVO N=2"]
    # Eight pixels a step; the network starts at the means of the training set.
    assert all(2 < rows[2][name] < 6 for name in ("elbo", "iwae", "fivo"))


@pytest.mark.parametrize("name", ["vrnn", "deep-markov", "deep-markov-iaf"])
def test_models_start_at_the_means_of_the_keys(name):
    """All steps of a model draw keys about as often as the training set has them."""
    config = sequences.Config(dataset="digits", hidden=4, latent=2)
    dataset = sequences.load(config)
    model = models.build(config, dataset, name)
    draw = lambda key: unrolled.generate(model, key, 8)
    found = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 2000)), float)
    often = np.concatenate(dataset.train).mean(0)
    assert np.corrcoef(found.mean((0, 1)), often)[0, 1] > 0.9


def test_the_picture_has_the_posterior_and_the_prior_of_a_chain():
    """A first step stands under the initial part, the others under the transition."""
    config = sequences.Config(dataset="digits", hidden=4, latent=2)
    dataset = sequences.load(config)
    model = models.build(config, dataset, "deep-markov-iaf")
    x = jax.numpy.asarray(dataset.test[0], jax.numpy.float32)
    panels = jax.eval_shape(lambda key: sequences.shown(model, key, x), jax.random.key(0))
    assert [panel.shape for panel in panels] == [x.shape] * 3


def test_rows_without_latents_are_those_of_the_literature(data_dir):
    """About -11.06 and -10.48 nats a step on the chorales, where counts are smoothed otherwise."""
    rows = sequences.without_latents(pianorolls.load("jsb-chorales", data_dir))
    np.testing.assert_allclose([row["exact"] for row in rows], [11.06, 10.48], atol=0.05)


def test_all_steps_count_alike():
    got, _ = sequences.per_step(np.array([-3.0, -9.0]), [np.zeros((1, 2)), np.zeros((5, 2))])
    assert got == 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"particles": ()}, r"particles must name at least one, got \(\)"),
        ({"piece": 0}, "piece must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message):
    with pytest.raises(ValueError, match=message):
        sequences.Config(**settings)


def test_music_needs_its_folder():
    with pytest.raises(ValueError, match=r"pianorolls/jsb_chorales\.npz"):
        sequences.experiment(sequences.Config())
