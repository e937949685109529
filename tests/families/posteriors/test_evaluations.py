"""Every evaluation works with every posterior, or says why not."""

from typing import Any

import jax
import numpy as np
import pytest

from genmix import evaluation
from genmix.evaluation import Annealing
from genmix.families import Annealed, Auxiliary, Hamiltonian, LatentVariableModel, Resampled
from genmix.mcmc import bridge, random_walk
from tests import linear_gaussian
from tests.families.posteriors import targets

X = np.asarray(linear_gaussian.X + np.array([[-1.0], [0.0], [1.0]]), np.float32)


@pytest.mark.parametrize("name", ["hamiltonian", "resampled", "rejecting", "annealed"])
def test_bounds_and_latents(name):
    model = targets.model(targets.CONTINUOUS[name]())
    bound = evaluation.elbo(jax.random.key(0), model, X, num_samples=200)
    nll = evaluation.log_likelihood(jax.random.key(1), model, X, num_particles=200)
    exact = [linear_gaussian.exact_log_prob(1, x) for x in X]
    np.testing.assert_allclose(nll.log_px, exact, atol=0.5)
    assert bound.elbo < np.mean(exact) + 0.3
    (active,) = evaluation.active_units(jax.random.key(2), model, X, num_samples=10)
    assert active.shape == (2,)
    assert model.decode(np.zeros(2, np.float32)).shape == (3,)
    with pytest.raises(TypeError, match="has no log_prob, so its density cannot be taken apart"):
        evaluation.decomposition(jax.random.key(3), model, X)
    with pytest.raises(TypeError, match="has no closed form here: use the sampled rate"):
        model.closed_rate(X[0])
    with pytest.raises(TypeError, match=r"does not know the density .* anneal from the prior"):
        evaluation.sandwich(jax.random.key(4), model, X, num_particles=2)


def test_a_sandwich_from_the_prior():
    annealing = Annealing(num_temperatures=5, num_leapfrog=2, num_chains=1, start="prior")
    model = targets.model(targets.CONTINUOUS["resampled"]())
    got = evaluation.sandwich(jax.random.key(0), model, X, num_particles=2, annealing=annealing)
    assert np.all(np.isfinite(got.ais.values))


def test_what_has_no_latents_is_refused():
    with pytest.raises(TypeError, match="StandardNormal is no LatentVariableModel, TopDown"):
        evaluation.activities(jax.random.key(0), linear_gaussian.one_layer().prior, X)


def test_refusals_at_construction():
    network: Any = targets.Net()
    plain: Any = targets.plain()
    resampled: Any = Resampled(plain, 2)
    with pytest.raises(TypeError, match="Net cannot be the posterior: it has neither"):
        Resampled(network, 2)
    with pytest.raises(ValueError, match="num_draws must be at least 1, got 0"):
        Resampled(plain, 0)
    kernel = lambda logdensity, beta: random_walk.build(logdensity, 1.0)
    with pytest.raises(TypeError, match=r"Resampled cannot be annealed from: .* Wrap Annealed"):
        Annealed(resampled, kernel, bridge.linear(2))
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        Annealed(plain, kernel, bridge.linear(2), num_steps=0)
    with pytest.raises(ValueError, match="must rise strictly from 0 to 1"):
        Annealed(plain, kernel, [0.0, 0.5])
    model = targets.auxiliary().model
    model.prior = resampled
    with pytest.raises(TypeError, match=r"Resampled cannot be the prior of a posterior: .* Wrap"):
        Auxiliary(model)
    model = targets.auxiliary().model
    model.posterior = targets.Hamiltonian(plain, targets.Reverse())
    with pytest.raises(TypeError, match="Hamiltonian cannot be the reverse model of Auxiliary"):
        Auxiliary(model)
    two = linear_gaussian.two_layers()
    nested = Resampled(Hamiltonian(two.posterior, targets.Reverse()), 2)
    with pytest.raises(TypeError, match=r"LatentVariableModel cannot be the prior .* Resampled"):
        LatentVariableModel(prior=two.prior, likelihood=two.likelihood, posterior=nested)
