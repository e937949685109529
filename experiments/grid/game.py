"""What the parts are trained for: a bound on the likelihood, and terms that are added to it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments.grid.config import Config
from experiments.grid.parts import build, encoder, width
from experiments.study.estimators import ESTIMATORS
from genmix import divergences, objectives
from genmix.data import Dataset
from genmix.nets import MLP
from genmix.objectives import Rate, Term, adversarial, baselines, comparison, distances
from genmix.training import Game, Player

COMPARISONS = {
    "data": comparison.data,
    "latent": comparison.latent,
    "joint": comparison.joint,
}


class PairCritic(nnx.Module):
    """Score of an image and its latent."""

    def __init__(self, features: Any, out: MLP):
        self.features = features
        self.out = out

    def __call__(self, pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, z = pair
        return self.out(jnp.concatenate([jnp.tanh(self.features(x)), z]))


def start(config: Config, dataset: Dataset) -> Any:
    """The model, in a game if it has a critic."""
    model = build(config, dataset)
    if config.adversarial == "none":
        return model
    return Game(model=model, critic=critic(config, dataset))


def model_of(game: Any) -> Any:
    """The model, whether there is a critic or not."""
    return game.model if isinstance(game, Game) else game


def critic(config: Config, dataset: Dataset) -> Any:
    """Networks like those of the model."""
    hidden, rngs = width(config, dataset), nnx.Rngs(config.seed + 1)
    if config.adversarial == "data":
        return encoder(config, dataset, hidden, rngs, 1)
    if config.adversarial == "latent":
        return MLP(config.latent, (hidden, hidden), 1, rngs=rngs)
    features = encoder(config, dataset, hidden, rngs, hidden)
    return PairCritic(features, MLP(hidden + config.latent, (hidden,), 1, rngs=rngs))


def objective(config: Config) -> Term:
    """The bound, and what the model adds to it, for what `start` gives."""
    term = bound(config)
    if config.mmd:
        term = term + config.mmd * distances.mmd(comparison.latent)
    if config.adversarial != "none":
        losses = divergences.gan.BY_NAME[config.critic or "non-saturating"]
        against = adversarial.generator(COMPARISONS[config.adversarial], losses)
        weight = 1.0 if config.weight is None else config.weight
        return (term + weight * against).of("model")
    return term


def bound(config: Config) -> Term:
    baseline = None
    if config.estimator == "score-function":
        baseline = baselines.running_mean() if config.k == 1 else baselines.leave_one_out()
    options: dict[str, Any] = {
        "estimator": ESTIMATORS[config.estimator],
        "baseline": baseline,
    }
    if config.objective == "renyi":
        return objectives.renyi(config.alpha, config.k, **options)
    if config.beta != 1:
        options["rate"] = Rate(beta=config.beta)
    terms: dict[str, Callable[..., Term]] = {
        "elbo": objectives.elbo,
        "iwae": objectives.iwae,
        "vr-max": objectives.vr_max,
    }
    return terms[config.objective](config.k, **options)


def players(config: Config) -> list[Player]:
    """The model, and the critic if there is one, which moves first."""
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    if config.adversarial == "none":
        return [Player(loss=objective(config), optimizer=optax.adam(rate))]
    steps, name = config.k_critic or 1, config.critic or "non-saturating"
    compared = COMPARISONS[config.adversarial]
    smooth = 10.0 * adversarial.wgan_gp(compared)
    if name != "wasserstein":
        smooth = 0.1 * adversarial.r1(compared)
    # Moments of the gradient are kept for a short time: the other player moves on.
    slow = optax.cosine_decay_schedule(config.learning_rate, steps * config.steps)
    judged = adversarial.critic(compared, divergences.gan.BY_NAME[name]) + smooth
    judge = Player(
        name="critic",
        loss=judged.of("model"),
        optimizer=optax.adam(slow, b1=0.5),
        steps=steps,
    )
    return [judge, Player(loss=objective(config), optimizer=optax.adam(rate))]
