"""Latent-variable models made of affine normals, whose p(x) is known."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import stats

from genmix.densities import normal
from genmix.families import LatentVariableModel, StandardNormal


class Affine(nnx.Module):
    """N(matrix c + offset, diag(scale^2)) given a vector c."""

    def __init__(self, matrix, offset, scale):
        self.matrix = nnx.Param(jnp.asarray(matrix))
        self.offset = nnx.Param(jnp.asarray(offset))
        self.scale = nnx.Param(jnp.asarray(scale))

    def mean(self, cond=None):
        return self.matrix @ cond + self.offset

    def log_prob(self, x, cond=None):
        return jnp.sum(normal.log_prob(x, self.mean(cond), self.scale[...]))

    def sample(self, key, cond=None):
        return normal.sample(key, self.mean(cond), self.scale[...])

    def sample_and_log_prob(self, key, cond=None):
        x = self.sample(key, cond)
        return x, self.log_prob(x, cond)


DECODER = Affine([[1.0, 0.3], [-0.5, 0.8], [0.2, 0.1]], [0.1, -0.2, 0.3], [0.6, 0.7, 0.5])
ENCODER = Affine([[0.5, -0.2, 0.1], [0.1, 0.6, 0.0]], [0.0, 0.1], [0.7, 0.6])
INNER_DECODER = Affine([[0.8], [-0.6]], [0.2, 0.0], [0.9, 0.5])
INNER_ENCODER = Affine([[0.4, -0.3]], [0.05], [0.8])

X = np.array([0.4, -0.1, 0.9])


def one_layer():
    return LatentVariableModel(prior=StandardNormal(2), likelihood=DECODER, posterior=ENCODER)


def two_layers():
    prior = LatentVariableModel(
        prior=StandardNormal(1), likelihood=INNER_DECODER, posterior=INNER_ENCODER
    )
    return LatentVariableModel(prior=prior, likelihood=DECODER, posterior=ENCODER)


def _push(mean, covariance, part):
    matrix, scale = np.asarray(part.matrix[...], float), np.asarray(part.scale[...], float)
    mean = matrix @ mean + np.asarray(part.offset[...], float)
    return mean, matrix @ covariance @ matrix.T + np.diag(scale**2)


def exact_log_prob(num_layers, x=X):
    """log p(x) of `one_layer` or `two_layers`."""
    if num_layers == 1:
        mean, covariance = np.zeros(2), np.eye(2)
    else:
        mean, covariance = _push(np.zeros(1), np.eye(1), INNER_DECODER)
    final: tuple[Any, Any] = _push(mean, covariance, DECODER)
    return stats.multivariate_normal.logpdf(x, *final)
