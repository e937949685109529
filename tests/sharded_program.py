"""Run by tests/test_sharding.py on eight virtual devices: numbers with and without a mesh."""

import contextlib
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from genmix import bounds, objectives, sharding
from genmix.evaluation.likelihood import log_likelihood
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.families import weigh as weighing
from genmix.nets import MLP, state
from genmix.objectives import Term
from genmix.training import Game, Plan, Player, Run, compile_rounds, fit, start

BITS = (np.random.default_rng(1).random((64, 12)) < 0.4).astype(np.float32)


def vae():
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(4),
        likelihood=Bernoulli(MLP(4, (16,), 12, rngs=rngs)),
        posterior=Normal(MLP(12, (16,), 4, rngs=rngs)),
    )


def game():
    generator = MLP(3, (16,), 12, rngs=nnx.Rngs(0))
    return Game(generator=generator, critic=MLP(12, (16,), 1, rngs=nnx.Rngs(1)))


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
        [player(objectives.iwae(4, estimator=bounds.doubly_reparameterized))],
    ),
    "resampled": lambda: (vae(), [player(objectives.iwae(4, estimator=bounds.resampled))]),
    "two players": lambda: (
        game(),
        [
            player(Term(critic_loss), name="critic", steps=2),
            player(Term(generator_loss), name="generator"),
        ],
    ),
}


def parameters(model):
    values = [np.asarray(v).ravel() for v in state.variables(model, nnx.Param).values()]
    return np.concatenate(values).tolist()


def bytes_on_a_device(game):
    """Of the parameters and optimizer states."""
    leaves = jax.tree.leaves((game.model, game.optimizers))
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)


def play(name):
    model, players = GAMES[name]()
    game = sharding.replicated(start(jax.random.key(0), model, players))
    rounds = compile_rounds(players, batch_size=16, num_rounds=5)
    data = sharding.replicated(jnp.asarray(BITS))
    program = rounds.lower(game, data).compile()
    game, _ = program(game, data)
    game, metrics = program(game, data)  # the layout that comes out is the one that goes in
    return {
        "parameters": parameters(game.model),
        "loss": np.concatenate([np.asarray(v) for k, v in metrics.items() if "loss" in k]).tolist(),
        "bytes_on_a_device": bytes_on_a_device(game),
        "gathers": (program.as_text() or "").count(" all-gather("),
    }


def play_scattered():
    """The game "iwae" by `fit`, in two calls, its larger arrays split over the devices."""
    model, players = GAMES["iwae"]()
    plan = Plan(num_rounds=10, batch_size=16, rounds_per_call=5, scatter_from=100)
    result = fit(jax.random.key(0), model, players, BITS, plan, Run(label=None))
    return {
        "parameters": parameters(result.model),
        "bytes_on_a_device": bytes_on_a_device(result.state),
    }


def collectives(program):
    """Operation, reduction and shape of each collective in a compiled program."""
    text = program.as_text() or ""
    found = []
    operations = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    for shape, operation, rest in re.findall(rf"= (\S+) ({operations})(?:-start)?\((.*)", text):
        applied = re.search(r"to_apply=(%[\w.-]+)", rest)
        reduction = ""
        if applied is not None:
            body = text[text.index(f"\n{applied[1]} ") :]
            root = re.search(r"ROOT [^=]*= \S+ ([\w-]+)\(", body)
            reduction = root[1] if root else ""
        found.append(" ".join([operation, reduction, re.sub(r"\{.*", "", shape)]))
    return sorted(found)


def bound_collectives():
    """What devices tell one another for the bounds of 16 events with 8 particles each."""
    key, x = jax.random.split(jax.random.key(0), 16), jnp.asarray(BITS[:16])

    def values(model, keys, x):
        def one(key, x):
            weigh = lambda key, draw: weighing.terms(model, key, x, None, draw)
            return bounds.reparameterized.estimate(
                key, weigh, bounds.iwae.bound, num_particles=8
            ).bound

        x = sharding.along(x, "data", "events")
        return jax.vmap(one, spmd_axis_name=sharding.spmd_axis("data"))(keys, x)

    return collectives(jax.jit(values).lower(sharding.replicated(vae()), key, x).compile())


def main(meshes):
    results = {}
    for text in meshes:
        mesh = sharding.parse(text) if text != "none" else None
        with jax.set_mesh(mesh) if mesh is not None else contextlib.nullcontext():
            # The axes together; of "data" alone two games are enough.
            games = ["iwae", "two players"] if text == "data=8" else list(GAMES)
            result = {name: play(name) for name in games}
            if mesh is not None:
                result["scattered"] = play_scattered()
            if sharding.axis_size("particle") > 1:
                result["bound"] = {"collectives": bound_collectives()}
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
