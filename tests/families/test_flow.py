"""Flows as parts: densities, posteriors, and the errors where they can be neither."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from genmix import bijectors as bij
from genmix import capabilities
from genmix.densities import normal
from genmix.families import GaussianMixture, LatentVariableModel, Normal, StandardNormal
from genmix.families.flow import Flow, FlowDensity, FlowPosterior, SampledFlow, transformed
from genmix.nets import MLP
from genmix.nets.made import MADE
from genmix.training import Plan, Player, Run, fit
from tests.bijectors.table import perturbed

RADIAL = perturbed(bij.Radial(3, rngs=nnx.Rngs(0)), 1.0)
PLANAR = bij.Planar(3, rngs=nnx.Rngs(0))
NORMAL = StandardNormal(3)
MIXTURE = GaussianMixture(2, 3, rngs=nnx.Rngs(0))


class OnlyDraws:
    """A base without a density."""

    def sample(self, key, cond=None):
        return jax.random.normal(key, (3,))


METHODS = {
    "log_prob": capabilities.ExactDensity,
    "sample": capabilities.Samples,
    "sample_and_log_prob": capabilities.Reparameterized,
}


@pytest.mark.parametrize(
    ("base", "bijector", "kind", "methods"),
    [
        (NORMAL, RADIAL, Flow, {"log_prob", "sample", "sample_and_log_prob"}),
        (NORMAL, PLANAR, FlowPosterior, {"sample", "sample_and_log_prob"}),
        (NORMAL, bij.inverse(PLANAR), FlowDensity, {"log_prob"}),
        (MIXTURE, RADIAL, SampledFlow, {"log_prob", "sample"}),
        (MIXTURE, bij.inverse(PLANAR), FlowDensity, {"log_prob"}),
    ],
)
def test_a_flow_has_the_methods_that_its_base_and_bijector_allow(base, bijector, kind, methods):
    flow = transformed(base, bijector)
    assert type(flow) is kind
    for method, capability in METHODS.items():
        assert hasattr(flow, method) == (method in methods)
        assert isinstance(flow, capability) == (method in methods)


def test_impossible_flows_are_refused_with_a_remedy():
    with pytest.raises(TypeError, match=r"Planar has no closed inverse .* posterior .*FlowPost"):
        Flow(NORMAL, PLANAR)
    with pytest.raises(TypeError, match=r"Planar has no closed inverse"):
        FlowDensity(NORMAL, bij.chain([PLANAR]).bijector.parts[0])
    with pytest.raises(TypeError, match=r"Inverse has no forward_and_log_det: .*turn it around"):
        FlowPosterior(NORMAL, bij.inverse(PLANAR))
    with pytest.raises(TypeError, match=r"SampledFlow maps data .* Planar has no closed inverse"):
        SampledFlow(NORMAL, PLANAR)
    with pytest.raises(TypeError, match=r"base with sample_and_log_prob, which GaussianMixture"):
        Flow(MIXTURE, RADIAL)
    with pytest.raises(TypeError, match=r"OnlyDraws and Radial make no flow: a density needs"):
        transformed(OnlyDraws(), RADIAL)
    with pytest.raises(TypeError, match=r"GaussianMixture and Planar make no flow"):
        transformed(MIXTURE, PLANAR)


def test_log_prob_is_that_of_what_was_drawn(x64):
    flow = transformed(NORMAL, RADIAL)
    x, log_prob = jax.jit(flow.sample_and_log_prob)(jax.random.key(0))
    np.testing.assert_allclose(flow.log_prob(x), log_prob, rtol=1e-6)
    np.testing.assert_allclose(flow.sample(jax.random.key(0)), x, rtol=1e-6)


def test_an_affine_flow_is_a_normal_distribution(x64):
    affine = bij.TriangularAffine(3)
    affine.loc[...] = jnp.array([1.0, -2.0, 0.5])
    affine.raw[...] = jnp.array([[0.3, 0, 0], [1.0, -0.5, 0], [-0.2, 0.7, 0.1]])
    tril = np.asarray(affine.scale_tril)
    covariance: Any = tril @ tril.T
    x = jnp.array([0.1, 0.2, -1.0])
    expected = stats.multivariate_normal.logpdf(x, affine.loc[...], covariance)
    np.testing.assert_allclose(transformed(NORMAL, affine).log_prob(x), expected, rtol=1e-6)


def test_off_the_support_the_density_is_zero_with_zero_gradient():
    flow = transformed(StandardNormal(2), bij.Sigmoid())
    value, gradient = jax.value_and_grad(flow.log_prob)(jnp.array([-0.1, 1.2]))
    assert value == -jnp.inf
    np.testing.assert_array_equal(gradient, 0)


def test_draws_from_a_mixture_base_have_the_flows_density():
    """Mean of 1 / density over a box of known volume; 5 standard errors, false alarm 6e-7."""
    flow = transformed(
        GaussianMixture(2, 1, rngs=nnx.Rngs(0)), perturbed(bij.Radial(1, rngs=nnx.Rngs(1)), 1.0)
    )
    x = jax.jit(jax.vmap(flow.sample))(jax.random.split(jax.random.key(0), 20_000))
    inside = jnp.abs(x[:, 0]) < 1
    weight = jnp.where(inside, jnp.exp(-jax.jit(jax.vmap(flow.log_prob))(x)), 0)
    assert abs(weight.mean() - 2.0) < 5 * weight.std() / np.sqrt(len(x))


def full_precision_target(dim):
    """Posterior precision of a linear-Gaussian model, and the gap that a diagonal q leaves."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(dim, dim))
    precision = np.eye(dim) + 2 * weights.T @ weights
    gap = 0.5 * (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1])
    return precision, rng.normal(size=dim), gap


