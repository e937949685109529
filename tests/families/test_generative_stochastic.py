"""Chains of four bits, whose transition matrices and stationary distributions are exact."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from genmix import evaluation
from genmix.families import StandardNormal
from genmix.families.energy.generative_stochastic import GenerativeStochastic
from genmix.families.energy.salt_and_pepper import SaltAndPepper
from genmix.mcmc import finite_chain, kernel
from genmix.nets import MLP
from genmix.objectives import walkback
from genmix.training import Player, compile_rounds, start

BITS = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=4)))
DATA = np.random.default_rng(0).dirichlet(np.full(16, 0.5))


class Table(nnx.Module):
    """p(x | h): a row of logits over all sixteen x for each of the sixteen h."""

    def __init__(self, logits):
        self.logits = nnx.Param(jnp.asarray(logits))

    def log_prob(self, x, cond):
        return jax.nn.log_softmax(self.logits[number(cond)])[number(x)]

    def sample(self, key, cond):
        return BITS[jax.random.categorical(key, self.logits[number(cond)])]


def number(x):
    return jnp.sum(x * 2.0 ** jnp.arange(4)[::-1]).astype(int)


def conditionals(model):
    """C[x, h] and p[h, x], as matrices."""
    bits = BITS.astype(float)  # double precision in a test of that
    pairs = lambda f: jax.vmap(lambda a: jax.vmap(lambda b: f(a, b))(bits))(bits)
    corruption = pairs(lambda x, h: model.corruption.log_prob(h, x))
    reconstruction = pairs(lambda h, x: model.reconstruction.log_prob(x, h))
    return np.exp(np.asarray(corruption, float)), np.exp(np.asarray(reconstruction, float))


def posterior(rate):
    """log p(x | h), rows h, of x ~ DATA and h ~ SaltAndPepper(rate)."""
    bits = np.asarray(BITS, float)
    distance = np.abs(bits[:, None] - bits[None]).sum(2)
    corruption = (rate / 2) ** distance * (1 - rate / 2) ** (4 - distance)
    joint = DATA[:, None] * corruption
    return np.log(joint / joint.sum(0)).T


def total_variation(p, q):
    return 0.5 * np.sum(np.abs(p - q))


@pytest.mark.usefixtures("x64")
def test_the_exact_posterior_has_the_data_as_stationary_distribution():
    corruption, reconstruction = conditionals(
        GenerativeStochastic(SaltAndPepper(0.4), Table(posterior(0.4)))
    )
    np.testing.assert_allclose(corruption.sum(1), 1, rtol=1e-12)
    chain = corruption @ reconstruction
    np.testing.assert_allclose(finite_chain.stationary(chain), DATA, rtol=1e-10)
    assert finite_chain.detailed_balance_error(chain, DATA) < 1e-12
    # the posterior of another corruption would not do
    other = corruption @ np.exp(posterior(0.1))
    assert total_variation(finite_chain.stationary(other), DATA) > 0.05


def test_the_chain_is_the_product_of_the_two():
    """Chi-squared of 20,000 steps from one state, 15 degrees or fewer: false alarm 1e-4."""
    model = GenerativeStochastic(SaltAndPepper(0.4), Table(posterior(0.7)))
    corruption, reconstruction = conditionals(model)
    x = jnp.tile(BITS[5], (20_000, 1))
    keys = jax.random.split(jax.random.key(0), 20_000)
    move = lambda key, x: kernel.run(key, model.chain_kernel(), x, 1).position
    moved = jax.jit(jax.vmap(move))(keys, x)
    observed = np.bincount(np.asarray(jax.vmap(number)(moved)), minlength=16)
    expected = 20_000 * (corruption @ reconstruction)[5]
    statistic = np.sum((observed - expected) ** 2 / expected)
    assert statistic < stats.chi2.isf(1e-4, 15)


def trained(num_steps, reconstruction):
    model = GenerativeStochastic(SaltAndPepper(0.4), reconstruction)
    rng = np.random.default_rng(1)
    x = BITS[jnp.asarray(rng.choice(16, size=20_000, p=DATA))]
    rate = optax.cosine_decay_schedule(0.05, 1500)
    player = Player(loss=walkback(num_steps), optimizer=optax.adam(rate))
    program = compile_rounds([player], batch_size=256, num_rounds=1500)
    state, metrics = program(start(jax.random.key(2), model, [player]), x)
    corruption, reconstruction = conditionals(state.model)
    return finite_chain.stationary(corruption @ reconstruction), metrics


@pytest.mark.parametrize("num_steps", [1, 3])
def test_training_leads_the_chain_to_the_data(num_steps):
    """The stationary distribution within a total variation of 0.05, untrained 0.3."""
    assert total_variation(np.full(16, 1 / 16), DATA) > 0.3
    stationary, metrics = trained(num_steps, Table(jnp.zeros((16, 16))))
    assert total_variation(stationary, DATA) < 0.05
    assert set(metrics) == {"loss", "reconstruction"}


def test_the_conservative_likelihood_is_that_of_the_mixture():
    reconstruction = Table(posterior(0.4))
    states = BITS[jnp.array([3, 5, 5, 12])]
    got = evaluation.conservative_log_likelihood(reconstruction, states, BITS, rows_per_chunk=12)
    mixture = np.mean(np.exp(posterior(0.4))[[3, 5, 5, 12]], axis=0)
    np.testing.assert_allclose(got, np.log(mixture), rtol=1e-5)
    with pytest.raises(ValueError, match="rows_per_chunk must be at least 1, got 0"):
        evaluation.conservative_log_likelihood(reconstruction, states, BITS, rows_per_chunk=0)
    with pytest.raises(ValueError, match="the number of states must be at least 1, got 0"):
        evaluation.conservative_log_likelihood(reconstruction, states[:0], BITS)


def test_refusals():
    table = Table(jnp.zeros((16, 16)))
    with pytest.raises(TypeError, match="MLP cannot be the corruption: it has no sample"):
        GenerativeStochastic(MLP(2, (3,), 1, rngs=nnx.Rngs(0)), table)
    with pytest.raises(TypeError, match="MLP cannot be the reconstruction: it has no density"):
        GenerativeStochastic(SaltAndPepper(0.1), MLP(2, (3,), 1, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"rate must be above 0 and at most 1, got 1\.5"):
        SaltAndPepper(1.5)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        walkback(0)
    with pytest.raises(TypeError, match="walkback trains a GenerativeStochastic, got StandardN"):
        walkback(1).init(StandardNormal(2))
