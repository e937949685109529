"""Posteriors refined by Hamiltonian steps inside the bound: python -m experiments.hvi.

A VAE on the digits beside models whose posterior takes leapfrog steps towards p(z | x).
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import Bernoulli, Hamiltonian, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line, run_directory
from genmix.training import Fit, Plan, Player, fit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Defaults take two minutes on two CPU cores."""

    leapfrog: tuple[int, ...] = (0, 1, 4, 8)
    """Leapfrog steps; 0 is the VAE."""
    iterations: int = 1
    """Fresh momenta, each followed by so many leapfrog steps."""
    latent: int = 10
    """Dimensions of z."""
    hidden: int = 100
    """Width of the two hidden layers."""
    steps: int = 8_000
    batch_size: int = 50
    learning_rate: float = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: int = 1000
    """Of the NLL estimate."""
    seed: int = 0
    out: Path | None = None
    """Directory of the run; runs/hvi/TIME if not given."""
    resume: bool = False
    """Go on with the run in --out, bit for bit."""
    debug: bool = False
    """If a number is not finite, name the operation that made it so; it may go with --resume."""

    def __post_init__(self):
        command_line.require(
            self,
            counts=("iterations", "latent", "hidden", "steps", "batch_size", "particles"),
            positive=("learning_rate",),
        )
        if not self.leapfrog or min(self.leapfrog) < 0:
            raise ValueError(f"leapfrog must not be negative or empty, got {self.leapfrog}.")


class Paired(nnx.Module):
    """A network of the pair (z, x) as one vector."""

    def __init__(self, latent: int, pixels: int, hidden: tuple[int, ...], *, rngs: nnx.Rngs):
        self.network = MLP(latent + pixels, hidden, latent, rngs=rngs)

    def __call__(self, cond: tuple[jax.Array, jax.Array]) -> jax.Array:
        z, x = cond
        return self.network(jnp.concatenate([z, x.reshape(-1)]))


def build(config: Config, dataset: Dataset, leapfrog: int) -> Any:
    rngs = nnx.Rngs(config.seed)
    shape, hidden = dataset.train.shape[1:], (config.hidden, config.hidden)
    likelihood = Bernoulli(MLP(config.latent, hidden, shape, rngs=rngs))
    posterior: Any = Normal(MLP(shape, hidden, config.latent, rngs=rngs))
    if leapfrog > 0:
        pixels = dataset.train[0].size
        reverse = Normal(Paired(config.latent, pixels, hidden, rngs=rngs))
        steps = {"num_leapfrog": leapfrog, "num_iterations": config.iterations}
        posterior = Hamiltonian(posterior, reverse, **steps)
    prior = StandardNormal(config.latent)
    return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)


def train(config: Config, dataset: Dataset, leapfrog: int, directory: Path) -> Fit:
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    player = Player(loss=objectives.elbo(), optimizer=optax.adam(rate))
    plan = Plan(
        num_rounds=config.steps,
        batch_size=config.batch_size,
        transform=data.binarize,
        rounds_per_call=max(config.steps // 50, 1),
        directory=directory,
        resume=config.resume,
        debug=config.debug,
        label=f"{leapfrog} leapfrog steps",
    )
    key = jax.random.key(config.seed)
    return fit(key, build(config, dataset, leapfrog), [player], dataset.train, plan)


def evaluate(config: Config, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Test figures, in nats per image."""
    keys = jax.random.split(jax.random.key(config.seed), 2)
    bound = evaluation.elbo(keys[0], model, dataset.test)
    likelihood = evaluation.log_likelihood(
        keys[1], model, dataset.test, num_particles=config.particles
    )
    figures = {
        "elbo": bound.elbo,
        "nll": likelihood.nll,
        "nll_standard_error": likelihood.standard_error,
        "gap": -likelihood.nll - bound.elbo,
    }
    if isinstance(model.posterior, Hamiltonian):
        figures["step_size"] = float(model.posterior.step_size)
    return figures


def main(config: Config) -> list[dict[str, Any]]:
    begin = time.perf_counter()
    dataset = data.load("digits")
    out = run_directory.begin("hvi", config)
    rows, curves = [], {}
    for leapfrog in config.leapfrog:
        result = train(config, dataset, leapfrog, out / f"leapfrog{leapfrog}")
        figures = evaluate(config, dataset, result.model)
        rows.append({"leapfrog": leapfrog, "train_seconds": result.seconds} | figures)
        curves["VAE" if leapfrog == 0 else f"{leapfrog} steps"] = result.history["elbo"]
    pictures.save_curves(
        out / "curves.png", curves, x_label="step", y_label="training bound (nats)"
    )
    command_line.print_table(
        f"digits: nats per image, NLL with {config.particles} particles",
        {
            "leapfrog steps": "{leapfrog}",
            "bound": "{elbo:.2f}",
            "NLL": "{nll:.2f}",
            "±": "{nll_standard_error:.2f}",
            "gap": "{gap:.2f}",
            "step size": "{step_size:.3f}",
            "training": "{train_seconds:.1f} s",
        },
        rows,
    )
    run_directory.write_results(
        out,
        begin,
        units="nats per image; seconds",
        particles=config.particles,
        seed=config.seed,
        rows=rows,
    )
    command_line.print_paths(out, "curves.png")
    return rows


if __name__ == "__main__":
    command_line.run(main, Config)
