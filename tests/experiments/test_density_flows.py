import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import density_flows
from genmix import evaluation

TINY: dict[str, Any] = {"steps": 2, "batch_size": 10, "layers": 1, "hidden": 8, "particles": 2}


def test_digits_keep_a_tenth_of_their_training_images_to_validate():
    dataset = density_flows.load(density_flows.Config())
    assert [len(part) for part in (dataset.train, dataset.valid, dataset.test)] == [1293, 144, 360]
    figures = evaluation.baselines.independent_pixels(dataset)
    np.testing.assert_allclose(figures["nll"], 106.136, atol=0.01)
    np.testing.assert_allclose(figures["bits_per_dim"], 106.136 / (64 * np.log(2)), rtol=1e-4)


def test_learned_noise_starts_nearly_uniform():
    """Its entropy, at most 0 on the unit cube, is that of a wide normal variable in a sigmoid."""
    noise = density_flows.learned_noise(6, 8, nnx.Rngs(0))
    x = jax.random.uniform(jax.random.key(0), (6,))
    keys = jax.random.split(jax.random.key(1), 4000)
    u, log_q = jax.vmap(lambda key: noise.sample_and_log_prob(key, x))(keys)
    assert 0 < u.min() < u.max() < 1
    assert 0 < jnp.mean(log_q) < 0.3
    np.testing.assert_allclose(jnp.mean(u, axis=0), 0.5, atol=0.1)
    np.testing.assert_allclose(jnp.var(u, axis=0), 1 / 12, atol=0.02)


@pytest.mark.slow
def test_histograms_on_mnist(data_dir):
    """The figure of the literature's protocol, with the 50,000 to 59,600 first images."""
    config = density_flows.Config(dataset="mnist", data_dir=data_dir)
    dataset = density_flows.load(config)
    bits = evaluation.baselines.independent_pixels(dataset)["bits_per_dim"]
    np.testing.assert_allclose(bits, 1.689, atol=0.002)


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, capsys):
    config = density_flows.Config(
        flow=(
            "nice",
            "realnvp",
            "maf",
            "spline",
            "realnvp-multiscale",
            "spline-multiscale",
            "glow",
        ),
        out=tmp_path,
        **TINY,
    )
    rows = density_flows.main(config)
    assert [row["model"] for row in rows] == ["independent histograms", *config.flow]
    for row in rows[1:]:
        assert np.isfinite(row["bits_per_dim"])
        assert row["parameters"] > 64
        # more draws of the noise tighten the bound, two of them seldom by much
        assert row["bits_per_dim_tighter"] < row["bits_per_dim"] + 0.05
        assert (tmp_path / row["model"] / "samples.png").is_file()
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert "independent histograms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"flow": ()}, "flow must name at least one, got"),
        ({"margin": 0.5}, "margin must be between 0 and 1/2, got 0.5"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative, got -1.0"),
        ({"resume": True}, "resume needs --out DIR"),
        ({"noise": "flow", "flow": ("glow", "maf")}, "for flows of vectors, and glow takes images"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        density_flows.Config(**options)


def test_flows_of_images_have_their_rate_after_a_warm_up():
    config = density_flows.Config(steps=1000, learning_rate=1e-3)
    of_vectors, of_images = (density_flows.schedule(config, name) for name in ("maf", "glow"))
    steps = jnp.array([0, 25, 50, 525, 1000])
    got = jax.vmap(of_images)(steps)
    np.testing.assert_allclose(got, [0, 5e-3, 1e-2, 5e-3, 0], atol=1e-6)
    np.testing.assert_allclose(of_vectors(0), 1e-3, rtol=1e-6)


def test_splines_on_images_are_bijections_of_the_levels():
    dataset = density_flows.load(density_flows.Config())
    config = density_flows.Config(**TINY)
    model = density_flows.build(config, dataset, "spline-multiscale")
    flow = model.density
    y = jax.random.uniform(jax.random.key(0), (8, 8, 1), minval=0.1, maxval=0.9)
    z, log_det = flow.bijector.inverse_and_log_det(y)
    again, back = flow.bijector.forward_and_log_det(z)
    np.testing.assert_allclose(again, y, atol=1e-5)
    np.testing.assert_allclose(back, -log_det, rtol=1e-4)
    jacobian = jax.jacfwd(lambda y: flow.bijector.inverse_and_log_det(y)[0].reshape(-1))(y)
    exact = jnp.linalg.slogdet(jacobian.reshape(64, 64))[1]
    np.testing.assert_allclose(log_det, exact, rtol=1e-3)