LINEAR_FLOWS = {
    "diagonal": lambda dim: bij.Affine(dim),
    "linear iaf": lambda dim: bij.chain(
        [
            bij.Affine(dim),
            bij.inverse_autoregressive(MADE(dim, (), rngs=nnx.Rngs(0)), bij.Shift()),
        ]
    ),
    "householder": lambda dim: bij.chain(
        [bij.Affine(dim), bij.Householder(dim, dim - 1, rngs=nnx.Rngs(0))]
    ),
}


@pytest.mark.parametrize("name", LINEAR_FLOWS)
def test_linear_flows_close_the_gap_of_a_diagonal_posterior(x64, name):
    """KL(q || p(z | x)) by training; points at +-sqrt(dim) integrate quadratics exactly."""
    dim = 4
    precision, mean, gap = full_precision_target(dim)
    points = np.sqrt(dim) * np.concatenate([np.eye(dim), -np.eye(dim)])
    base_entropy = 0.5 * dim * (1 + np.log(2 * np.pi))
    log_normalizer = 0.5 * (dim * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1])
    bijector = LINEAR_FLOWS[name](dim)

    def kl(bijector):
        z, log_det = jax.vmap(bijector.forward_and_log_det)(points)
        energy = jax.vmap(lambda z: 0.5 * (z - mean) @ precision @ (z - mean))(z)
        return -base_entropy - jnp.mean(log_det) + jnp.mean(energy) + log_normalizer

    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 3000))

    def step(carry, _):
        bijector, state = carry
        updates, state = optimizer.update(jax.grad(kl)(bijector), state)
        return (optax.apply_updates(bijector, updates), state), None

    @jax.jit
    def train(bijector):
        start = (bijector, optimizer.init(bijector))
        return kl(jax.lax.scan(step, start, length=3000)[0][0])

    expected = gap if name == "diagonal" else 0.0
    np.testing.assert_allclose(train(bijector), expected, rtol=0, atol=1e-3)
    assert gap > 0.5


def amortized_planar(features):
    layers = bij.chain([bij.Planar(3, rngs=nnx.Rngs(i)) for i in range(2)])
    network = nnx.Linear(features, bij.num_parameters(layers), rngs=nnx.Rngs(0))
    return bij.amortized(layers, network)


def conditional_iaf(features):
    network = MADE(3, (4,), 2, cond_size=features, activation=jnp.tanh, rngs=nnx.Rngs(0))
    return bij.inverse_autoregressive(network, bij.Gate())


@pytest.mark.parametrize("make", [amortized_planar, conditional_iaf])
def test_a_flow_is_an_amortized_posterior(make):
    """Every parameter has a finite gradient that is not zero; the encoder runs once."""
    calls = []

    class Encoder(nnx.Module):
        def __init__(self):
            self.network = MLP(5, (6,), 4, rngs=nnx.Rngs(1))

        def __call__(self, x):
            calls.append(x)
            return jnp.tanh(self.network(x))

    base = Normal(MLP(4, (), 3, rngs=nnx.Rngs(2)))
    posterior = transformed(base, make(4), encoder=Encoder())
    likelihood = Normal(MLP(3, (6,), 5, rngs=nnx.Rngs(3)))
    model = LatentVariableModel(prior=NORMAL, likelihood=likelihood, posterior=posterior)
    x = jnp.linspace(-1.0, 1.0, 5)

    def bound(model, key):
        log_weights = jax.vmap(lambda key: model.log_weight(key, x))(jax.random.split(key, 4))
        return jnp.mean(log_weights)

    value, gradient = jax.jit(jax.value_and_grad(bound))(model, jax.random.key(0))
    assert len(calls) == 1
    assert jnp.isfinite(value)
    for leaf in jax.tree.leaves(nnx.state(gradient, nnx.Param)):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0)


