"""Linear VAE against probabilistic PCA, whose log p(x) is known: python -m experiments.linear_vae.

The parts are written here, as a user would write his own: any class with the methods will do.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import bounds, objectives
from genmix.bounds import elbo, iwae
from genmix.data.digits import grey_digits
from genmix.densities import multivariate_normal, normal
from genmix.evaluation.likelihood import log_likelihood
from genmix.families import LatentVariableModel, StandardNormal, log_weight
from genmix.runs import command_line
from genmix.training import Player


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Defaults reach an exact log p(x) within 0.05 nats of the maximum, 17.452, in a minute."""

    latent: Annotated[int, study.Rule(lambda v: 0 < v < 64, "be from 1 to 63")] = 10
    """Dimensions of z, the number of principal components; a digit has 64 pixels."""
    steps: study.Count = 6000
    batch_size: study.Count = 200
    learning_rate: study.Positive = 1e-2
    """At the start; it falls to zero along a cosine."""
    particles: study.Count = 5000
    """Particles of the NLL estimate."""


class LinearNormal(nnx.Module):
    """N(W c + b, diag(scale^2)) on vectors, the scale learned but the same for every condition."""

    def __init__(self, cond_dim: int, dim: int, *, shared_scale: bool, rngs: nnx.Rngs):
        self.mean = nnx.Linear(cond_dim, dim, rngs=rngs)
        self.raw_scale = nnx.Param(jnp.zeros(1 if shared_scale else dim))

    @property
    def scale(self) -> jax.Array:
        return jnp.broadcast_to(nnx.softplus(self.raw_scale[...]), (self.mean.out_features,))

    def log_prob(self, x, cond: Any = None):
        return jnp.sum(normal.log_prob(x, self.mean(cond), self.scale))

    def sample(self, key, cond: Any = None):
        return normal.sample(key, self.mean(cond), self.scale)

    def sample_and_log_prob(self, key, cond: Any = None):
        x = self.sample(key, cond)
        return x, self.log_prob(x, cond)


def build(config: Config) -> LatentVariableModel:
    rngs = nnx.Rngs(config.seed)
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=LinearNormal(config.latent, 64, shared_scale=True, rngs=rngs),
        posterior=LinearNormal(64, config.latent, shared_scale=False, rngs=rngs),
    )


def maximum_log_likelihood(x: np.ndarray, latent: int) -> float:
    """Mean log p(x) of probabilistic PCA at its maximum (Tipping & Bishop, 1999, section 3.2)."""
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T.astype(np.float64), bias=True))[::-1]
    noise = np.mean(eigenvalues[latent:])
    log_det = np.sum(np.log(eigenvalues[:latent])) + (x.shape[1] - latent) * np.log(noise)
    return float(-0.5 * (x.shape[1] * (np.log(2 * np.pi) + 1) + log_det))


def exact_log_likelihood(model: LatentVariableModel, x: np.ndarray) -> float:
    """Mean log p(x) of the model as trained: normal with covariance W W^T + diag(scale^2)."""
    weight = model.likelihood.mean.kernel[...]
    covariance = weight.T @ weight + jnp.diag(model.likelihood.scale**2)
    cholesky, mean = jnp.linalg.cholesky(covariance), model.likelihood.mean.bias[...]
    log_prob = jax.vmap(lambda x: multivariate_normal.log_prob(x, mean, cholesky))
    return float(jnp.mean(log_prob(jnp.asarray(x))))


def sampled_bounds(key: jax.Array, model: LatentVariableModel, x: np.ndarray) -> dict[str, float]:
    """ELBO and importance-weighted bounds, means over the images of one estimate each."""

    def weights(key, x, num_particles):
        keys = jax.random.split(key, num_particles)
        return jax.vmap(lambda k: log_weight(model, k, x))(keys)

    bounds = {
        "elbo": (elbo.bound, 50),
        "iwae, k = 5": (iwae.bound, 5),
        "iwae, k = 50": (iwae.bound, 50),
    }
    values = {}
    for (name, (bound, k)), bound_key in zip(bounds.items(), jax.random.split(key, 3), strict=True):
        one = lambda key, x, bound=bound, k=k: bound(weights(key, x, k))
        keys = jax.random.split(bound_key, len(x))
        values[name] = float(jnp.mean(jax.jit(jax.vmap(one))(keys, jnp.asarray(x))))
    return values


def evaluate(config: Config, model: LatentVariableModel, x: np.ndarray) -> dict[str, float]:
    """Log p(x) and its bounds, means in nats an image."""
    bound_key, nll_key = jax.random.split(jax.random.key(config.seed + 1))
    estimate = log_likelihood(nll_key, model, x, num_particles=config.particles)
    return {
        "maximum of probabilistic PCA": maximum_log_likelihood(x, config.latent),
        "exact log p(x) of the trained model": exact_log_likelihood(model, x),
        **sampled_bounds(bound_key, model, x),
        f"-NLL, k = {config.particles}": -estimate.nll,
    }


def experiment(config: Config) -> study.Study:
    x = grey_digits().reshape(-1, 64)
    # Path gradients have no variance where the posterior is exact, as it becomes here.
    loss = objectives.elbo(estimator=bounds.sticking_the_landing)
    variant = study.Variant(
        name="linear VAE",
        folder="",
        row={},
        build=lambda: build(config),
        players=[Player(loss=loss, optimizer=optax.adam(config.falling()))],
        data=x,
        plan=config.plan(),
    )
    quantities = lambda rows: [
        {"name": name, "value": value} for name, value in rows[0].items() if name != variant.timed
    ]
    columns = {"quantity": "{name}", "nats per image": "{value:.3f}"}
    return study.Study(
        variants=[variant],
        measure=lambda result: evaluate(config, result.model, x),
        tables=[study.Table("linear VAE on the 1,797 digits / 16", columns, quantities)],
        units="nats per image; seconds",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("linear_vae", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
