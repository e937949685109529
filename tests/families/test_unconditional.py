"""Priors of any record, and the posteriors of the same kind that are learnt against them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import capabilities, objectives
from genmix.densities.bernoulli import Bernoulli
from genmix.densities.beta import Beta
from genmix.densities.dirichlet import Dirichlet
from genmix.densities.distribution import Distribution
from genmix.densities.gamma import Gamma
from genmix.densities.gumbel_softmax import GumbelSoftmax
from genmix.densities.normal import Normal
from genmix.densities.poisson import Poisson
from genmix.densities.relaxed_bernoulli import RelaxedBernoulli
from genmix.densities.von_mises_fisher import VonMisesFisher
from genmix.families import Conditional, LatentVariableModel, StandardNormal, Unconditional
from genmix.nets import MLP, state

X = jnp.array([3.0, 0.0, 1.0, 12.0])
PAIRS: dict[str, tuple[Distribution, Distribution, tuple[int, ...], bool]] = {
    # prior, posterior, the latent's shape, whether their KL is known
    "gamma": (Gamma(concentration=2.0, rate=1.5), Gamma(), (3,), True),
    "beta": (Beta(a=1.0, b=1.0), Beta(), (3,), True),
    "dirichlet": (Dirichlet(3, concentration=0.7), Dirichlet(3), (3,), True),
    "sphere": (VonMisesFisher(3, concentration=0.0), VonMisesFisher(3), (3,), True),
    "spheres": (VonMisesFisher(3, concentration=0.0), VonMisesFisher(3), (2, 3), True),
    "bits": (RelaxedBernoulli(temperature=0.5), RelaxedBernoulli(temperature=0.7), (3,), False),
    "classes": (GumbelSoftmax(3, 0.5), GumbelSoftmax(3, 0.7), (2, 3), False),
}


def model(name):
    prior, posterior, shape, _ = PAIRS[name]
    rngs = nnx.Rngs(0)
    entries = shape[: len(shape) - len(prior.entry_shape)]
    return LatentVariableModel(
        prior=Unconditional(prior, entries),
        likelihood=Conditional(MLP(shape, (4,), 4, rngs=rngs), Poisson()),
        posterior=Conditional(MLP(4, (4,), shape, rngs=rngs), posterior),
    )


# One sphere is slow to compile, and several of them are tested as well.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "sphere" else n for n in PAIRS]
)
def test_posteriors_of_every_kind_train_and_their_rate_is_that_of_draws(name):
    """5 standard errors: false alarm 6e-7 for each."""
    part, _, shape, closed = model(name), *PAIRS[name][1:]
    term = objectives.elbo()
    keys = jax.random.split(jax.random.key(0), 2000)

    @jax.jit
    def run(part):
        loss = lambda part: term(part, jax.random.key(1), X[None], term.init(part))[0]
        gradient = jax.grad(loss)(part)
        z, log_q = jax.vmap(lambda key: part.posterior.sample_and_log_prob(key, X))(keys)
        return gradient, z, log_q - jax.vmap(part.prior.log_prob)(z)

    gradient, z, rates = run(part)
    assert z.shape[1:] == shape == part.prior.sample(jax.random.key(2)).shape
    for leaf in jax.tree.leaves(nnx.state(gradient, nnx.Param)):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0)
    assert np.mean(rates) > 0
    if closed:
        error = np.std(rates) / np.sqrt(len(rates))
        assert abs(np.mean(rates) - jnp.sum(part.posterior.kl(part.prior, X))) < 5 * error
    else:
        with pytest.raises(TypeError, match="has no closed form"):
            part.posterior.kl(part.prior, X)


def test_a_standard_normal_and_fair_coins():
    z = jnp.array([0.3, -1.0])
    expected = StandardNormal(2).log_prob(z)
    np.testing.assert_allclose(Unconditional(Normal(scale=1.0), 2).log_prob(z), expected, rtol=1e-6)
    np.testing.assert_allclose(Unconditional(Bernoulli(), 2).log_prob(z > 0), -2 * np.log(2.0))
    assert Unconditional(Bernoulli()).sample(jax.random.key(0)).shape == ()


def test_numbers_are_parameters_if_they_are_to_be_trained():
    fixed, trained = (Unconditional(Normal(), (2, 2), trained=t) for t in (False, True))
    assert state.num_parameters(fixed) == 0
    assert state.num_parameters(trained) == 8
    assert isinstance(fixed, capabilities.Reparameterized)
    assert fixed.sample(jax.random.key(0)).shape == (2, 2)


def test_shapes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"shape must be positive, got \(0,\)"):
        Unconditional(Normal(), 0)
    with pytest.raises(ValueError, match=r"Dirichlet is of entries of shape \(3,\).* shape \(4,\)"):
        Conditional(MLP(2, (3,), 4, rngs=nnx.Rngs(0)), Dirichlet(3))
