"""What an encoder loses, and what steps on each image win back: python -m experiments.amortization.

A VAE whose encoder alone gives q(z | x); one that moves q by gradient steps on each image, from
where the encoder starts it (SVI); and one whose gradient passes through those steps
(semi-amortized). The gap of each encoder is taken apart: log p(x) - L[best q of the family] is the
approximation's, L[best q] - L[encoder's q] the amortization's. Defaults train on scikit-learn's
digits in minutes on two CPU cores.

Source: Cremer, Li & Duvenaud (2018), arXiv:1801.03558; Kim et al. (2018), arXiv:1802.02550.
"""

import dataclasses
from typing import Any, Literal

import optax
from flax import nnx

from experiments import study
from experiments.flow_vaes import comparison
from genmix import evaluation
from genmix.data import Dataset
from genmix.families import Bernoulli, LatentVariableModel, Normal, Optimized, StandardNormal
from genmix.nets import MLP
from genmix.runs import command_line

Model = Literal["VAE", "SVI", "semi-amortized"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(comparison.Settings):
    """One network for all, from the same seed."""

    model: study.Each[Model] = ("VAE", "SVI", "semi-amortized")
    latent: study.Count = 10
    """Dimensions of z."""
    hidden: study.Count = 100
    """Width of the two hidden layers of encoder and decoder."""
    inner: study.Count = 5
    """Gradient steps on each image, in training."""
    inner_rate: study.Positive = 0.1
    """Learning rate of those steps."""
    inner_draws: study.Count = 1
    """Draws of z in each of them."""
    best: study.Count = 500
    """Steps to the best q of the family, for the gaps."""
    particles: study.Count = 500


def optimizer(rate: float) -> optax.GradientTransformation:
    # A slope may be exactly zero, where the square root of Adam's second moment has no derivative.
    return optax.adam(rate, b1=0.5, eps_root=1e-8)


def build(config: Config, dataset: Dataset, name: str) -> LatentVariableModel:
    rngs, shape = nnx.Rngs(config.seed), dataset.train.shape[1:]
    layers = (config.hidden, config.hidden)
    posterior: Any = Normal(MLP(shape, layers, config.latent, rngs=rngs))
    likelihood = Bernoulli(MLP(config.latent, layers, shape, rngs=rngs))
    if name != "VAE":
        posterior = Optimized(
            posterior,
            config.inner,
            optimizer=optimizer(config.inner_rate),
            num_draws=config.inner_draws,
            through=name == "semi-amortized",
        )
    prior = StandardNormal(config.latent)
    return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)


def gaps(config: Config, dataset: Dataset, model: LatentVariableModel) -> dict[str, float]:
    """Of the encoder alone, in nats an image, with the error of log p(x) - L[best q]."""
    posterior = model.posterior
    encoder = posterior.posterior if isinstance(posterior, Optimized) else posterior
    best = Optimized(encoder, config.best, optimizer=optimizer(0.03), num_draws=8, through=False)
    parts = {"prior": model.prior, "likelihood": model.likelihood}
    bounds = {}
    for name, q in (("encoder", encoder), ("best", best)):
        of = LatentVariableModel(**parts, posterior=q)
        bounds[name] = evaluation.elbo(config.key, of, dataset.test, num_samples=20).elbo
    plain = LatentVariableModel(**parts, posterior=encoder)
    log_p = -study.nll(config.key, plain, dataset.test, config.particles)["nll"]
    return {
        "encoder_elbo": bounds["encoder"],
        "best_elbo": bounds["best"],
        "log_likelihood": log_p,
        "approximation_gap": log_p - bounds["best"],
        "amortization_gap": bounds["best"] - bounds["encoder"],
    }


def experiment(config: Config) -> study.Study:
    dataset = config.load()
    columns: dict[str, study.Column] = {
        "inference": "{model}",
        "-ELBO": "{negative_elbo:.2f}",
        "± ": "{elbo_standard_error:.2f}",
        **study.NLL,
        "encoder alone": lambda row: f"{-row['encoder_elbo']:.2f}",
        "best q": lambda row: f"{-row['best_elbo']:.2f}",
        "gap of approximation": "{approximation_gap:.2f}",
        "of amortization": "{amortization_gap:.2f}",
        "s": "{train_seconds:.0f}",
    }
    return comparison.compare(
        config,
        config.model,
        lambda dataset, name: build(config, dataset, name),
        lambda it: {"model": it.name, **gaps(config, dataset, it.model)},
        columns,
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("amortization", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
