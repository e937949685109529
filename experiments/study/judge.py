"""The classifier that judges samples of images, trained once for a run."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments.study.settings import Settings
from genmix.data.grey import Images
from genmix.evaluation import classifier


class Judge(NamedTuple):
    """A classifier of the training images, and its share of right answers on the test images."""

    classifier: classifier.Classifier
    accuracy: float


def judge_of(
    config: Settings, source: Images, folder: str = "classifier"
) -> Callable[[Path], Judge]:
    """A run's directory -> its judge, which is kept in a folder there."""

    @functools.cache
    def judge(out: Path) -> Judge:
        train_labels, test_labels = source.labels
        trained = classifier.train(config.key, source.train, train_labels, directory=out / folder)
        return Judge(trained, classifier.accuracy(trained, source.test, test_labels))

    return judge
