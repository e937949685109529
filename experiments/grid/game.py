"""What the parts are trained for: a bound on the likelihood, and terms that are added to it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments.grid.config import Config
from experiments.grid.parts import build, encoder, width
from experiments.study.estimators import bound
from genmix import divergences, objectives
from genmix.data import Dataset
from genmix.families import LatentVariableModel, Normalized, RestrictedBoltzmann
from genmix.families.energy import restricted_boltzmann
from genmix.nets import MLP, DCGANCritic, style
from genmix.objectives import Term
from genmix.training import Game, Player

COMPARISONS = {
    "data": objectives.data,
    "latent": objectives.latent,
    "joint": objectives.joint,
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
    """The model with a likelihood, whether there is a critic or not."""
    model = game.model if isinstance(game, Game) else game
    if not isinstance(model.prior, RestrictedBoltzmann):
        return model
    log_z = jax.jit(restricted_boltzmann.log_partition)(model.prior)
    prior = Normalized(model.prior, log_z, start=jnp.zeros_like(model.prior.visible_bias[...]))
    return LatentVariableModel(prior=prior, likelihood=model.likelihood, posterior=model.posterior)


def critic(config: Config, dataset: Dataset) -> Any:
    """Networks like those of the model."""
    hidden, rngs = width(config, dataset), nnx.Rngs(config.seed + 1)
    if config.critic_network == "dcgan":
        return DCGANCritic(dataset.train.shape[1:], (32, 64), batch_norm=False, rngs=rngs)
    if config.critic_network == "growing":
        return style.GrowingCritic(dataset.train.shape[1:], (32, 16), rngs=rngs)
    if config.adversarial == "data":
        return encoder(config, dataset, hidden, rngs, 1)
    if config.adversarial == "latent":
        return MLP(config.latent, (hidden, hidden), 1, rngs=rngs)
    features = encoder(config, dataset, hidden, rngs, hidden)
    return PairCritic(features, MLP(hidden + config.latent, (hidden,), 1, rngs=rngs))


def objective(config: Config) -> Term:
    """The bound, and what the model adds to it, for what `start` gives."""
    term = bound(config.objective, config.k, config.estimator, alpha=config.alpha, beta=config.beta)
    if config.prior == "rbm":
        term = objectives.energy_prior(term, jnp.zeros((100, config.latent)), 5)
    if config.mmd:
        term = term + config.mmd * objectives.mmd(objectives.latent)
    if config.adversarial != "none":
        losses = divergences.gan.BY_NAME[config.critic or "non-saturating"]
        against = objectives.generator(COMPARISONS[config.adversarial], losses)
        weight = 1.0 if config.weight is None else config.weight
        return (term + weight * against).of("model")
    return term


def players(config: Config) -> list[Player]:
    """The model, and the critic if there is one, which moves first."""
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    if config.adversarial == "none":
        return [Player(loss=objective(config), optimizer=optax.adam(rate))]
    steps, name = config.k_critic or 1, config.critic or "non-saturating"
    compared = COMPARISONS[config.adversarial]
    smooth = 10.0 * objectives.wgan_gp(compared)
    if name != "wasserstein":
        smooth = 0.1 * objectives.r1(compared)
    # Moments of the gradient are kept for a short time: the other player moves on.
    slow = optax.cosine_decay_schedule(config.learning_rate, steps * config.steps)
    judged = objectives.critic(compared, divergences.gan.BY_NAME[name]) + smooth
    judge = Player(
        name="critic",
        loss=judged.of("model"),
        optimizer=optax.adam(slow, b1=0.5),
        steps=steps,
    )
    return [judge, Player(loss=objective(config), optimizer=optax.adam(rate))]
