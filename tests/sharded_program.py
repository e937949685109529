"""Run by tests/test_sharding.py on eight virtual devices: numbers with and without a mesh."""

import contextlib
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from genmix import sharding
from genmix.bounds import doubly_reparameterized, resampled
from genmix.evaluation.likelihood import log_likelihood
from genmix.families import Bernoulli, FactorizedNormal, LatentVariableModel, StandardNormal
from genmix.nets import MLP, state
from genmix.training import Player, Term, compile_rounds, objectives, start

BITS = np.asarray(jax.random.bernoulli(jax.random.key(1), 0.4, (64, 12)), np.float32)


def vae():
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(4),
        likelihood=Bernoulli(MLP(4, (16,), 12, rngs=rngs)),
        posterior=FactorizedNormal(MLP(12, (16,), 8, rngs=rngs)),
    )


class Game(nnx.Module):
    def __init__(self):
        self.generator = MLP(3, (16,), 12, rngs=nnx.Rngs(0))
        self.critic = MLP(12, (16,), 1, rngs=nnx.Rngs(1))


def samples(game, key, batch):
    return jax.vmap(game.generator)(jax.random.normal(key, (len(batch), 3)))


def critic_loss(game, key, batch, carry):
    real, fake = jax.vmap(game.critic)(batch), jax.vmap(game.critic)(samples(game, key, batch))
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)), ({}, carry)


def generator_loss(game, key, batch, carry):
    return jnp.mean(jax.nn.softplus(-jax.vmap(game.critic)(samples(game, key, batch)))), ({}, carry)


def player(loss, **options):
    return Player(loss=loss, optimizer=optax.adam(1e-2), **options)


GAMES = {
    "elbo": lambda: (vae(), [player(objectives.elbo(4))]),
    "iwae": lambda: (vae(), [player(objectives.iwae(4))]),
    "dreg": lambda: (
        vae(),
        [player(objectives.iwae(4, estimator=doubly_reparameterized.estimate))],
    ),
    "resampled": lambda: (vae(), [player(objectives.iwae(4, estimator=resampled.estimate))]),
    "two players": lambda: (
        Game(),
        [
            player(Term(critic_loss), name="critic", owns=("critic",), steps=2),
            player(Term(generator_loss), name="generator", owns=("generator",)),
        ],
    ),
}


def play(name, scatter=False):
    model, players = GAMES[name]()
    game = sharding.replicated(start(jax.random.key(0), model, players))
    rounds = compile_rounds(
        players, batch_size=16, num_rounds=5, scatter_from=100 if scatter else None
    )
    lowered = rounds.lower(game, sharding.replicated(jnp.asarray(BITS)))
    program = lowered.compile()
    game, metrics = program(game, sharding.replicated(jnp.asarray(BITS)))
    values = [np.asarray(v).ravel() for v in state.variables(game.model, nnx.Param).values()]
    return {
        "parameters": np.concatenate(values).tolist(),
        "loss": np.concatenate([np.asarray(v) for k, v in metrics.items() if "loss" in k]).tolist(),
        "largest_shard": max(
            leaf.addressable_shards[0].data.size for leaf in jax.tree.leaves(game.optimizers)
        ),
        "gathers": (program.as_text() or "").count(" all-gather("),
    }


def main(meshes):
    results = {}
    for text in meshes:
        mesh = sharding.parse(text) if text != "none" else None
        with jax.set_mesh(mesh) if mesh is not None else contextlib.nullcontext():
            result = {name: play(name) for name in GAMES}
            result["scattered"] = play("iwae", scatter=True)
            nll = log_likelihood(
                jax.random.key(2),
                sharding.replicated(vae()),
                BITS[:13],
                num_particles=50,
                rows_per_chunk=200,
            )
            result["nll"] = {"log_px": nll.log_px.tolist()}
            results[text] = result
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
