"""Run by tests/test_processes.py, once in each process of a run: trains a small IWAE.

The order is a line of JSON: {"processes", "mesh", "runs": [{"directory", "num_rounds", ...}],
"results"}.
"""

import contextlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
import optax
from flax import nnx
from jax.experimental import multihost_utils

from genmix import objectives, processes, sharding
from genmix.evaluation.likelihood import log_likelihood
from genmix.nets import state
from genmix.training import Plan, Player, Run, Validation, fit
from tests.sharded_program import BITS, vae


def nll(model):
    key = jax.random.key(2)
    return log_likelihood(key, model, BITS[:13], num_particles=50, rows_per_chunk=200).nll


def play(directory, num_rounds, resume=False, scatter_from=None):
    plan = Plan(
        num_rounds=num_rounds,
        batch_size=16,
        rounds_per_call=5,
        validation=Validation(lambda model: -nll(model), every=5),
        scatter_from=scatter_from,
    )
    run = Run(directory=directory, resume=resume, label=None)
    player = Player(loss=objectives.iwae(4), optimizer=optax.adam(1e-2))
    result = fit(jax.random.key(0), vae(), [player], BITS, plan, run)
    parameters = state.variables(result.state.model, nnx.Param).values()
    values = multihost_utils.process_allgather(list(parameters), tiled=True)
    return {
        "parameters": np.concatenate([value.ravel() for value in values]).tolist(),
        "history": {name: values[1].tolist() for name, values in result.history.items()},
        "nll": nll(result.model),
        "largest_shard": max(a.addressable_shards[0].data.size for a in parameters),
        "processes": jax.process_count(),
    }


def main(order):
    if order["processes"] is not None:
        processes.join(order["processes"])
    mesh = sharding.parse(order["mesh"]) if order["mesh"] is not None else None
    with jax.set_mesh(mesh) if mesh is not None else contextlib.nullcontext():
        results = [play(**run) for run in order["runs"]]
    if jax.process_index() == 0:
        Path(order["results"]).write_text(json.dumps(results))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
