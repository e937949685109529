"""VAEs with learned priors, and one with an IAF posterior: python -m experiments.flow_priors.

An autoregressive flow before the decoder and an inverse autoregressive flow behind the encoder are
two ways to the same bound, but the prior's flow costs nothing when decoding and sees no x. Defaults
train on scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from experiments import study
from experiments.flow_vaes import comparison, parts
from genmix import bijectors as bij
from genmix.data import Dataset
from genmix.evaluation import pictures
from genmix.families import (
    GaussianMixture,
    LatentVariableModel,
    StandardNormal,
    VampPrior,
    transformed,
)
from genmix.nets import MADE, MLP
from genmix.runs import command_line

Model = Literal["normal", "mixture", "vamp", "realnvp", "maf", "iaf-posterior"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(comparison.FlowSettings):
    """One VAE is trained for each prior, from the same seed; iaf-posterior has the normal one."""

    model: study.Each[Model] = ("normal", "mixture", "vamp", "realnvp", "maf", "iaf-posterior")
    components: study.Count | None = None
    """Of mixture and VampPrior; 50 for the digits, 500 for larger images."""


def flow_prior(config: Config, name: str, size: parts.Sizes, rngs: nnx.Rngs) -> Any:
    dim, hidden = size
    if dim < 2:
        raise ValueError(f"its layers need a latent of at least 2, got {dim}.")

    def layer() -> Any:
        transformer = bij.ShiftScale()
        if name == "maf":
            made = MADE(dim, (hidden,), 2, rngs=rngs)
            return bij.chain([bij.masked_autoregressive(made, transformer), bij.Reverse()])
        half, relu = dim // 2, jax.nn.relu
        network = MLP(half, (hidden,), dim - half, num_outputs=2, activation=relu, rngs=rngs)
        network.out.kernel[...] = 0.1 * network.out.kernel[...]  # starts near the identity
        exchange = bij.Permutation((*range(half, dim), *range(half)))
        return bij.chain([bij.coupling_layer(network, transformer, split=half), exchange])

    return transformed(StandardNormal(dim), bij.repeated([layer() for _ in range(config.flows)]))


def build(config: Config, dataset: Dataset, name: str) -> Any:
    rngs = nnx.Rngs(config.seed)
    size = parts.sizes(config.latent, config.hidden, dataset)
    components = config.components or (50 if parts.is_small(dataset) else 500)
    likelihood, encoder, base = parts.common(size, dataset, rngs)
    bijector = parts.nothing(size)
    if name == "iaf-posterior":
        bijector = parts.inverse_autoregressive(size, bij.Gate(bias=1.0), config.flows, rngs)
    posterior = transformed(base, bijector, encoder=encoder)
    if name == "vamp":
        if components > len(dataset.train):
            raise ValueError(
                f"components must be at most the {len(dataset.train)} training images, which its "
                f"inputs start as, got {components}."
            )
        first = jnp.asarray(dataset.train[:components])
        noise = 0.05 * jax.random.normal(jax.random.key(config.seed), first.shape)
        inputs = jnp.clip(first + noise, 0.01, 0.99)
        prior = VampPrior(inputs)
    elif name == "mixture":
        prior = GaussianMixture(components, size.latent, rngs=rngs)
    elif name in ("realnvp", "maf"):
        prior = flow_prior(config, name, size, rngs)
    else:
        prior = StandardNormal(size.latent)
    return LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)


def draw(config: Config, result: study.Result) -> None:
    """Means of x given z drawn from the prior."""
    model = result.model
    mean = lambda key: model.decode(model.prior.sample(key))
    x = jax.jit(jax.vmap(mean))(jax.random.split(config.key, 100))
    pictures.save_samples(result.directory / "samples.png", x)


def experiment(config: Config) -> study.Study:
    columns: dict[str, study.Column] = {
        "prior": lambda row: row["model"].replace("iaf-posterior", "normal, IAF posterior"),
        "-ELBO": "{negative_elbo:.2f}",
        "± ": "{elbo_standard_error:.2f}",
        **study.NLL,
        "active": study.active,
        "size": "{parameters:,}",
        "s": "{train_seconds:.0f}",
    }
    return comparison.compare(
        config,
        config.model,
        lambda dataset, name: build(config, dataset, name),
        lambda it: {"model": it.name},
        columns,
        lambda it: draw(config, it),
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("flow_priors", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
