"""Posteriors refined by Hamiltonian steps inside the bound: python -m experiments.hvi.

A VAE on the digits beside models whose posterior takes leapfrog steps towards p(z | x).
"""

import dataclasses
from typing import Annotated, Any

import jax
import optax
from flax import nnx

from experiments import study
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.families import Bernoulli, Hamiltonian, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP, Joined
from genmix.runs import command_line
from genmix.training import Player

NUMBERS = study.Rule(lambda v: v != () and min(v) >= 0, "not be negative or empty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Defaults take two minutes on two CPU cores."""

    leapfrog: Annotated[study.Each[int], NUMBERS] = (0, 1, 4, 8)
    """Leapfrog steps; 0 is the VAE."""
    iterations: study.Count = 1
    """Fresh momenta, each followed by so many leapfrog steps."""
    latent: study.Count = 10
    """Dimensions of z."""
    hidden: study.Count = 100
    """Width of the two hidden layers."""
    steps: study.Count = 8_000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 1000
    """Of the NLL estimate."""


def build(config: Config, dataset: Dataset, leapfrog: int) -> Any:
    rngs = nnx.Rngs(config.seed)
    shape, hidden = dataset.train.shape[1:], (config.hidden, config.hidden)
    likelihood = Bernoulli(MLP(config.latent, hidden, shape, rngs=rngs))
    posterior: Any = Normal(MLP(shape, hidden, config.latent, rngs=rngs))
    if leapfrog > 0:
        pair = config.latent + dataset.train[0].size
        reverse = Normal(Joined(MLP(pair, hidden, config.latent, rngs=rngs)))
        steps = {"num_leapfrog": leapfrog, "num_iterations": config.iterations}
        posterior = Hamiltonian(posterior, reverse, **steps)
    prior = StandardNormal(config.latent)
    return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)


def evaluate(config: Config, dataset: Dataset, model: Any) -> dict[str, Any]:
    """Test figures, in nats per image."""
    keys = jax.random.split(jax.random.key(config.seed), 2)
    bound = evaluation.elbo(keys[0], model, dataset.test)
    nll = study.nll(keys[1], model, dataset.test, config.particles)
    figures = {"elbo": bound.elbo, **nll, "gap": -nll["nll"] - bound.elbo}
    if isinstance(model.posterior, Hamiltonian):
        figures["step_size"] = float(model.posterior.step_size)
    return figures


def experiment(config: Config) -> study.Study:
    dataset = data.load("digits")
    variant = lambda leapfrog: study.Variant(
        name=f"{leapfrog} leapfrog steps",
        folder=f"leapfrog{leapfrog}",
        row={"leapfrog": leapfrog},
        build=lambda: build(config, dataset, leapfrog),
        players=[Player(loss=objectives.elbo(), optimizer=optax.adam(config.falling()))],
        data=dataset.train,
        plan=config.plan(transform=data.binarize),
    )
    columns = {
        "leapfrog steps": "{leapfrog}",
        "bound": "{elbo:.2f}",
        **study.NLL,
        "gap": "{gap:.2f}",
    }
    if any(config.leapfrog):
        columns["step size"] = "{step_size:.3f}"
    title = "digits: nats per image, NLL with {particles} particles"
    return study.Study(
        variants=[variant(leapfrog) for leapfrog in config.leapfrog],
        measure=lambda result: evaluate(config, dataset, result.model),
        draw=lambda out, found: study.save_curves(out, found, "elbo", "training bound (nats)"),
        tables=[study.Table(title, columns | {"training": "{train_seconds:.1f} s"})],
        facts={"particles": config.particles},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("hvi", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
