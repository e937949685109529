import importlib

import jax
import numpy as np
import pytest

from genmix.evaluation import Annealing, sandwich, sandwich_of_simulated
from genmix.families import Dequantized, LatentVariableModel
from tests import linear_gaussian

module = importlib.import_module("genmix.evaluation.sandwich")  # not the function of that name


def exact(xs):
    return np.array([linear_gaussian.exact_log_prob(1, x) for x in xs])


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_the_exact_value_lies_between(start, monkeypatch):
    """Means over 200 events, bounds held to 4 standard errors: false alarm below 1e-4 each."""
    simulated = []
    simulate = module._simulate

    def remember(*args):
        simulated.append(simulate(*args))
        return simulated[0]

    monkeypatch.setattr(module, "_simulate", remember)
    annealing = Annealing(
        num_temperatures=60, step_size=0.3, num_leapfrog=4, num_chains=4, start=start
    )
    model = linear_gaussian.one_layer()
    got = sandwich_of_simulated(
        jax.random.key(0), model, 200, num_particles=50, annealing=annealing
    )
    truth = exact(np.asarray(simulated[0][1]))
    assert got.upper is not None
    for lower in (got.elbo, got.iwae, got.ais):
        gap = truth - lower.values
        assert np.mean(gap) > -4 * np.std(gap) / np.sqrt(200)
    gap = got.upper.values - truth
    assert np.mean(gap) > -4 * np.std(gap) / np.sqrt(200)
    assert got.elbo.mean < got.iwae.mean < got.ais.mean + 0.05
    width = got.upper.values - got.ais.values
    assert -4 * np.std(width) / np.sqrt(200) < np.mean(width) < 0.1
    assert got.elbo.mean < np.mean(truth) - 0.1  # the posterior is not exact: there is a gap


@pytest.mark.parametrize("start", ["posterior", "prior"])
def test_latents_of_all_layers_are_annealed_together(start):
    """Two layers: means over 100 events, bounds held to 4 standard errors."""
    annealing = Annealing(
        num_temperatures=100, step_size=0.3, num_leapfrog=3, num_chains=2, start=start
    )
    x = np.asarray(linear_gaussian.X + np.linspace(-1, 1, 100)[:, None], np.float32)
    got = sandwich(
        jax.random.key(0), linear_gaussian.two_layers(), x, num_particles=20, annealing=annealing
    )
    gap = np.array([linear_gaussian.exact_log_prob(2, one) for one in x]) - got.ais.values
    assert -4 * np.std(gap) / 10 < np.mean(gap) < 0.1
    assert got.elbo.mean < got.ais.mean
    both = sandwich_of_simulated(
        jax.random.key(1), linear_gaussian.two_layers(), 50, num_particles=5, annealing=annealing
    )
    assert both.upper is not None
    width = both.upper.values - both.ais.values
    assert -4 * np.std(width) / np.sqrt(50) < np.mean(width) < 0.2


def test_refusals():
    x = np.zeros((2, 3), np.float32)
    one = linear_gaussian.one_layer()
    estimated = Dequantized(linear_gaussian.DECODER)
    model = LatentVariableModel(prior=one.prior, likelihood=estimated, posterior=one.posterior)
    with pytest.raises(TypeError, match="Dequantized cannot be the likelihood of a model whose"):
        sandwich(jax.random.key(0), model, x)
    with pytest.raises(TypeError, match="Dequantized is no LatentVariableModel, so it has no z"):
        sandwich(jax.random.key(0), estimated, x)
    with pytest.raises(ValueError, match="num_events must be at least 1, got 0"):
        sandwich_of_simulated(jax.random.key(0), linear_gaussian.one_layer(), 0)
    with pytest.raises(ValueError, match="start must be 'posterior' or 'prior', got 'middle'"):
        Annealing(start="middle")
    with pytest.raises(ValueError, match=r"step_size must be positive, got 0"):
        Annealing(step_size=0.0)
    with pytest.raises(ValueError, match="num_chains must be at least 1, got 0"):
        Annealing(num_chains=0)


def test_a_posterior_without_a_density_is_named():
    class Draws:
        def __init__(self, posterior):
            self.posterior = posterior

        def sample_and_log_prob(self, key, cond=None):
            return self.posterior.sample_and_log_prob(key, cond)

    one = linear_gaussian.one_layer()
    model = LatentVariableModel(
        prior=one.prior, likelihood=one.likelihood, posterior=Draws(one.posterior)
    )
    with pytest.raises(TypeError, match=r"Draws does not know .* anneal from the prior"):
        sandwich(jax.random.key(0), model, np.zeros((2, 3), np.float32))
