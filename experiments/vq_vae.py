"""VQ-VAEs as densities, with priors of their codes: python -m experiments.vq_vae.

Each row is a bound on log p(x): log p(x | e_k) + log p(k) at the codes k of x, whose prior learns
beside the encoder. The last row draws its codes, and has the importance-weighted bound by VIMCO.
Defaults train on scikit-learn's digits in minutes on two CPU cores.

Source: van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937; Razavi et al. (2019),
arXiv:1906.00446 (two levels); Mnih & Rezende (2016), arXiv:1602.06725 (VIMCO).
"""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import study
from experiments.codes.config import KINDS, Config, Kind
from experiments.codes.parts import build
from genmix import evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import LatentVariableModel
from genmix.runs import command_line
from genmix.training import Player, by_path


def player(config: Config, kind: Kind) -> Player:
    adam = optax.adam(config.falling())
    if kind.codes == "drawn":
        return Player(loss=objectives.vimco(max(config.particles, 2)), optimizer=adam)
    loss = objectives.elbo() + config.commitment * objectives.commitment()
    if kind.codes == "loss":
        return Player(loss=loss + objectives.codebook(), optimizer=adam)
    loss += objectives.moving_codebook(config.decay, revive_below=config.revive_below)
    books = ["codebook", "prior.codebook"] if kind.codes == "levels" else ["codebook"]
    return Player(loss=loss, optimizer=by_path(adam, **{path: optax.sgd(1.0) for path in books}))


def evaluate(config: Config, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    nll_key, elbo_key, code_key = jax.random.split(config.key, 3)
    x = jnp.asarray(dataset.test)
    is_drawn = isinstance(model, LatentVariableModel)
    particles = 20 * config.particles if is_drawn else 1
    nll = evaluation.log_likelihood(nll_key, model, x, num_particles=particles)
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20 if is_drawn else 1)
    codes = jax.vmap(model.encode)(jax.random.split(code_key, len(x)), x)
    share = np.bincount(np.asarray(codes).reshape(-1), minlength=config.codes) / codes.size
    used = share[share > 0]
    return {
        "nll": nll.nll,
        "nll_standard_error": nll.standard_error,
        "log_likelihood": bound.elbo + bound.rate,
        "rate": bound.rate,
        "uniform_rate": math.prod(codes.shape[1:]) * math.log(config.codes),
        "perplexity": float(np.exp(-np.sum(used * np.log(used)))),
        "codes_in_use": len(used),
    }


def draw(config: Config, dataset: Dataset, out: Path, models: list[Any]) -> None:
    """Two rows of samples for each model; test images, and a row of each model's means of them."""
    keys = lambda count: jax.random.split(config.key, count)  # the same for every model
    samples = [jax.jit(jax.vmap(model.sample))(keys(20)) for model in models]
    pictures.save_samples(out / "samples.png", jnp.concatenate(samples))
    x = jnp.asarray(dataset.test[:10])
    again = [jax.vmap(m.decode)(jax.vmap(m.encode)(keys(10), x)) for m in models]
    pictures.save_samples(out / "reconstructions.png", jnp.concatenate([x, *again]))


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} has grey levels, and this experiment is about bits.")
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name, **KINDS[name]._asdict()},
        build=lambda: build(config, dataset, KINDS[name]),
        players=[player(config, KINDS[name])],
        data=dataset.train,
        plan=config.plan(transform=dataset.transform),
    )
    columns = {
        "model": "{model}",
        "-log p(x)": "{nll:.2f}",
        "±": "{nll_standard_error:.2f}",
        "-log p(x|k)": lambda row: f"{-row['log_likelihood']:.2f}",
        "KL": "{rate:.2f}",
        "uniform": "{uniform_rate:.2f}",
        "perplexity": "{perplexity:.1f}",
        "in use": "{codes_in_use}",
        "s": "{train_seconds:.0f}",
    }
    title = "{dataset}: nats an image, upper bounds"
    return study.Study(
        variants=[variant(name) for name in config.model],
        measure=lambda it: evaluate(config, dataset, it.model),
        draw=lambda out, found: draw(config, dataset, out, [it.model for it in found]),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("vq_vae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