def test_the_posterior_knows_the_density_of_what_it_draws(x64):
    base = Normal(MLP(4, (), 3, rngs=nnx.Rngs(2)))
    posterior = transformed(base, conditional_iaf(4))
    cond = jnp.array([0.3, -0.2, 1.0, 0.5])
    z, log_prob = jax.jit(posterior.sample_and_log_prob)(jax.random.key(1), cond)
    log_q, score = jax.jit(jax.value_and_grad(posterior.log_prob))(z, cond)
    np.testing.assert_allclose(log_q, log_prob, rtol=1e-6)
    drawn = base.sample(jax.random.key(1), cond)
    push = lambda drawn: posterior.bijector.forward_and_log_det(drawn, cond)[0]
    jacobian = jax.jit(jax.jacfwd(push))(drawn)
    log_q = base.log_prob(drawn, cond) - jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(log_prob, log_q, rtol=1e-6)
    # The score of what was drawn passes through the inverse found by sweeps.
    of_drawn = jax.jit(jax.grad(lambda d: base.log_prob(d, cond) - log_det(posterior, d, cond)))
    expected = jnp.linalg.solve(jacobian.T, of_drawn(drawn))
    np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-6)


def amortized_affine(features):
    return bij.amortized(bij.Affine(3), nnx.Linear(features, 6, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("make", [amortized_affine, conditional_iaf])
def test_a_draw_without_its_density_is_given_the_condition(make):
    """The same draw as with the density, which is as far from that under another condition."""
    base = Normal(MLP(4, (), 3, rngs=nnx.Rngs(2)))
    flow = transformed(base, perturbed(make(4), 1.0), encoder=jnp.sin)
    cond = jnp.array([0.3, -0.2, 1.0, 0.5])
    draw = jax.jit(lambda cond: flow.sample(jax.random.key(1), cond))
    both = jax.jit(lambda cond: flow.sample_and_log_prob(jax.random.key(1), cond)[0])
    np.testing.assert_allclose(draw(cond), both(cond), rtol=1e-6)
    assert jnp.all(jnp.abs(draw(cond) - draw(2 * cond)) > 1e-3)


def log_det(posterior, drawn, cond):
    return posterior.bijector.forward_and_log_det(drawn, cond)[1]


def test_an_autoregressive_prior_is_an_inverse_autoregressive_posterior():
    """ELBO(z) under a MAF prior is ELBO(eps) with the posterior passed back through it."""
    maf = bij.masked_autoregressive(
        MADE(3, (5,), 2, activation=jnp.tanh, rngs=nnx.Rngs(4)), bij.ShiftScale()
    )
    x = jnp.linspace(-1.0, 1.0, 5)
    encoder = Normal(MLP(5, (6,), 3, rngs=nnx.Rngs(5)))
    decoder = Normal(MLP(3, (6,), 5, rngs=nnx.Rngs(3)))

    class Through(nnx.Module):
        """p(x | eps) of a decoder that is given z = maf(eps)."""

        def log_prob(self, x, cond=None):
            return decoder.log_prob(x, maf.forward_and_log_det(cond)[0])

    prior = LatentVariableModel(
        prior=transformed(NORMAL, maf), likelihood=decoder, posterior=encoder
    )
    posterior = LatentVariableModel(
        prior=NORMAL, likelihood=Through(), posterior=transformed(encoder, bij.inverse(maf))
    )
    weigh = lambda model: jax.jit(model.log_weight)(jax.random.key(2), x)
    weights = [weigh(model) for model in (prior, posterior)]
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-5)


def test_what_was_initialized_from_data_survives_a_cut(tmp_path):
    """The resumed run is given a flow that was initialized from other data, and ignores it."""
    rng = np.random.default_rng(0)
    data = jnp.asarray(rng.normal([5.0, -3.0], [0.5, 4.0], (64, 2)), jnp.float32)
    layers = bij.chain([bij.TriangularAffine(2), bij.ActNorm(2)])
    start = lambda data: transformed(StandardNormal(2), bij.initialize(layers, data))
    likelihood = lambda flow, key, batch: jnp.mean(jax.vmap(flow.log_prob)(batch))
    loss = lambda flow, key, batch, carry: (-likelihood(flow, key, batch), ({}, carry))
    player = Player(loss=loss, optimizer=optax.adam(0.01))

    def train(flow, num_rounds, **run):
        plan = Plan(num_rounds=num_rounds, batch_size=8, rounds_per_call=5)
        return fit(jax.random.key(0), flow, [player], data, plan, Run(label=None, **run)).model

    whole = train(start(data), num_rounds=20)
    train(start(data), num_rounds=10, directory=tmp_path)
    resumed = train(start(100 * data), num_rounds=20, directory=tmp_path, resume=True)
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    actnorm = resumed.bijector.parts[1]
    np.testing.assert_allclose(actnorm.loc[...], data.mean(0), atol=0.5)
    assert jnp.all(actnorm.loc[...] != start(data).bijector.parts[1].loc[...])


def test_a_normal_base_is_seen_through_the_log_det():
    flow = transformed(NORMAL, bij.inverse(PLANAR))
    x = jnp.array([0.3, -0.2, 0.9])
    z, log_det = PLANAR.forward_and_log_det(x)
    np.testing.assert_allclose(
        flow.log_prob(x), jnp.sum(normal.log_prob(z, 0.0, 1.0)) + log_det, rtol=1e-6
    )
