"""On eight virtual devices every number is that of one device, to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from genmix import sharding

MESHES = ["data=8", "data=2,particle=4"]
# Compilation is most of the time, and there is nothing to optimize.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def results():
    environment = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"}
    program = [sys.executable, "-m", "tests.sharded_program", "none", *MESHES]
    run = subprocess.run(
        program, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    ("mesh", "game"),
    [("data=8", "iwae"), ("data=8", "two players")]
    + [
        ("data=2,particle=4", game) for game in ("elbo", "iwae", "dreg", "resampled", "two players")
    ],
)
def test_training_does_not_depend_on_the_mesh(results, mesh, game):
    one, many = results["none"][game], results[mesh][game]
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(many["parameters"], one["parameters"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mesh", MESHES)
def test_nll_does_not_depend_on_the_mesh(results, mesh):
    one, many = results["none"]["nll"]["log_px"], results[mesh]["nll"]["log_px"]
    np.testing.assert_allclose(many, one, rtol=1e-6)


@pytest.mark.parametrize("mesh", MESHES)
def test_training_reduces_over_devices_and_gathers_nothing(results, mesh):
    assert results[mesh]["iwae"]["gathers"] == 0


def test_bounds_take_two_reductions_of_a_number_an_event(results):
    """The logsumexp over sharded particles: no device sees the log-weights of others.

    It is what `pmax` and `psum` in a `jax.shard_map` come to, so the compiler is left to it. Of 16
    events each of the two rows of devices has 8.
    """
    assert results["data=2,particle=4"]["bound"]["collectives"] == [
        "all-reduce add f32[8]",
        "all-reduce maximum f32[8]",
    ]


@pytest.mark.parametrize("mesh", MESHES)
def test_scattered_training_is_the_same(results, mesh):
    one, many = results["none"]["iwae"], results[mesh]["scattered"]
    np.testing.assert_allclose(many["parameters"], one["parameters"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("mesh", "share"), [("data=8", 0.3), ("data=2,particle=4", 0.6)])
def test_scattered_states_take_less_of_each_device(results, mesh, share):
    """By nearly the number of devices along "data"; small arrays stay whole on each."""
    whole, parts = (results[mesh][name]["bytes_on_a_device"] for name in ("iwae", "scattered"))
    assert parts <= share * whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data", r"described as data=D,particle=P with whole numbers, got 'data'"),
        ("data=two", "with whole numbers, got 'data=two'"),
        ("data=-1", "with whole numbers, got 'data=-1'"),
        ("model=2", "with whole numbers, got 'model=2'"),
        ("data=1,data=1", "with whole numbers, got 'data=1,data=1'"),
        ("", "with whole numbers, got ''"),
        ("data=3,particle=5", "data=3,particle=5 needs 15 devices, but there are"),
        ("data=0", "the mesh data=0,particle=1 needs 0 devices"),
    ],
)
def test_descriptions_that_make_no_sense_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        sharding.parse(text)


def test_lengths_that_do_not_divide_are_refused():
    """On an abstract mesh: nothing runs, so one device is enough."""
    mesh = jax.sharding.AbstractMesh((4, 2), ("data", "particle"))
    with jax.sharding.use_abstract_mesh(mesh):
        assert sharding.rounded_up(9, "data") == 12
        with pytest.raises(ValueError, match=r"batch_size must be a multiple of 4, .* got 6"):
            sharding.along(np.zeros(6), "data", "batch_size")
    assert sharding.rounded_up(9, "data") == 9
    assert sharding.spmd_axis("data") is None
