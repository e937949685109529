"""A decoder that needs no z, and every cure for what follows: python -m experiments.collapse.

The likelihood is a PixelCNN, which knows the pixels before each one, so that training may leave z
unused. Each row has one tool against it. Defaults train on scikit-learn's digits in minutes on two
CPU cores.

Source: Bowman et al. (2016), arXiv:1511.06349 (warm-up, dropped inputs); Fu et al. (2019),
arXiv:1903.10145 (cycles); Kingma et al. (2016), arXiv:1606.04934 (free bits); Chen et al. (2017),
arXiv:1611.02731 (a small reach); Razavi et al. (2019), arXiv:1901.03416 (a committed rate); Xu &
Durrett (2018), arXiv:1808.10805 (von Mises-Fisher); He et al. (2019), arXiv:1901.05534 (a lagging
encoder); Rezende & Viola (2018), arXiv:1810.00597 (a constraint).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import study
from experiments.cures.config import Config, Name
from experiments.cures.parts import build
from genmix import evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import InputDropout, LatentVariableModel
from genmix.objectives import Rate, Term, constrained, cyclical
from genmix.runs import command_line
from genmix.training import Game, Player


def loss(config: Config, name: Name) -> Term:
    rate, distortion = (term().of("model") for term in (objectives.rate, objectives.reconstruction))
    if name == "rate constrained":
        return constrained(distortion, -1.0 * rate, at_most=-config.rate)
    if name == "distortion constrained":
        return constrained(rate, distortion, at_most=config.distortion)
    if name in ("committed rate", "von Mises-Fisher"):  # no closed form, or a constant
        return objectives.elbo()
    floor = config.rate / config.latent
    options: dict[str, dict[str, Any]] = {
        "warm-up": {
            "beta": cyclical(max(round(config.warm_up * config.steps), 1), cycles=1, rising=1.0)
        },
        "cycles": {"beta": cyclical(max(config.steps, 4), rising=config.warm_up)},
        "free bits": {"free_nats": floor},
        "free bits, each": {"free_nats_each": floor},
    }
    return objectives.elbo(rate=Rate(analytic=True, **options.get(name, {})))


def players(config: Config, name: Name) -> list[Player]:
    term, adam = loss(config, name), optax.adam(config.falling())
    if "constrained" in name:
        multiplier = Player(name="multiplier", loss=term, optimizer=optax.sgd(1e-2))
        return [Player(name="model", loss=term, optimizer=adam), multiplier]
    if name != "lagging encoder":
        return [Player(loss=term, optimizer=adam)]
    steps = config.encoder_steps
    falls = optax.adam(config.falling(steps * config.steps))
    encoder = Player(name="encoder", owns=("posterior",), loss=term, optimizer=falls, steps=steps)
    decoder = Player(name="decoder", owns=("likelihood",), loss=term, optimizer=adam)
    return [encoder, decoder]


def trained(result: study.Result) -> LatentVariableModel:
    """As it is evaluated: without its multiplier, every pixel seeing all of its inputs."""
    model = result.model.model if isinstance(result.model, Game) else result.model
    if not isinstance(model.likelihood, InputDropout):
        return model
    likelihood = model.likelihood.density
    return LatentVariableModel(prior=model.prior, likelihood=likelihood, posterior=model.posterior)


def evaluate(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, Any]:
    """Figures on the test images, in nats an image where they have a unit."""
    nll_key, elbo_key, unit_key, part_key = jax.random.split(config.key, 4)
    x = jnp.asarray(dataset.test)
    nll = evaluation.log_likelihood(nll_key, model, x, num_particles=config.particles)
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20)
    units, *_ = evaluation.active_units(unit_key, model, x)
    return {
        "nll": nll.nll,
        "nll_standard_error": nll.standard_error,
        "elbo": bound.elbo,
        "rate": bound.rate,
        "information": float(evaluation.decomposition(part_key, model, x).information),
        "active_units": int(np.sum(units)),
    }


def draw(config: Config, dataset: Dataset, out: Path, found: Sequence[study.Result]) -> None:
    """Test images, and for each model a row of draws of x given z of these images."""
    x = jnp.asarray(dataset.test[:10])

    def again(model: Any, key: jax.Array, x: jax.Array) -> jax.Array:
        z_key, x_key = jax.random.split(key)
        return model.likelihood.sample(x_key, model.encode(z_key, x))

    keys = lambda: jax.random.split(config.key, len(x))  # the same for every model
    draws = lambda model: jax.jit(jax.vmap(lambda key, x: again(model, key, x)))(keys(), x)
    rows = [draws(trained(it)) for it in found]
    pictures.save_samples(out / "draws_given_z.png", jnp.concatenate([x, *rows]))


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} has grey levels, and this experiment is about bits.")
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, name, dataset.train.shape[1:]),
        players=players(config, name),
        data=dataset.train,
        plan=config.plan(transform=dataset.transform),
    )
    columns = {
        "model": "{model}",
        **study.NLL,
        "ELBO": "{elbo:.2f}",
        "KL": "{rate:.2f}",
        "I(x; z)": "{information:.2f}",
        "units": f"{{active_units}} of {config.latent}",
        "s": "{train_seconds:.0f}",
    }
    title = f"{dataset.name}: nats an image, NLL with {config.particles} particles"
    return study.Study(
        variants=[variant(name) for name in config.model],
        measure=lambda it: evaluate(config, dataset, trained(it)),
        draw=lambda out, found: draw(config, dataset, out, found),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("collapse", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
