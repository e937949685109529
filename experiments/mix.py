"""Any prior, posterior, decoder and objective in one model: python -m experiments.mix.

    python -m experiments.mix --prior maf --posterior iaf --decoder pixelcnn --objective iwae --k 5
    python -m experiments.mix --posterior iaf+hamiltonian:5+resampled:3
    python -m experiments.mix --beta 0.25 --mmd 100 --adversarial data --critic hinge --weight 3

trains on scikit-learn's digits. In Python a mix is one expression, of parts that any others with
the same methods could replace:

    rngs = nnx.Rngs(0)
    made = lambda context: MADE(8, (32,), 2, cond_size=context, activation=jnp.tanh, rngs=rngs)
    pixelcnn = GatedPixelCNN((8, 8), 16, 2, first_kernel_size=3, cond_size=8, rngs=rngs)
    model = LatentVariableModel(
        prior=transformed(StandardNormal(8), masked_autoregressive(made(0), ShiftScale())),
        likelihood=Autoregressive(pixelcnn, bernoulli.Bernoulli(), shape=(8, 8, 1)),
        posterior=transformed(
            Normal(MLP(32, (), 8, rngs=rngs)),
            inverse_autoregressive(made(32), Gate()),
            encoder=MLP((8, 8, 1), (64,), 32, rngs=rngs),
        ),
    )
    player = Player(loss=objectives.iwae(5), optimizer=optax.adam(1e-3))
    plan = Plan(num_rounds=1000, batch_size=50, transform=data.binarize)
    model = fit(jax.random.key(0), model, [player], data.load("digits").train, plan).model
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments import study
from experiments.grid import game
from experiments.grid.config import Config
from genmix import data, evaluation
from genmix.capabilities import ExactDensity, Mean
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import LatentVariableModel
from genmix.runs import command_line

EVENTS = 500  # over which the ELBO is taken apart


def load(config: Config) -> Dataset:
    """Grey levels for the discretized logistic, what the set has for the others."""
    if config.decoder == "discretized-logistic":
        if config.dataset in data.NAMES and config.dataset not in data.LEVELS:
            raise ValueError(
                f"{config.dataset} has bits and no grey levels, which discretized-logistic is for: "
                f"use another --decoder, or one of {', '.join(data.LEVELS)}."
            )
        return config.load("levels")
    dataset = config.load()
    if dataset.num_levels != 2 and config.decoder.startswith("bernoulli"):
        raise ValueError(
            f"{dataset.name} has {dataset.num_levels} grey levels, and a {config.decoder} decoder "
            "gives bits: use --decoder discretized-logistic, made or pixelcnn."
        )
    return dataset


def check(config: Config, dataset: Dataset) -> None:
    """Refuse what cannot run: the parts, and a step's loss, are tried on shapes alone."""
    players = game.players(config)

    def losses(key: jax.Array, batch: jax.Array) -> list[jax.Array]:
        model, keys = game.start(config, dataset), jax.random.split(key, len(players))
        return [
            player.loss(model, key, batch, player.initial_carry(model))[0]
            for player, key in zip(players, keys, strict=True)
        ]

    try:
        jax.eval_shape(losses, jax.random.key(0), dataset.train[:2])
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--prior {config.prior}, --posterior {config.posterior}, --decoder {config.decoder} "
            f"and --estimator {config.estimator} do not go together on {dataset.name}: {error}"
        ) from error


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    nll_key, elbo_key, unit_key, part_key = jax.random.split(config.key, 4)
    x, dims = dataset.test, math.prod(dataset.test.shape[1:])
    rows = max(640_000 // dims, 1)  # so that the PixelCNN's features fit into memory
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20, rows_per_chunk=rows)
    if model.is_bound:  # whose weights may not be averaged
        nll = {"nll": -bound.elbo, "nll_standard_error": bound.standard_error}
    else:
        nll = study.nll(nll_key, model, x, config.particles, rows_per_chunk=rows)
    information = {}
    if isinstance(model.posterior, ExactDensity) and not model.is_bound:
        parts = evaluation.decomposition(part_key, model, x[:EVENTS], num_samples=4)
        information = {
            "information": float(parts.information),
            "marginal_kl": float(parts.marginal_kl),
        }
    return {
        **information,
        **nll,
        "bits_per_dim": evaluation.bits_per_dim(-nll["nll"], dims),
        "elbo": bound.elbo,
        "rate": bound.rate,
        **study.units(unit_key, model, x),
    }


def draw(config: Config, dataset: Dataset, model: LatentVariableModel, out: Path) -> None:
    """Images given sampled z, and given z of test images: means where there are any, or draws."""
    top = dataset.num_levels - 1
    sample_key, encode_key = jax.random.split(config.key)

    def picture(key: jax.Array, draw_z: Callable[[jax.Array], jax.Array]) -> jax.Array:
        z_key, x_key = jax.random.split(key)
        z = draw_z(z_key)
        has_mean = isinstance(model.likelihood, Mean)
        return (model.decode(z) if has_mean else model.likelihood.sample(x_key, z)) / top

    sample = lambda key: picture(key, model.prior.sample)
    reconstruct = lambda key, x: picture(key, lambda z_key: model.encode(z_key, x))
    x = jnp.asarray(dataset.test[:50])
    samples = jax.jit(jax.vmap(sample))(jax.random.split(sample_key, 100))
    reconstructions = jax.jit(jax.vmap(reconstruct))(jax.random.split(encode_key, len(x)), x)
    pictures.save_samples(out / "samples.png", samples)
    pictures.save_reconstructions(out / "reconstructions.png", x / top, reconstructions)


def table(config: Config, dataset: Dataset) -> study.Table:
    columns: dict[str, study.Column] = {"model": "{model}", **study.NLL}
    if dataset.num_levels > 2:
        columns["bits/dim"] = "{bits_per_dim:.3f}"
    columns |= {
        "ELBO": "{elbo:.2f}",
        "KL": "{rate:.2f}",
        "I(x; z)": study.known("{information:.2f}"),
    }
    columns |= {"active units": study.active, "training": "{train_seconds:.1f} s"}
    estimate = "with {particles} particles"
    if config.prior == "diffusion":
        estimate = "at most minus the ELBO, a diffusion's density being unknown"
    return study.Table(f"{{dataset}}: nats per image, NLL {estimate}", columns)


def experiment(config: Config) -> study.Study:
    dataset = load(config)
    check(config, dataset)
    variant = study.Variant(
        name=config.name,
        folder="",
        row={"model": f"{config.name}, {config.terms}"},
        build=lambda: game.start(config, dataset),
        players=game.players(config),
        data=dataset.train,
        plan=config.plan(transform=dataset.transform),
    )
    of_model = lambda result: game.model_of(result.model)
    bound = config.objective.replace("-", "_")
    bound = f"unnormalized_{bound}" if config.prior == "rbm" else bound
    bound = f"model/{bound}" if config.adversarial != "none" else bound
    return study.Study(
        before=[evaluation.baselines.independent_pixels(dataset)],
        variants=[variant],
        measure=lambda result: evaluate(config, dataset, of_model(result)),
        draw_each=lambda result: draw(config, dataset, of_model(result), result.out),
        draw=lambda out, found: study.save_curves(
            out, found, bound, f"training {config.objective} (nats)"
        ),
        tables=[table(config, dataset)],
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("mix", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
