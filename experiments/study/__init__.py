"""One mechanism for all experiments: each states what is compared, and what is said of it.

An experiment is a module with its settings, and a function from them to a `Study`:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(study.OnImages):       # or study.Training, study.Settings, for less
        model: study.Each[Name] = ("VAE", "IWAE")      # types with ranges: see study.settings
        latent: study.Count = 10

    def experiment(config: Config) -> study.Study:
        dataset = config.load()         # may refuse: nothing is written yet
        variant = lambda name: study.Variant(
            name=name,                  # of its folder, and of the progress bar
            row={"model": name},        # what its row starts with
            build=lambda: build(config, dataset),
            players=players(config, name),
            data=dataset.train,
            plan=config.plan(),
        )
        return study.Study(
            variants=[variant(name) for name in config.model],
            measure=lambda result: figures(config, dataset, result.model),
            draw=lambda out, results: study.save_curves(out, results, "elbo", "training ELBO"),
            tables=[study.Table("{dataset}: nats", {"model": "{model}", "NLL": "{nll:.2f}"})],
            facts={"dataset": dataset.name},
            units="nats per image; seconds",
        )

    def main(config: Config) -> list[dict[str, Any]]:
        return study.run("name", config, experiment)

    if __name__ == "__main__":
        command_line.run(main, Config)

The study tries every variant on shapes, makes the directory, trains what is not trained yet, and
measures, draws, prints and writes. What is not a game of players is a `study.Computation`.
"""

from experiments.study.film import film, frames
from experiments.study.judge import QUALITY, Judge, Judged, OnGreyImages, judge_of, judged_data
from experiments.study.latents import NLL, active, nll, units
from experiments.study.settings import (
    LOCAL,
    AnyDataset,
    Count,
    Each,
    Fraction,
    Images,
    NotNegative,
    NotNegativeCount,
    OnImages,
    Positive,
    Resumable,
    Rule,
    Settings,
    Share,
    Training,
    at_least,
    plan,
)
from experiments.study.size import by_size
from experiments.study.study import Computation, Result, Study, Variant, check, run, save_curves
from experiments.study.table import Column, Row, Table, having, known

__all__ = [
    "LOCAL",
    "NLL",
    "QUALITY",
    "AnyDataset",
    "Column",
    "Computation",
    "Count",
    "Each",
    "Fraction",
    "Images",
    "Judge",
    "Judged",
    "NotNegative",
    "NotNegativeCount",
    "OnGreyImages",
    "OnImages",
    "Positive",
    "Result",
    "Resumable",
    "Row",
    "Rule",
    "Settings",
    "Share",
    "Study",
    "Table",
    "Training",
    "Variant",
    "active",
    "at_least",
    "by_size",
    "check",
    "film",
    "frames",
    "having",
    "judge_of",
    "judged_data",
    "known",
    "nll",
    "plan",
    "run",
    "save_curves",
    "units",
]
