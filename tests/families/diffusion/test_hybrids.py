"""Diffusions inside other models: as a prior, a likelihood, and what levels are dequantized for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.families import (
    Denoiser,
    Dequantized,
    Diffusion,
    DiffusionChain,
    LatentVariableModel,
    ProbabilityFlow,
    StandardNormal,
    log_weight,
)
from genmix.families.diffusion import variances
from genmix.families.diffusion.schedules import Linear
from genmix.nets import TimeMLP
from tests import linear_gaussian
from tests.families.diffusion import normal_data


def test_a_diffusion_as_prior_weighs_what_the_prior_does():
    """The chain of N(0, I) data is exact along every path, so it may stand for N(0, I)."""
    with jax.enable_x64(True):
        chain = DiffusionChain(normal_data.diffusion(1.0, shape=(2,)), 4, variances.beta)
        x, weights = jnp.asarray(linear_gaussian.X), []
        for prior in (chain, StandardNormal(2)):
            model = LatentVariableModel(
                prior=prior, likelihood=linear_gaussian.DECODER, posterior=linear_gaussian.ENCODER
            )
            weights.append(model.log_weight(jax.random.key(0), x))
        np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)


def diffusion(cond_size=0):
    network = TimeMLP((3,), 8, 1, cond_size=cond_size, rngs=nnx.Rngs(0))
    return Diffusion(Denoiser(network), shape=(3,), schedule=Linear(-6.0, 5.0))


def test_a_diffusion_as_likelihood_given_z():
    model = LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=DiffusionChain(diffusion(cond_size=2), 4),
        posterior=linear_gaussian.ENCODER,
    )
    x = jnp.asarray(linear_gaussian.X, jnp.float32)
    value, gradient = jax.jit(
        jax.value_and_grad(lambda model: model.log_weight(jax.random.key(0), x))
    )(model)
    assert jnp.isfinite(value)
    out = gradient.likelihood.diffusion.denoiser.network.out.kernel[...]
    assert jnp.any(out != 0)
    assert jnp.all(jnp.isfinite(out))
    assert jax.jit(model.sample)(jax.random.key(1)).shape == (3,)


def test_levels_are_dequantized_for_the_flow_of_a_diffusion():
    model = Dequantized(ProbabilityFlow(diffusion(), 4), num_levels=4)
    weigh = jax.jit(lambda key, x: log_weight(model, key, x))
    assert jnp.isfinite(weigh(jax.random.key(0), jnp.array([0.0, 3.0, 1.0])))


def test_a_bound_alone_is_no_weight():
    with pytest.raises(TypeError, match="Diffusion"):
        log_weight(diffusion(), jax.random.key(0), jnp.zeros(3))
