"""What strange images score: python -m experiments.outliers --data-dir DIR.

Models of Fashion-MNIST, at half its size and in few grey levels, are shown its test images and
MNIST's. Each score is judged by the area under the ROC curve: how probably a strange image has the
higher one. Likelihood, typicality and, of latent-variable models, reconstruction and regret; of a
MADE, whose density is exact, the first two. `--dataset mnist --outliers fashion-mnist` is the other
way around. Minutes on two CPU cores.

Source: Nalisnick et al. (2019), arXiv:1810.09136 and arXiv:1906.02994 (typicality); Xiao, Yan &
Amit (2020), arXiv:2003.02977 (regret).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import data, evaluation, objectives
from genmix.data import Dataset
from genmix.densities.discretized_logistic_mixture import DiscretizedLogisticMixture
from genmix.evaluation import pictures
from genmix.families import (
    Autoregressive,
    DiscretizedLogistic,
    LatentVariableModel,
    Normal,
    StandardNormal,
)
from genmix.nets import MADE, MLP, Rescale, StepwiseMADE
from genmix.nets.resampling import halved
from genmix.runs import command_line
from genmix.training import Player

Set = Literal["fashion-mnist", "mnist"]
Name = Literal["VAE", "MADE"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Rows of the table for each model."""

    model: study.Each[Name] = ("VAE", "MADE")
    dataset: Set = "fashion-mnist"
    """Which the models are trained on."""
    outliers: Set = "mnist"
    data_dir: Path | None = None
    """Folder that holds fashion_mnist/ and mnist/."""
    limit: study.Count = 1000
    """Test images of each set, evenly spaced."""
    levels: Annotated[int, study.at_least(2), study.Rule(lambda n: n <= 256, "be at most 256")] = 32
    """Grey levels, of 256."""
    latent: study.Count = 16
    hidden: study.Count = 200
    """Width of the hidden layers, two in encoder and decoder, one in the MADE."""
    regret_steps: study.Count = 100
    """Gradient steps on each image."""
    particles: study.Count = 100
    """Particles of the NLL estimate."""
    steps: study.Count = 4000
    learning_rate: study.Positive = 1e-3
    """At the start; it falls to zero along a cosine."""

    def __post_init__(self):
        super().__post_init__()
        if self.dataset == self.outliers:
            raise ValueError(
                f"outliers must be of another set than the models', got {self.dataset} for both."
            )


def coarse(config: Config, name: Set) -> Dataset:
    """Images at half the size, in few levels."""
    dataset = data.thinned(data.load(name, config.data_dir, "levels"), config.limit)
    half = jax.jit(jax.vmap(halved))
    step = dataset.num_levels / config.levels
    split = lambda images: np.floor(np.asarray(half(images)) / step).astype(np.float32)
    small = {part: split(getattr(dataset, part)) for part in ("train", "valid", "test")}
    return dataset._replace(**small, num_levels=config.levels)


def build(config: Config, name: Name, shape: tuple[int, ...]) -> Any:
    rngs, hidden = nnx.Rngs(config.seed), (config.hidden, config.hidden)
    if name == "MADE":
        made = MADE(int(np.prod(shape)), (config.hidden,), direct=True, rngs=rngs)
        levels = DiscretizedLogisticMixture(num_channels=1, num_levels=config.levels)
        return Autoregressive(StepwiseMADE(made), levels, shape=shape)
    middle = (config.levels - 1) / 2
    encoder = Rescale(MLP(shape, hidden, config.latent, rngs=rngs), loc=middle, scale=middle)
    decoder = MLP(config.latent, hidden, shape, rngs=rngs)
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=DiscretizedLogistic(decoder, num_levels=config.levels),
        posterior=Normal(encoder),
    )


def scores(config: Config, model: Any, x: np.ndarray, train: np.ndarray) -> Mapping[str, Any]:
    """Of each image, in nats; larger is stranger."""
    nll_key, elbo_key, regret_key = jax.random.split(config.key, 3)
    particles = config.particles if isinstance(model, LatentVariableModel) else 1
    log_px, of_train = (
        evaluation.log_likelihood(
            jax.random.clone(nll_key), model, images, num_particles=particles, rows_per_chunk=5000
        ).log_px
        for images in (x, train)
    )
    found = {"likelihood": -log_px, "typicality": evaluation.typicality(log_px, of_train)}
    if isinstance(model, LatentVariableModel):
        bound = evaluation.elbo(elbo_key, model, x, num_samples=20)
        steps = config.regret_steps
        found["reconstruction"] = -bound.log_likelihood
        found["KL"] = np.sum(bound.rates, axis=1)
        found["regret"] = evaluation.likelihood_regret(regret_key, model, x, num_steps=steps)
    return found


def evaluate(config: Config, known: Dataset, strange: Dataset, model: Any) -> list[dict[str, Any]]:
    """A row for each score."""
    some = known.train[np.arange(config.limit) * len(known.train) // config.limit]
    both = [scores(config, model, images, some) for images in (known.test, strange.test)]
    return [
        {
            "score": name,
            "auroc": evaluation.auroc(values, both[1][name]),
            "known": float(np.mean(values)),
            "strange": float(np.mean(both[1][name])),
        }
        for name, values in both[0].items()
    ]


def draw(known: Dataset, strange: Dataset, out: Path, found: Sequence[study.Result]) -> None:
    """Images of both sets, and rows of samples of each model."""
    keys = jax.random.split(jax.random.key(0), 10)
    rows = [jnp.asarray(known.test[:10]), jnp.asarray(strange.test[:10])]
    rows += [jax.jit(jax.vmap(it.model.sample))(keys) for it in found]
    pictures.save_samples(out / "images.png", jnp.concatenate(rows) / (known.num_levels - 1))


def experiment(config: Config) -> study.Study:
    known, strange = coarse(config, config.dataset), coarse(config, config.outliers)
    variant = lambda name: study.Variant(
        name=name,
        row={"model": name},
        build=lambda: build(config, name, known.train.shape[1:]),
        players=[Player(loss=objectives.elbo(), optimizer=optax.adam(config.falling()))],
        data=known.train,
        plan=config.plan(),
    )
    columns = {
        "model": "{model}",
        "score": "{score}",
        "AUROC": "{auroc:.3f}",
        config.dataset: "{known:.1f}",
        config.outliers: "{strange:.1f}",
        "s": "{train_seconds:.0f}",
    }
    title = f"trained on {config.dataset}: mean scores in nats, and how well each tells"
    return study.Study(
        variants=[variant(name) for name in config.model],
        measure=lambda it: evaluate(config, known, strange, it.model),
        draw=lambda out, found: draw(known, strange, out, found),
        tables=[study.Table(title, columns)],
        units="nats per image, auroc a probability; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("outliers", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
