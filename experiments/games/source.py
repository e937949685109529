"""What a generator learns to draw: points of a mixture in the plane, or grey images in [-1, 1]."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study
from experiments.games.networks import Network
from genmix.data import grey
from genmix.data.grey import Images
from genmix.data.mixtures import BY_NAME, Mixture
from genmix.evaluation import pictures, sample_quality

NUM_POINTS = 2**16  # drawn of a mixture for training

Films = Mapping[str, Mapping[str, np.ndarray]]
"""What each game has drawn at several times."""


class Recipe(NamedTuple):
    """What suits data of a size, where it is not given."""

    network: Network
    noise: int  # dimensions
    batch_size: int
    learning_rate: float
    r1: float  # weight


PLANE = Recipe("mlp", 2, 256, 3e-3, 0.03)
SMALL = Recipe("mlp", 32, 64, 1e-3, 0.1)
LARGE = Recipe("dcgan", 32, 64, 1e-3, 0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Resumable):
    """Data that are judged by their modes or by a classifier."""

    dataset: tuple[str, ...] = ()
    data_dir: Path | None = None
    """Folder that holds mnist/, ...; the others need none."""
    batch_size: study.Count | None = None
    """256 in the plane and 64 for images."""
    samples: study.Judged = 2500
    """Drawn for the table."""

    @property
    def points(self) -> list[str]:
        """Those of the data sets that are points."""
        return [name for name in self.dataset if name in BY_NAME]

    def source(self, name: str) -> "Source":
        """The data of a name."""
        if name in BY_NAME:
            return Points(BY_NAME[name])
        images = grey.load_images(name, self.data_dir)
        return Pictures(images, study.judge_of(self, images, f"{name}-classifier"))


class Points(NamedTuple):
    """A mixture, whose samples are judged by the modes that they cover."""

    mixture: Mixture

    @property
    def recipe(self) -> Recipe:
        return PLANE

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def num_classes(self) -> int:
        return len(self.mixture.centres)

    def events(self, key: jax.Array, *, given: int = 0) -> jax.Array:
        """Training points."""
        del given
        return self.mixture.draw(key, NUM_POINTS)

    def quality(self, out: Path, samples: jax.Array, *, given: int = 0) -> dict[str, Any]:
        """Figures of samples."""
        del out, given
        found = sample_quality.modes(samples, self.mixture.centres, self.mixture.scale)
        return found._asdict() | {"modes": self.num_classes}

    def classes(self, out: Path, samples: jax.Array) -> np.ndarray:
        """The mode that each sample is nearest to."""
        del out
        gaps = np.asarray(samples)[:, None] - self.mixture.centres[None]
        return np.argmin(np.linalg.norm(gaps, axis=-1), axis=1)

    def save_films(self, out: Path, name: str, films: Films) -> None:
        """Histograms over time beside that of the data, a row for each game."""
        data = {"data": self.events(jax.random.key(0))[:5000]}
        rows = {game: {**data, **frames} for game, frames in films.items()}
        reach = 1.25 * float(np.max(self.mixture.centres))
        pictures.save_histograms(out / f"{name}.png", rows, reach=reach)


class Pictures(NamedTuple):
    """Images, samples of which are judged by a classifier that is kept in a run's directory."""

    images: Images  # in [0, 1]
    judge: Callable[[Path], study.Judge]

    @property
    def recipe(self) -> Recipe:
        return SMALL if self.shape[0] <= 8 else LARGE

    @property
    def shape(self) -> tuple[int, ...]:
        return self.images.train.shape[1:]

    @property
    def num_classes(self) -> int:
        return int(self.images.labels[0].max()) + 1

    def events(self, key: jax.Array, *, given: int = 0) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Training images in [-1, 1]; with their classes, if so many are given."""
        del key
        x = jnp.asarray(2 * self.images.train - 1, jnp.float32)
        return (x, jax.nn.one_hot(self.images.labels[0], given)) if given else x

    def quality(self, out: Path, samples: jax.Array, *, given: int = 0) -> dict[str, Any]:
        """Figures of samples in [-1, 1], of one class after the other if so many are given."""
        figures = self.judge(out).quality((samples + 1) / 2)
        if given:
            asked = np.arange(len(samples)) % given
            figures["agreement"] = float(np.mean(self.classes(out, samples) == asked))
        return figures

    def classes(self, out: Path, samples: jax.Array) -> np.ndarray:
        """What the classifier takes each sample for."""
        return self.judge(out).classes((samples + 1) / 2)

    def own_figures(self, name: str, num_images: int) -> study.Computation:
        """A row of training images, beside which those of samples are read."""
        row, images = {"dataset": name, "loss": "(training images)"}, self.images.train[:num_images]
        return study.judged_data(f"{name}-classifier", row, self.judge, images)

    def save_films(self, out: Path, name: str, films: Films) -> None:
        """A picture for each game: a row of ten samples for each time."""
        for game, frames in films.items():
            images = (np.concatenate(list(frames.values())) + 1) / 2
            pictures.save_samples(out / f"{name}-{game}.png", images)


Source = Points | Pictures


def save_films(data: Mapping[str, Source], out: Path, found: Sequence[study.Result]) -> None:
    """What each game has drawn over time, in pictures named after their data."""
    for name, source in data.items():
        played = [it for it in found if it.row["dataset"] == name and it.history]
        source.save_films(out, name, {it.row["loss"]: study.frames(it) for it in played})
