"""GANs on mixtures in the plane and on digits, what they cover: python -m experiments.gan.

Defaults train three small games in a few minutes on two CPU cores, with pictures over time.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments import games, study
from genmix import divergences, objectives
from genmix.evaluation import sample_quality
from genmix.families import Implicit, StandardNormal
from genmix.nets import Joined, spectrally_normalized
from genmix.runs import command_line
from genmix.training import Game, Player

Data = Literal["eight-gaussians", "grid", "digits", "mnist", "fashion-mnist"]
Loss = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein"]
Penalty = Literal["none", "r1", "wgan-gp", "wgan-lp", "spectral-norm"]
PENALTIES = {"r1": objectives.r1, "wgan-gp": objectives.wgan_gp, "wgan-lp": objectives.wgan_lp}
LOOKS = 6  # pictures over time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(games.Config):
    """One game is played for each data set and loss."""

    dataset: study.Each[Data] = ("eight-gaussians", "grid", "digits")
    loss: study.Each[Loss] = ("non-saturating",)
    penalty: Penalty = "r1"
    """What keeps the critic smooth; without it image networks use batch normalization."""
    penalty_weight: study.NotNegative | None = None
    """Of r1: 0.03 in the plane and 0.1 for images; of wgan-gp and wgan-lp: 10."""
    network: Literal["mlp", "dcgan"] | None = None
    """Of images: mlp for digits and dcgan for larger ones if not given; of points always mlp."""
    conditional: bool = False
    """Give generator and critic the class; for images."""
    critic_steps: study.Count = 1
    """Steps of the critic for one of the generator."""
    steps: study.Count | None = None
    """Of the generator; 10,000, and for larger images than the digits 3,000."""
    learning_rate: study.Positive | None = None
    """At the start; it falls to zero along a cosine; 3e-3 in the plane and 1e-3 for images."""
    critic_learning_rate: study.Positive | None = None
    """Of the critic; that of the generator if not given: two time scales."""
    average_decay: study.Fraction = 0.999
    """Of the moving average of the parameters, which is what is evaluated."""

    def __post_init__(self):
        super().__post_init__()
        points = ", ".join(self.points)
        if self.penalty_weight is not None and self.penalty not in PENALTIES:
            raise ValueError(
                f"--penalty-weight {self.penalty_weight} is of a term of the critic's loss, and "
                f"--penalty {self.penalty} adds none: use --penalty {', '.join(PENALTIES)}."
            )
        if self.network == "dcgan" and points:
            raise ValueError(
                f"{points} has points, and --network dcgan is of images: leave it out, "
                "or ask for images alone with --dataset."
            )
        if self.conditional and points:
            raise ValueError(f"{points} has no classes, which --conditional needs.")

    @property
    def compared(self) -> objectives.Comparison:
        return objectives.conditional if self.conditional else objectives.data

    def given(self, source: games.Source) -> int:
        """Number of classes, of which generator and critic are given one."""
        return source.num_classes if self.conditional else 0


def build(config: Config, source: games.Source) -> Game:
    rngs, recipe, given = nnx.Rngs(config.seed), source.recipe, config.given(source)
    kind, normalizes = config.network or recipe.network, config.penalty == "none"
    options = {"given": given, "batch_norm": normalizes, "rngs": rngs}
    network, critic = games.networks(kind, recipe.noise + given, source.shape, **options)
    if config.penalty == "spectral-norm":
        critic = spectrally_normalized(critic, rngs=rngs)
    network = Joined(network) if given else network
    return Game(generator=Implicit(StandardNormal(recipe.noise), network), critic=critic)


def players(config: Config, loss: str, recipe: games.Recipe, steps: int) -> list[Player]:
    losses, compared = divergences.gan.BY_NAME[loss], config.compared
    judged, weight = objectives.critic(compared, losses), config.penalty_weight
    if config.penalty in PENALTIES:
        usual = recipe.r1 if config.penalty == "r1" else 10.0
        judged += (usual if weight is None else weight) * PENALTIES[config.penalty](compared)
    made = objectives.generator(compared, losses).of("generator")
    rate = config.learning_rate or recipe.learning_rate
    # Moments of the gradient are kept for a short time: the other player moves on.
    adam = lambda rate, steps: optax.adam(optax.cosine_decay_schedule(rate, steps), b1=0.5, b2=0.99)
    critic = Player(
        name="critic",
        loss=judged.of("generator"),
        optimizer=adam(config.critic_learning_rate or rate, steps * config.critic_steps),
        steps=config.critic_steps,
    )
    return [critic, Player(name="generator", loss=made, optimizer=adam(rate, steps))]


def draw(config: Config, source: games.Source, game: Game, num_samples: int) -> jax.Array:
    """Samples; of one class after the other if classes are given."""
    given = jnp.eye(config.given(source)) if config.conditional else None
    return sample_quality.draw(config.key, game.generator, num_samples, given=given)


def variant(config: Config, name: str, source: games.Source, loss: str) -> study.Variant:
    steps = config.steps or (3_000 if source.recipe is games.LARGE else 10_000)
    every, shown = max(steps // LOOKS, 1), 5000 if isinstance(source, games.Points) else 10
    look = lambda game: draw(config, source, game, shown)
    return study.Variant(
        name=f"{name}-{loss}",
        row={"dataset": name, "loss": loss},
        build=lambda: build(config, source),
        players=players(config, loss, source.recipe, steps),
        data=source.events(config.key, given=config.given(source)),
        plan=lambda directory: study.plan(
            steps - steps % every,
            config.batch_size or source.recipe.batch_size,
            average_decay=config.average_decay,
            rounds_per_call=every,
            validation=study.film(look, every, directory),
        ),
    )


def evaluate(config: Config, source: games.Source, result: study.Result) -> dict[str, Any]:
    """What the samples cover, and how the game stood at its end."""
    if not result.history:  # the data's own figures
        return result.model
    name, last = config.compared.name, lambda metric: float(result.history[metric][1][-1])
    samples = draw(config, source, result.model, config.samples)
    return {
        "data_accuracy": last(f"critic/{name}_accuracy"),
        "data_coverage": last(f"critic/{name}_coverage"),
        "data_gradient_norm": last(f"generator/{name}_gradient_norm"),
        **source.quality(result.out, samples, given=config.given(source)),
    }


def tables(config: Config) -> list[study.Table]:
    first = {"data": "{dataset}", "loss": "{loss}"}
    last = {"critic's accuracy": "{data_accuracy:.2f}", "coverage": "{data_coverage:.2f}"}
    last |= {"training": "{train_seconds:.0f} s"}
    last |= {"class": "{agreement:.1%}"} if config.conditional else {}

    def table(title: str, having: str, figures: dict[str, str]) -> study.Table:
        some = lambda rows: [row for row in rows if having in row]
        return study.Table(title, first | figures | last, some)

    points = {
        "modes": "{covered} of {modes}",
        "high quality": "{high_quality:.1%}",
        "rarest mode": "{smallest_share:.2%}",
    }
    images = {
        "classifier": "{classifier_accuracy:.1%}",
        "Fréchet": "{frechet:.2f}",
        "MODE": "{mode_score:.2f}",
        "IS": "{inception_score:.2f}",
        "precision": "{precision:.2f}",
        "recall": "{recall:.2f}",
    }
    return [
        table("2-D mixtures: samples within three deviations of a mode", "modes", points),
        table("images, seen by a classifier of so many right answers", "mode_score", images),
    ]


def experiment(config: Config) -> study.Study:
    data = {name: config.source(name) for name in config.dataset}
    variants = []
    for name, source in data.items():
        if isinstance(source, games.Pictures):
            variants.append(source.own_figures(name, config.samples))
        variants += [variant(config, name, source, loss) for loss in config.loss]
    return study.Study(
        variants=variants,
        measure=lambda result: evaluate(config, data[result.row["dataset"]], result),
        draw=lambda out, found: games.save_films(data, out, found),
        tables=tables(config),
        facts={"samples": config.samples},
        units="shares of 1; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("gan", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
