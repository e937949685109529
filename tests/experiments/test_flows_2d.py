import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import flows_2d
from experiments.plane import energies, flows
from genmix.evaluation import pictures

TINY: dict[str, Any] = {"energy_steps": 2, "steps": 2, "batch_size": 4, "draws": 1000, "points": 50}


@pytest.mark.parametrize("name", energies.ENERGIES)
def test_integrals_of_the_energies(name):
    """Published with four digits; the walls add two half normal densities."""
    x = energies.grid(-8.0, 8.0, 400)
    log_p = -jax.vmap(energies.ENERGIES[name])(x)
    if name != "U1":
        log_p = jnp.where(jnp.abs(x[:, 0]) < 4, log_p, -jnp.inf)
    log_z = jax.nn.logsumexp(log_p) + 2 * jnp.log(16 / 400)
    np.testing.assert_allclose(log_z, energies.LOG_Z[name], atol=2e-4)


def test_walls_add_little():
    width = energies.WALL * np.sqrt(np.pi / 2)
    expected = energies.LOG_Z["U2"] + np.log(1 + width / 4)
    np.testing.assert_allclose(energies.log_z_of_walled("U2"), expected, atol=1e-3)


@pytest.mark.slow
def test_a_run_leaves_everything_behind(tmp_path, capsys):
    config = flows_2d.Config(
        flow=("planar",),
        layers=(2,),
        density=("planar",),
        shape=("rings", "banana"),
        out=tmp_path,
        **TINY,
    )
    rows = flows_2d.main(config)
    assert [row["energy"] for row in rows[:4]] == ["U1", "U2", "U3", "U4"]
    assert all(row["kl"] > -3 * row["kl_standard_error"] for row in rows[:4])
    assert np.isfinite([rows[4]["rings"], rows[4]["banana"]]).all()
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"] == rows
    assert {path.name for path in tmp_path.glob("*.png")} == {"energies-planar.png", "points.png"}
    printed = capsys.readouterr().out
    assert "KL(q || p)" in printed
    assert "3.531" in printed


@pytest.mark.slow
def test_depth_brings_a_flow_nearer_and_its_weights_to_the_integral(tmp_path):
    config = flows_2d.Config(
        flow=("planar",), layers=(2, 16), density=(), energy_steps=2000, out=tmp_path
    )
    rows = flows_2d.main(config)
    shallow, deep = rows[:4], rows[4:]
    for a, b in zip(shallow, deep, strict=True):
        assert b["kl"] < a["kl"]
    first = deep[0]
    # ten standard errors: the weights have a heavy tail
    assert abs(first["log_z"] - first["log_z_exact"]) < 10 * first["log_z_standard_error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", flows_2d.Config().density)
def test_every_density_is_one_and_trains(tmp_path, name):
    options: dict[str, Any] = TINY | {"points": 2000}
    config = flows_2d.Config(flow=(), density=(name,), shape=("pinwheel",), out=tmp_path, **options)
    row = flows_2d.main(config)[0]
    assert np.isfinite(row["pinwheel"])
    data, _ = flows_2d.points_of(config)
    flow = flows.member(flows_2d.densities(config, name, data), 0)
    x = energies.grid(-12.0, 12.0, 400)
    log_z = jax.nn.logsumexp(flows.log_probs(flow, x)) + 2 * np.log(24 / 400)
    np.testing.assert_allclose(log_z, 0, atol=2e-3)


def test_fields_need_the_same_columns(tmp_path):
    field = np.ones((3, 3))
    with pytest.raises(ValueError, match="every row needs the same columns, at least one, got"):
        pictures.save_fields(tmp_path / "x.png", {"a": {"p": field}, "b": {"q": field}}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 1}, "draws must be at least 2, got 1"),
        ({"points": 100}, "points must be at least 256, got 100"),
        ({"layers": (2, 0)}, "layers must be at least 1, got"),
        ({"learning_rate": 0.0}, "learning_rate must be positive, got 0.0"),
        ({"resume": True}, "resume needs --out DIR"),
    ],
)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        flows_2d.Config(**options)
