from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.densities import normal
from genmix.families import Bernoulli, Hamiltonian, LatentVariableModel
from genmix.nets import MLP
from tests import linear_gaussian

X = jnp.asarray(linear_gaussian.X, jnp.float32)


class WideMomentum(nnx.Module):
    """A reverse model that knows little: N(z / 4, 1.2^2)."""

    def log_prob(self, x, cond: Any = None):
        z, data = cond
        assert z.shape == (2,)
        assert data.shape == (3,)
        return jnp.sum(normal.log_prob(x, z / 4, 1.2))


def refined(**options):
    one = linear_gaussian.one_layer()
    posterior = Hamiltonian(one.posterior, WideMomentum(), **options)
    return LatentVariableModel(prior=one.prior, likelihood=one.likelihood, posterior=posterior)


def log_joint(z):
    one = linear_gaussian.one_layer()
    return one.prior.log_prob(z, None) + one.likelihood.log_prob(X, z)


@pytest.mark.parametrize("iterations", [1, 2])
def test_the_weight_is_unbiased_for_any_reverse_model(iterations):
    """Mean of 40,000 weights within 5 standard errors: false alarm below 1e-6."""
    model = refined(num_leapfrog=3, num_iterations=iterations, step_size=0.3)
    weigh = jax.jit(jax.vmap(lambda key: model.log_weight(key, X)))
    log_weights = np.asarray(weigh(jax.random.split(jax.random.key(1), 40_000)), np.float64)
    exact = linear_gaussian.exact_log_prob(1)
    ratios = np.exp(log_weights - exact)
    error = ratios.std() / 200
    assert error < 0.02
    assert abs(ratios.mean() - 1) < 5 * error
    assert log_weights.mean() < exact


def test_leapfrog_preserves_volume_and_runs_backwards():
    moving = refined(num_leapfrog=4, step_size=0.3).posterior
    flat = lambda both: jnp.concatenate(moving.leapfrog(both[:2], both[2:], log_joint))
    start = jnp.array([0.3, -0.4, 0.8, 0.1])
    assert abs(jnp.linalg.slogdet(jax.jacfwd(flat)(start))[1]) < 1e-5
    end = flat(start)
    back = flat(end.at[2:].multiply(-1)).at[2:].multiply(-1)
    np.testing.assert_allclose(back, start, atol=1e-5)
    assert jnp.max(jnp.abs(end - start)) > 0.1


def test_leapfrog_keeps_the_energy_of_the_joint_density():
    moving = refined(num_leapfrog=40, step_size=0.03).posterior
    z, momentum = jnp.array([0.3, -0.4]), jnp.array([0.8, 0.1])
    end, end_momentum = moving.leapfrog(z, momentum, log_joint)
    risen = log_joint(end) - log_joint(z)
    spent = 0.5 * (jnp.sum(end_momentum**2) - jnp.sum(momentum**2))
    np.testing.assert_allclose(moving.step_size, 0.03, rtol=1e-5)
    assert abs(risen) > 0.3
    assert abs(risen - spent) < 0.01


def test_every_parameter_has_a_gradient():
    model = refined()
    gradient = jax.jit(jax.grad(lambda model: model.log_weight(jax.random.key(0), X)))(model)
    for leaf in jax.tree.leaves(gradient):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0)
    terms = model.log_weight_terms(jax.random.key(0), X)
    assert terms.rates.shape == (1,)
    assert model.encode(jax.random.key(0), X).shape == (2,)


def test_refusals():
    one = linear_gaussian.one_layer()
    network: Any = MLP(2, (3,), 2, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="MLP cannot be the reverse of Hamiltonian"):
        Hamiltonian(one.posterior, network)
    two = linear_gaussian.two_layers()
    with pytest.raises(TypeError, match=r"LatentVariableModel cannot be the prior .* Hamiltonian"):
        LatentVariableModel(
            prior=two.prior,
            likelihood=two.likelihood,
            posterior=Hamiltonian(two.posterior, WideMomentum()),
        )
    with pytest.raises(ValueError, match="num_leapfrog must be at least 1, got 0"):
        refined(num_leapfrog=0)
    with pytest.raises(ValueError, match=r"step_size must be positive, got 0.0"):
        refined(step_size=0.0)
    likelihood = Bernoulli(MLP(2, (3,), 3, rngs=nnx.Rngs(0)))
    posterior = Hamiltonian(one.posterior, WideMomentum())
    model = LatentVariableModel(prior=one.prior, likelihood=likelihood, posterior=posterior)
    assert model.decode(jnp.zeros(2)).shape == (3,)
