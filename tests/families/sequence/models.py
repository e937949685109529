"""Models of steps whose p(x) is known, and recurrent ones that are small."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from genmix import bijectors
from genmix.bounds.log_weight import Terms
from genmix.densities import normal
from genmix.families import Bernoulli, Combiner, FromTheEnd, Normal, Unconditional, transformed
from genmix.families.posteriors.merged_normal import MergedNormal, shifted
from genmix.families.sequence.linear_gaussian import LinearGaussian
from genmix.families.sequence.state_space import StateSpaceModel
from genmix.families.sequence.stochastic_rnn import StochasticRNN
from genmix.families.sequence.variational_rnn import VariationalRNN
from genmix.nets import MADE, MLP, GatedTransition, Joined
from genmix.nets.recurrent import GRU, LSTM

KEYS, WIDTH, LATENT = 5, 4, 3
NUM_STEPS = 6


class Scalar(NamedTuple):
    """N(slope z + offset, scale^2) of a vector of one entry; slope may be in the condition."""

    slope: Any
    offset: Any
    scale: Any

    def log_prob(self, x, cond: Any = None):
        return jnp.sum(normal.log_prob(x, self._mean(cond), self.scale))

    def sample(self, key, cond: Any = None):
        return normal.sample(key, self._mean(cond), jnp.full(1, self.scale))

    def sample_and_log_prob(self, key, cond: Any = None):
        x = self.sample(key, cond)
        return x, self.log_prob(x, cond)

    def _mean(self, cond):
        return self.offset + (jnp.zeros(1) if cond is None else self.slope * cond)


class Guided:
    """The exact p(z_t | z_t-1, x_t..x_T), its parameters in the guide."""

    def sample_and_log_prob(self, key, cond: Any = None):
        z, (matrix, offset, covariance) = cond
        loc, scale = matrix @ z + offset, jnp.sqrt(jnp.diag(covariance))
        new = normal.sample(key, loc, scale)
        return new, jnp.sum(normal.log_prob(new, loc, scale))


def kalman(dtype=float) -> LinearGaussian:
    """z_1 ~ N(0.2, 0.8), z_t ~ N(0.9 z_t-1, 0.5), x_t ~ N(1.3 z_t, 0.3)."""
    square = lambda value: jnp.full((1, 1), value, dtype)
    return LinearGaussian(
        jnp.full(1, 0.2, dtype), square(0.8), square(0.9), square(0.5), square(1.3), square(0.3)
    )


def plane() -> LinearGaussian:
    """Two hidden entries, three seen."""
    return LinearGaussian(
        jnp.array([0.3, -0.2]),
        jnp.array([[1.0, 0.2], [0.2, 0.7]]),
        jnp.array([[0.8, 0.3], [-0.2, 0.7]]),
        jnp.array([[0.5, -0.1], [-0.1, 0.4]]),
        jnp.array([[1.0, 0.3], [0.0, 0.6], [-0.5, 0.4]]),
        jnp.array([[0.4, 0.1, 0.0], [0.1, 0.5, 0.1], [0.0, 0.1, 0.3]]),
    )


def joint(model: LinearGaussian, num_steps: int):
    """Mean and covariance of (z_1..z_T, x_1..x_T) as one vector, and how many entries z has."""
    mean, cov, step, noise, see, blur = (np.asarray(a, float) for a in model)
    dim = mean.size
    offsets = [mean]
    factors = [np.linalg.cholesky(cov)] + [np.linalg.cholesky(noise)] * (num_steps - 1)
    rows = []
    for t in range(num_steps):
        row = [np.linalg.matrix_power(step, t - s) @ factors[s] if s <= t else np.zeros((dim, dim))
               for s in range(num_steps)]  # fmt: skip
        rows.append(np.concatenate(row, axis=1))
        if t:
            offsets.append(step @ offsets[-1])
    root = np.concatenate(rows)
    everything = np.kron(np.eye(num_steps), see)
    z_mean, z_cov = np.concatenate(offsets), root @ root.T
    x_cov = everything @ z_cov @ everything.T + np.kron(np.eye(num_steps), blur)
    full = np.block([[z_cov, z_cov @ everything.T], [everything @ z_cov, x_cov]])
    return np.concatenate([z_mean, everything @ z_mean]), full, z_mean.size


def scalar_chain(*, exact_proposal: bool = False) -> StateSpaceModel:
    """`kalman` by its parts: a bootstrap filter, or one with the smoothing proposal."""
    exact = kalman()
    options = {}
    if exact_proposal:
        options = {"proposal": Guided(), "encoder": exact.best_proposal}
    root = lambda value: float(np.sqrt(value))
    return StateSpaceModel(
        initial=Scalar(0.0, 0.2, root(0.8)),
        transition=Scalar(0.9, 0.0, root(0.5)),
        emission=Scalar(1.3, 0.0, root(0.3)),
        **options,
    )


def _normal(in_size, rngs):
    return Normal(Joined(MLP(in_size, (WIDTH,), LATENT, rngs=rngs)))


def _keys(rngs):
    return Bernoulli(Joined(MLP(LATENT + WIDTH, (WIDTH,), KEYS, rngs=rngs)))


def variational_rnn(*, residual: bool = False) -> VariationalRNN:
    rngs = nnx.Rngs(0)
    posterior = _normal(2 * WIDTH, rngs)
    return VariationalRNN(
        prior=_normal(WIDTH, rngs),
        likelihood=_keys(rngs),
        posterior=MergedNormal(posterior, shifted) if residual else posterior,
        cell=LSTM(WIDTH + LATENT, WIDTH, rngs=rngs),
        encoder=MLP(KEYS, (), WIDTH, rngs=rngs),
    )


def stochastic_rnn(*, residual: bool = True) -> StochasticRNN:
    rngs = nnx.Rngs(0)
    posterior = _normal(LATENT + WIDTH, rngs)
    return StochasticRNN(
        LATENT,
        prior=_normal(LATENT + WIDTH, rngs),
        likelihood=_keys(rngs),
        posterior=MergedNormal(posterior, shifted) if residual else posterior,
        forward=GRU(KEYS, WIDTH, rngs=rngs),
        backward=GRU(WIDTH + KEYS, WIDTH, rngs=rngs),
    )


def inverse_flow(features, rngs):
    """A layer on z_t that is given features."""
    made = MADE(LATENT, (WIDTH,), bijectors.Gate().num_parameters, cond_size=features, rngs=rngs)
    return bijectors.inverse_autoregressive(made, bijectors.Gate())


def deep_markov() -> StateSpaceModel:
    """With inverse flows for a posterior."""
    rngs = nnx.Rngs(0)
    return StateSpaceModel(
        initial=Unconditional(normal.Normal(), LATENT),
        transition=Normal(GatedTransition(LATENT, WIDTH, rngs=rngs)),
        emission=Bernoulli(MLP(LATENT, (WIDTH,), KEYS, rngs=rngs)),
        proposal=transformed(
            Normal(MLP(WIDTH, (), LATENT, rngs=rngs)),
            inverse_flow(WIDTH, rngs),
            encoder=Combiner(LATENT, WIDTH, rngs=rngs),
        ),
        encoder=FromTheEnd(GRU(KEYS, WIDTH, rngs=rngs)),
    )


def keys(num_steps=NUM_STEPS, seed=0):
    """Steps of random bits."""
    return jax.random.bernoulli(jax.random.key(seed), 0.4, (num_steps, KEYS)).astype(float)


class Coins:
    """Hidden bits whose draws are in the data of their keys, so that all can be enumerated."""

    INITIAL = np.array([0.6, 0.4])
    TRANSITION = np.array([[0.7, 0.3], [0.2, 0.8]])

    def __init__(self, emission):
        self.emission = emission  # [hidden, seen]

    def start(self, x, cond=None):
        del cond
        return (jnp.zeros((), jnp.int32), jnp.array(True)), x

    def step(self, key, carry, inputs, draw):
        del draw
        before, is_first = carry
        z = jax.random.key_data(key)[-1].astype(jnp.int32)
        prior = jnp.where(is_first, jnp.asarray(self.INITIAL), jnp.asarray(self.TRANSITION)[before])
        log_p = jnp.log(prior[z])[None]
        seen = jnp.log(self.emission[z, inputs.astype(jnp.int32)])
        return (z, jnp.array(False)), z, Terms(seen, log_p, log_p)
