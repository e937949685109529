"""Joint densities whose evidence and posterior are known, and proposals for them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from genmix.densities import normal
from genmix.families import (
    Annealed,
    Auxiliary,
    Hamiltonian,
    LatentVariableModel,
    Optimized,
    Rejecting,
    Resampled,
)
from genmix.mcmc import bridge, hmc, metropolis_hastings
from tests import linear_gaussian

X = jnp.asarray(linear_gaussian.X, jnp.float32)


class Net(nnx.Module):
    """x -> loc and raw scale of a normal of two entries."""

    def __init__(self):
        self.kernel = nnx.Param(jnp.array([[0.5, -0.2, 0.1], [0.1, 0.6, 0.0]]))
        self.raw_scale = nnx.Param(jnp.array([0.0, -0.2]))

    def __call__(self, x):
        return jnp.concatenate([self.kernel @ x, self.raw_scale[...]])


class NetNormal(nnx.Module):
    """N(loc, softplus(raw)^2) of what a network gives."""

    def __init__(self, network):
        self.network = network

    def _numbers(self, cond):
        loc, raw = jnp.split(self.network(cond), 2)
        return loc, jax.nn.softplus(raw)

    def log_prob(self, x, cond: Any = None):
        return jnp.sum(normal.log_prob(x, *self._numbers(cond)))

    def sample(self, key, cond: Any = None):
        return normal.sample(key, *self._numbers(cond))

    def sample_and_log_prob(self, key, cond: Any = None):
        z = self.sample(key, cond)
        return z, self.log_prob(z, cond)


class Reverse(nnx.Module):
    """N(z / 4, 1.2^2) of a momentum or an auxiliary variable given (z, x)."""

    def __init__(self, scale=1.2):
        self.scale = nnx.Param(jnp.asarray(scale))

    def log_prob(self, x, cond: Any = None):
        z, _ = cond
        return jnp.sum(normal.log_prob(x, z / 4, self.scale[...]))

    def sample_and_log_prob(self, key, cond: Any = None):
        z, _ = cond
        v = normal.sample(key, z / 4, self.scale[...] * jnp.ones(2))
        return v, self.log_prob(v, cond)


class Shifted(nnx.Module):
    """N(a / 2 + loc(x), 0.6^2) given the pair (a, x)."""

    def __init__(self, network):
        self.network = network

    def sample_and_log_prob(self, key, cond: Any = None):
        a, x = cond
        loc = a / 2 + jnp.split(self.network(x), 2)[0]
        z = normal.sample(key, loc, 0.6 * jnp.ones(2))
        return z, jnp.sum(normal.log_prob(z, loc, 0.6))

    def log_prob(self, x, cond: Any = None):
        a, given = cond
        loc = a / 2 + jnp.split(self.network(given), 2)[0]
        return jnp.sum(normal.log_prob(x, loc, 0.6))


class Noise(nnx.Module):
    """N(0, 0.8^2), whatever x is."""

    def sample_and_log_prob(self, key, cond: Any = None):
        a = 0.8 * jax.random.normal(key, (2,))
        return a, self.log_prob(a)

    def log_prob(self, x, cond: Any = None):
        return jnp.sum(normal.log_prob(x, 0.0, 0.8))


def plain():
    return NetNormal(Net())


def auxiliary():
    return Auxiliary(LatentVariableModel(prior=Noise(), likelihood=Shifted(Net()),
                                         posterior=Reverse(0.7)))  # fmt: skip


def optimized(num_steps=3, **options):
    return Optimized(plain(), num_steps, optimizer=optax.sgd(0.05), num_draws=2, **options)


def annealed(proposal):
    kernel = lambda logdensity, beta: hmc.build(logdensity, 0.3, 2)
    return Annealed(proposal, kernel, bridge.linear(4))


def hamiltonian(proposal):
    return Hamiltonian(proposal, Reverse(), num_leapfrog=2, step_size=0.2)


def rejecting(proposal, threshold=4.0, **options):
    return Rejecting(proposal, threshold, num_estimates=4, **options)


CONTINUOUS = {
    "hamiltonian": lambda: hamiltonian(plain()),
    "auxiliary": auxiliary,
    "resampled": lambda: Resampled(plain(), 3),
    "rejecting": lambda: rejecting(plain()),
    "optimized": optimized,
    "annealed": lambda: annealed(plain()),
    "hamiltonian of resampled": lambda: hamiltonian(Resampled(plain(), 3)),
    "resampled of hamiltonian": lambda: Resampled(hamiltonian(plain()), 3),
    "rejecting of auxiliary": lambda: rejecting(auxiliary()),
    "hamiltonian of optimized": lambda: hamiltonian(optimized(1)),
    "resampled of annealed": lambda: Resampled(annealed(plain()), 2),
    "resampled of rejecting": lambda: Resampled(rejecting(plain()), 2),
}


def model(posterior):
    return LatentVariableModel(
        prior=linear_gaussian.one_layer().prior,
        likelihood=linear_gaussian.DECODER,
        posterior=posterior,
    )


def log_joint(z):
    parts = linear_gaussian.one_layer()
    return parts.prior.log_prob(z) + parts.likelihood.log_prob(X, z)


def exact_posterior():
    """Mean and covariance of p(z | x)."""
    matrix = np.asarray(linear_gaussian.DECODER.matrix[...], float)
    noise = np.asarray(linear_gaussian.DECODER.scale[...], float) ** 2
    offset = np.asarray(linear_gaussian.DECODER.offset[...], float)
    covariance = np.linalg.inv(np.eye(2) + matrix.T @ (matrix / noise[:, None]))
    return covariance @ matrix.T @ ((linear_gaussian.X - offset) / noise), covariance


class Table(nnx.Module):
    """A distribution of 0 .. n - 1, whatever the condition."""

    def __init__(self, logits):
        self.logits = nnx.Param(jnp.asarray(logits))

    def log_prob(self, x, cond: Any = None):
        return jax.nn.log_softmax(self.logits[...])[x]

    def sample(self, key, cond: Any = None):
        return jax.random.categorical(key, self.logits[...])

    def support(self, cond: Any = None):
        logits = self.logits[...]
        return jnp.arange(len(logits)), jax.nn.log_softmax(logits)


NUM_STATES = 16
_rng = np.random.default_rng(3)
Q_LOGITS = _rng.normal(size=NUM_STATES)
JOINT = _rng.normal(size=NUM_STATES) * 1.3 - 4.0  # log p(x, z) of each z


def table_joint(z):
    return jnp.asarray(JOINT)[z]


def table_annealed(proposal):
    jump = lambda key, z: jax.random.randint(key, (), 0, NUM_STATES, z.dtype)
    kernel = lambda logdensity, beta: metropolis_hastings.build(logdensity, jump)
    return Annealed(proposal, kernel, bridge.linear(3))


DISCRETE = {
    "resampled": lambda: Resampled(Table(Q_LOGITS), 3),
    "rejecting": lambda: rejecting(Table(Q_LOGITS), 3.0),
    "annealed": lambda: table_annealed(Table(Q_LOGITS)),
    "rejecting of resampled": lambda: rejecting(Resampled(Table(Q_LOGITS), 2), 3.0),
    "resampled of rejecting": lambda: Resampled(rejecting(Table(Q_LOGITS), 3.0), 2),
    "rejecting of annealed": lambda: rejecting(table_annealed(Table(Q_LOGITS)), 3.0),
}
