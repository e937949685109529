from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import objectives
from genmix.families import (
    Implicit,
    LatentVariableModel,
    Normal,
    StandardNormal,
)
from genmix.nets import MLP
from genmix.training import Player, start


def generator():
    return Implicit(StandardNormal(2), MLP(2, (4,), 3, rngs=nnx.Rngs(0)))


def test_draws_are_the_network_of_the_base():
    part, z = generator(), StandardNormal(2).sample(jax.random.key(0))
    np.testing.assert_allclose(part.sample(jax.random.key(0)), part.network(z), rtol=1e-6)


def test_the_network_is_given_the_condition():
    part = Implicit(StandardNormal(2), lambda pair: pair[0] + pair[1])
    shift = jnp.array([5.0, -3.0])
    z = StandardNormal(2).sample(jax.random.key(0))
    np.testing.assert_allclose(part.sample(jax.random.key(0), shift), z + shift)


def test_maximum_likelihood_is_refused_with_a_remedy():
    player = Player(loss=objectives.elbo(), optimizer=optax.sgd(0.1))
    remedy = "Use an adversarial term, or give it an invertible network"
    with pytest.raises(TypeError, match=rf"Implicit cannot be the model .* {remedy}"):
        start(jax.random.key(0), generator(), [player])
    posterior, no_density = Normal(MLP(3, (4,), 2, rngs=nnx.Rngs(0))), cast(Any, generator())
    with pytest.raises(TypeError, match="Implicit cannot be the likelihood: it has no density"):
        LatentVariableModel(prior=StandardNormal(2), likelihood=no_density, posterior=posterior)
    with pytest.raises(TypeError, match=r"Implicit cannot be the posterior: .* needs q"):
        LatentVariableModel(prior=StandardNormal(2), likelihood=posterior, posterior=no_density)


def test_a_base_that_does_not_sample_is_refused():
    with pytest.raises(TypeError, match="object cannot be the base of Implicit: it has no sample"):
        Implicit(object(), lambda z: z)
