"""Energies for priors of latents: python -m experiments.energy_priors.

Bits as latents, drawn (VIMCO), with coins or a restricted Boltzmann machine for a prior; and real
numbers, with N(0, 1) or exp(f(z)) N(0, 1). Bounds train the energies up to log Z, whose
gradient comes from persistent chains; the table's likelihoods have log Z by annealed importance
sampling. Defaults train on scikit-learn's digits in minutes on two CPU cores.

Source: Rolfe (2017), Discrete Variational Autoencoders, arXiv:1609.02200; Pang et al. (2020),
arXiv:2006.08205 (latent energy models).
"""

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments import study
from genmix import evaluation, objectives
from genmix.data import Dataset
from genmix.densities import bernoulli
from genmix.evaluation import LogPartition, pictures
from genmix.families import (
    Bernoulli,
    Energy,
    LatentVariableModel,
    Normal,
    Normalized,
    RestrictedBoltzmann,
    StandardNormal,
    Unconditional,
)
from genmix.mcmc import hmc, mala
from genmix.nets import MLP
from genmix.objectives import Term, energy_prior
from genmix.runs import command_line
from genmix.training import Player

Name = Literal["coins", "boltzmann", "normal", "latent energy"]
OF_BITS = ("coins", "boltzmann")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.OnImages):
    """One row of the table for each prior."""

    model: study.Each[Name] = ("coins", "boltzmann", "normal", "latent energy")
    bits: study.Count = 20
    """Latents of the first two."""
    units: study.Count = 20
    """Hidden units of the machine; up to 20 of them log Z is exact, too."""
    latent: study.Count = 4
    """Dimensions of real latents."""
    hidden: study.Count = 100
    """Width of the hidden layers, of encoder, decoder and f."""
    k: Annotated[int, study.at_least(2)] = 5
    """Particles of drawn bits."""
    chains: study.Count = 100
    """Persistent chains."""
    chain_steps: study.Count = 5
    """Of each chain, for a step of training."""
    langevin_size: study.Positive = 0.1
    """Step size of the chains of real numbers, MALA's."""
    steps: study.Count = 10_000
    batch_size: study.Count = 50
    learning_rate: study.Positive = 2e-3
    """At the start; it falls to zero along a cosine."""
    temperatures: Annotated[int, study.at_least(29)] = 1000
    """Of annealed importance sampling, and steps of the chain of a sample."""
    particles: study.Count = 1000
    """Particles of the NLL estimate."""


def build(config: Config, name: Name, shape: tuple[int, ...]) -> LatentVariableModel:
    rngs = nnx.Rngs(config.seed)
    dim = config.bits if name in OF_BITS else config.latent
    mlp = lambda a, b: MLP(a, (config.hidden,), b, rngs=rngs)
    encoder, decoder = mlp(shape, dim), mlp(dim, shape)
    prior: Any = StandardNormal(dim)
    posterior: Any = Normal(encoder) if name not in OF_BITS else Bernoulli(encoder)
    if name == "coins":
        prior = Unconditional(bernoulli.Bernoulli(), dim, trained=True)
    if name == "boltzmann":
        prior = RestrictedBoltzmann(dim, config.units, rngs=rngs)
    if name == "latent energy":
        prior = Energy(mlp(dim, 1), base=StandardNormal(dim))
    return LatentVariableModel(prior=prior, likelihood=Bernoulli(decoder), posterior=posterior)


def term(config: Config, name: Name) -> Term:
    bound = objectives.vimco(config.k) if name in OF_BITS else objectives.elbo()
    if name in ("coins", "normal"):
        return bound
    key, size = config.key, (config.chains, config.bits if name in OF_BITS else config.latent)
    if name == "latent energy":
        kernel = lambda prior: mala.build(prior.log_unnormalized, config.langevin_size)
        start = jax.random.normal(key, size)
        return energy_prior(bound, start, config.chain_steps, kernel=kernel)
    start = jax.random.bernoulli(key, shape=size).astype(jnp.float32)
    return energy_prior(bound, start, config.chain_steps)


