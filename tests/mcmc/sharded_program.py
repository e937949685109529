"""Run by test_runner.py on four virtual devices: chains with and without a mesh."""

import contextlib
import json
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genmix import mcmc, sharding
from genmix.mcmc import hmc, runner, warmup
from genmix.mcmc.engine import chains as many


def target(x):
    return jnp.sum(2 * x - jnp.exp(x)) - 0.3 * x[0] * x[1]


def main():
    kernel = hmc.build(target, 0.3, 2)
    results: dict[str, Any] = {"devices": jax.device_count()}
    mesh = sharding.make_mesh(chain=4)
    for name, context in (("one", contextlib.nullcontext()), ("split", jax.set_mesh(mesh))):
        with context:
            chains = mcmc.start(jax.random.key(0), kernel, jnp.zeros((8, 2)))
            chains, warm, _ = warmup.run(chains, kernel, num_steps=60, target_acceptance=0.8)
            chains = mcmc.start(jax.random.key(1), kernel, jnp.zeros((8, 2)))
            _, draws = mcmc.sample(chains, kernel, num_draws=5)
            _, summary = mcmc.summarize(
                chains, kernel, num_batches=4, batch_size=5, covariance=True
            )
            results[name] = {
                "draws": np.asarray(draws.position).tolist(),
                "mean": np.asarray(summary.mean()).tolist(),
                "r_hat": np.asarray(summary.r_hat()).tolist(),
                "covariance": np.asarray(summary.covariance).tolist(),
                "step_size": float(warm.step_size),
                "preconditioner": np.asarray(warm.preconditioner).tolist(),
            }
            if name == "split":
                assert len(draws.position.sharding.device_set) == 4
                results["collectives"] = collectives(chains, kernel)
                try:
                    mcmc.start(jax.random.key(2), kernel, jnp.zeros((6, 2)))
                except ValueError as error:
                    results["refused"] = str(error)
    json.dump(results, sys.stdout)


def collectives(chains, kernel):
    """Collectives in the compiled program that samples."""
    arrays, constants = many.apart(kernel)
    lowered = runner._sample.lower(
        chains,
        arrays,
        constants=constants,
        num_draws=5,
        thinning=1,
        of=None,
        chains_last=False,
        is_split=True,
        most=None,
    )
    text = lowered.compile().as_text()
    assert text is not None
    return len(re.findall(r"all-reduce|all-gather|collective-permute", text))


if __name__ == "__main__":
    main()
