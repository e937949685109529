"""Samples of images, judged by a classifier of the same data that is trained once for a run."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import ArrayLike

from experiments.study.settings import OnImages, Settings, at_least
from experiments.study.study import Computation
from experiments.study.table import Column, Row
from genmix.data import coloured_digits, grey
from genmix.data.grey import Images
from genmix.evaluation import classifier, sample_quality

Judged = Annotated[int, at_least(4)]
"""How many samples: of four, each has 3 neighbours."""
QUALITY: dict[str, Column] = {
    "MODE": "{mode_score:.2f}",
    "Fréchet": "{frechet:.2f}",
    "precision": "{precision:.2f}",
    "recall": "{recall:.2f}",
}
"""Columns of a judge's figures."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnGreyImages(OnImages):
    """Training on grey images in [0, 1], samples of which are judged."""

    dataset: Literal["digits", "coloured-digits", "mnist", "fashion-mnist"] = "digits"
    """The coloured ones have three channels."""
    samples: Judged = 2000
    """Drawn for the table."""

    def images(self) -> Images:
        """The images, with the labels that the judge learns from."""
        if self.dataset == "coloured-digits":
            return coloured_digits.of_images(grey.load_images("digits", limit=self.limit))
        return grey.load_images(self.dataset, self.data_dir, limit=self.limit)


class Judge(NamedTuple):
    """A classifier of the training images, and its share of right answers on the test images."""

    classifier: classifier.Classifier
    accuracy: float
    real: np.ndarray  # the test images, beside which samples are seen

    def quality(self, samples: ArrayLike) -> dict[str, Any]:
        """Figures of images in [0, 1]."""
        return sample_quality.of_images(self.classifier, samples, self.real)._asdict()

    def classes(self, samples: ArrayLike) -> np.ndarray:
        """The most probable class of each image."""
        return np.argmax(classifier.seen(self.classifier, samples)[1], axis=1)


def judge_of(
    config: Settings, source: Images, folder: str = "classifier"
) -> Callable[[Path], Judge]:
    """A run's directory -> its judge, which is kept in a folder there."""

    @functools.cache
    def judge(out: Path) -> Judge:
        train_labels, test_labels = source.labels
        trained = classifier.train(config.key, source.train, train_labels, directory=out / folder)
        accuracy = classifier.accuracy(trained, source.test, test_labels)
        return Judge(trained, accuracy, source.test)

    return judge


def judged_data(
    name: str, row: Row, judge: Callable[[Path], Judge], images: np.ndarray
) -> Computation:
    """A row to compare samples with: the judge's accuracy, and what it says of real images."""

    def compute(directory: Path) -> dict[str, Any]:
        found = judge(directory.parent)
        return {"classifier_accuracy": found.accuracy, **found.quality(images)}

    return Computation(name=name, row=row, compute=compute)