def log_partition(config: Config, prior: Any) -> LogPartition:
    """Of a machine from independent fair coins, of an energy from its base."""
    key, count = jax.random.fold_in(config.key, 1), config.temperatures
    if isinstance(prior, Energy):
        kernel = lambda log_prob, beta: hmc.build(log_prob, 0.2, 3)
        return evaluation.energy_log_partition(key, prior, kernel, num_temperatures=count)
    half = jnp.full(config.bits, 0.5)
    return evaluation.log_partition(key, prior, half, num_temperatures=count)


def judged(config: Config, model: LatentVariableModel) -> tuple[LatentVariableModel, Any]:
    """The model with the log Z of its prior, which was estimated; and what is known of that."""
    prior, posterior = model.prior, model.posterior
    if not isinstance(prior, (Energy, RestrictedBoltzmann)):
        return model, {}
    log_z = log_partition(config, prior)
    start = jnp.zeros(config.latent if isinstance(prior, Energy) else config.bits)
    if isinstance(prior, Energy):
        prior = _WithChain(prior, config.langevin_size)
    normal = Normalized(prior, log_z.value, start=start, num_steps=config.temperatures)
    complete = LatentVariableModel(prior=normal, likelihood=model.likelihood, posterior=posterior)
    return complete, log_z.figures()


class _WithChain(nnx.Module):
    """An energy that knows a kernel, to be drawn from."""

    def __init__(self, energy: Energy, step_size: float):
        self.energy, self.step_size = energy, step_size

    def log_unnormalized(self, x: jax.Array, cond: Any = None) -> jax.Array:
        return self.energy.log_unnormalized(x, cond)

    def chain_kernel(self) -> mala.Kernel:
        return mala.build(self.log_unnormalized, self.step_size)


def evaluate(config: Config, dataset: Dataset, result: study.Result) -> dict[str, Any]:
    """Figures on the test images, in nats an image; and samples, for the picture."""
    nll_key, elbo_key, sample_key = jax.random.split(config.key, 3)
    model, figures = judged(config, result.model)
    x = jnp.asarray(dataset.test)
    bound = evaluation.elbo(elbo_key, model, x, num_samples=20)
    nll = study.nll(nll_key, model, x, config.particles)
    mean = lambda key: model.likelihood.mean(model.prior.sample(key))
    means = jax.jit(jax.vmap(mean))(jax.random.split(sample_key, 20))
    pictures.save_samples(result.directory / "samples.png", means)
    return {**figures, **nll, "elbo": bound.elbo, "rate": bound.rate}


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    if dataset.num_levels != 2:
        raise ValueError(f"{dataset.name} has grey levels, and this experiment is about bits.")
    shape = dataset.train.shape[1:]
    variant = lambda name: study.Variant(
        name=name,
        row={"prior": name},
        build=lambda: build(config, name, shape),
        players=[Player(loss=term(config, name), optimizer=optax.adam(config.falling()))],
        data=dataset.train,
        plan=config.plan(transform=dataset.transform),
    )
    columns = {
        "prior": "{prior}",
        **study.NLL,
        "ELBO": "{elbo:.2f}",
        "KL": "{rate:.2f}",
        "log Z": study.known("{log_z:.2f}"),
        "by AIS": study.known("{annealed_log_z:.2f} ± {log_z_standard_error:.2f}"),
        "s": "{train_seconds:.0f}",
    }
    title = f"{dataset.name}: nats an image, NLL with {config.particles} particles"
    return study.Study(
        variants=[variant(name) for name in config.model],
        measure=lambda result: evaluate(config, dataset, result),
        tables=[study.Table(title, columns)],
        facts={"dataset": dataset.name, "nll_particles": config.particles},
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("energy_priors", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
