import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import flow_posteriors
from genmix import data
from genmix.families import Flow, FlowPosterior

TINY: dict[str, Any] = {
    "flows": 2,
    "columns": 2,
    "latent": 3,
    "hidden": 6,
    "steps": 2,
    "batch_size": 10,
    "particles": 4,
}


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, capsys):
    rows = flow_posteriors.main(flow_posteriors.Config(out=tmp_path, **TINY))
    assert [row["posterior"] for row in rows] == list(flow_posteriors.Config().posterior)
    for row in rows:
        assert -row["elbo"] > row["nll"]  # the bound of four particles is tighter
        assert row["posterior_parameters"] < row["parameters"]
    assert json.loads((tmp_path / "results.json").read_text())["rows"] == rows
    assert (tmp_path / "curves.png").is_file()
    assert "sylvester-triangular" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "kind"), [("diagonal", Flow), ("planar", FlowPosterior), ("iaf", Flow)]
)
def test_posteriors_depend_on_x_in_every_parameter(name, kind):
    """What the flow does to the same noise differs from image to image."""
    config, dataset = flow_posteriors.Config(**TINY), data.load("digits")
    posterior = flow_posteriors.build(config, dataset, name).posterior
    assert type(posterior) is kind
    x = jnp.asarray(dataset.test[:2])

    @jax.jit
    def moved(posterior, x):
        given = posterior.encoder(x)
        return posterior.bijector.forward_and_log_det(jnp.arange(3.0), given)[0]

    first, second = (np.asarray(moved(posterior, image)) for image in x)
    assert np.any(first != second) == (name != "diagonal")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flows": 0}, "flows must be at least 1, got 0"),
        ({"posterior": ()}, "posterior must name at least one, got"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        flow_posteriors.Config(**options)
