"""VAEs with flows for posteriors: python -m experiments.flow_posteriors.

Decoder, prior and encoder are the same for all; the posteriors differ in what the flow makes of a
normal with independent entries, and all their parameters depend on x. Defaults train on
scikit-learn's digits in minutes on two CPU cores.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

from flax import nnx

from experiments import study
from experiments.flow_vaes import comparison, parts
from genmix import bijectors as bij
from genmix.data import Dataset
from genmix.families import LatentVariableModel, StandardNormal, transformed
from genmix.nets import state
from genmix.runs import command_line

Posterior = Literal[
    "diagonal",
    "planar",
    "radial",
    "householder",
    "sylvester-orthogonal",
    "sylvester-householder",
    "sylvester-triangular",
    "iaf",
    "naf",
]
POSTERIORS: tuple[Posterior, ...] = get_args(Posterior)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(comparison.FlowSettings):
    """One VAE is trained for each posterior, from the same seed."""

    posterior: study.Each[Posterior] = POSTERIORS
    columns: study.Count = 8
    """Columns of orthogonal, reflections of Householder Sylvester flows."""


def flow(config: Config, name: str, size: parts.Sizes, rngs: nnx.Rngs) -> Any:
    """A bijector on z whose condition is what `Features` gives."""
    if name == "diagonal":
        return parts.nothing(size)
    transformers = {"iaf": bij.Gate(bias=1.0), "naf": bij.DeepSigmoid(num_units=8)}
    if name in transformers:
        return parts.inverse_autoregressive(size, transformers[name], config.flows, rngs)
    dim = size.latent
    columns = min(config.columns, dim)
    elementary: dict[str, Callable[[], Any]] = {
        "planar": lambda: bij.Planar(dim, rngs=rngs),
        "radial": lambda: bij.Radial(dim, rngs=rngs),
        "sylvester-orthogonal": lambda: bij.OrthogonalSylvester(dim, columns, rngs=rngs),
        "sylvester-householder": lambda: bij.HouseholderSylvester(dim, columns, rngs=rngs),
        "sylvester-triangular": lambda: bij.chain(
            [bij.TriangularSylvester(dim, rngs=rngs), bij.Reverse()]
        ),
    }
    if name == "householder":
        bijector = bij.Householder(dim, config.flows, rngs=rngs)
    else:
        bijector = bij.repeated([elementary[name]() for _ in range(config.flows)])
    small = nnx.initializers.variance_scaling(0.01, "fan_avg", "uniform")
    count = bij.num_parameters(bijector)
    return bij.amortized(bijector, nnx.Linear(size.hidden, count, kernel_init=small, rngs=rngs))


def build(config: Config, dataset: Dataset, name: str) -> LatentVariableModel:
    rngs = nnx.Rngs(config.seed)
    size = parts.sizes(config.latent, config.hidden, dataset)
    likelihood, encoder, base = parts.common(size, dataset, rngs)
    bijector = flow(config, name, size, rngs)
    return LatentVariableModel(
        prior=StandardNormal(size.latent),
        likelihood=likelihood,
        posterior=transformed(base, bijector, encoder=encoder),
    )


def experiment(config: Config) -> study.Study:
    columns = {
        "posterior": "{posterior}",
        "-ELBO": "{negative_elbo:.2f}",
        "± ": "{elbo_standard_error:.2f}",
        **study.NLL,
        "gap": "{gap:.2f}",
        "size of q": "{posterior_parameters:,}",
        "s": "{train_seconds:.0f}",
    }
    return comparison.compare(
        config,
        config.posterior,
        lambda dataset, name: build(config, dataset, name),
        lambda it: {
            "posterior": it.name,
            "posterior_parameters": state.num_parameters(it.model.posterior),
        },
        columns,
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("flow_posteriors", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
