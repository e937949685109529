"""Tools that keep a rate: schedules, floors, committed rates, multipliers, each by its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats

from genmix import objectives
from genmix.densities.von_mises_fisher import VonMisesFisher
from genmix.families import (
    AutoregressiveNormal,
    Bernoulli,
    Conditional,
    LatentVariableModel,
    Normal,
    StandardNormal,
    Unconditional,
)
from genmix.nets import MLP
from genmix.objectives import Multiplier, Rate, Term, constrained, cyclical
from genmix.training import Game, Player, compile_rounds, start

BITS = jnp.asarray(np.random.default_rng(0).integers(0, 2, (12, 5)), jnp.float32)


def test_a_cyclical_warm_up_has_its_closed_form():
    beta = cyclical(100)
    times = jnp.array([0, 6, 12, 13, 24, 25, 99, 100, 500])
    expected = [0, 0.48, 0.96, 1, 1, 0, 1, 1, 1]
    np.testing.assert_allclose(jax.vmap(beta)(times), expected, atol=1e-6)
    once = jax.vmap(cyclical(100, cycles=1, rising=0.2))(jnp.array([0, 10, 20, 60]))
    np.testing.assert_allclose(once, [0, 0.5, 1, 1], atol=1e-6)


def vae() -> LatentVariableModel:
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=Bernoulli(MLP(2, (6,), 5, rngs=rngs)),
        posterior=Normal(MLP(5, (6,), 2, rngs=rngs)),
    )


def test_free_nats_of_each_example_are_a_floor_of_its_own():
    model = vae()
    rates = jax.vmap(model.closed_rate)(BITS)
    floor = float(jnp.median(rates))
    loss = lambda rate: objectives.elbo(rate=rate)(
        model, jax.random.key(0), BITS, jnp.zeros((), int)
    )
    each, (metrics, _) = loss(Rate(free_nats_each=floor, analytic=True))
    expected = jnp.sum(jnp.mean(jnp.maximum(rates, floor), axis=0)) - metrics["log_likelihood"]
    np.testing.assert_allclose(each, expected, rtol=1e-6)
    mean, _ = loss(Rate(free_nats=floor, analytic=True))
    assert mean < each
    # What is reported is the ELBO all the same.
    np.testing.assert_allclose(metrics["rate"], jnp.sum(jnp.mean(rates, axis=0)), rtol=1e-6)
    with pytest.raises(ValueError, match="free_nats_each must not be negative, got -1"):
        objectives.elbo(rate=Rate(free_nats_each=-1.0))


@pytest.mark.parametrize(("shape", "a"), [(7, 0.9), ((4, 2), -0.6), (1, 0.5)])
def test_the_prior_of_a_sequence_is_a_normal_density(x64, shape, a):
    prior = AutoregressiveNormal(shape, correlation=a)
    n, entries = prior.shape[0], int(np.prod(prior.shape[1:]))
    covariance = a ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    x = np.random.default_rng(1).normal(size=prior.shape)
    columns = x.reshape(n, entries).T
    exact = sum(stats.multivariate_normal.logpdf(c, cov=covariance) for c in columns)
    np.testing.assert_allclose(prior.log_prob(jnp.asarray(x)), exact, rtol=1e-10)


def test_draws_of_a_sequence_have_its_covariance():
    """Within 5 standard errors of at most sqrt(2 / n), 28 entries: false alarm 2e-5."""
    prior = AutoregressiveNormal(7, correlation=0.9)
    draws = jax.vmap(prior.sample)(jax.random.split(jax.random.key(0), 20_000))
    exact = 0.9 ** np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
    assert np.max(np.abs(np.cov(draws.T) - exact)) < 5 * np.sqrt(2 / 20_000)


def test_no_independent_posterior_has_less_than_the_committed_rate(x64):
    prior = AutoregressiveNormal(7, correlation=0.9)
    np.testing.assert_allclose(prior.committed_rate, 2.313683, atol=5e-7)
    a, n = 0.9, 7
    precision = jnp.linalg.inv(a ** jnp.abs(jnp.subtract.outer(jnp.arange(n), jnp.arange(n))))

    def kl(variance):
        trace = jnp.vdot(jnp.diag(precision), variance)
        return 0.5 * (trace - n - jnp.sum(jnp.log(variance)) - jnp.linalg.slogdet(precision)[1])

    ends = jnp.zeros(n).at[jnp.array([0, -1])].set(1.0) == 1
    best = jnp.where(ends, 1 - a**2, (1 - a**2) / (1 + a**2))
    np.testing.assert_allclose(kl(best), prior.committed_rate, rtol=1e-10)
    np.testing.assert_allclose(jax.grad(kl)(best), 0, atol=1e-10)
    assert AutoregressiveNormal((7, 3), correlation=0.9).committed_rate == pytest.approx(6.941049)
    assert AutoregressiveNormal(1, correlation=0.9).committed_rate == 0


@pytest.mark.parametrize(("dim", "kappa", "exact"), [(3, 5.0, 1.3031), (25, 80.0, 16.458)])
def test_a_von_mises_fisher_posterior_has_one_rate_whatever_it_is_given(dim, kappa, exact):
    posterior = Conditional(
        MLP(5, (6,), dim, rngs=nnx.Rngs(0)), VonMisesFisher(dim, concentration=kappa)
    )
    model = LatentVariableModel(
        prior=Unconditional(VonMisesFisher(dim, concentration=0.0)),
        likelihood=Bernoulli(MLP(dim, (6,), 5, rngs=nnx.Rngs(1))),
        posterior=posterior,
    )
    rates = jax.vmap(model.closed_rate)(BITS)
    np.testing.assert_allclose(jnp.sum(rates, axis=-1), exact, rtol=1e-4)
    slope = jax.grad(lambda m: m.log_weight(jax.random.key(0), BITS[0]))(model)
    assert any(jnp.any(a != 0) for a in jax.tree.leaves(slope.posterior))


class Number(nnx.Module):
    def __init__(self):
        self.w = nnx.Param(jnp.zeros(()))


def term(f, name: str) -> Term:
    def loss(model, key, batch, carry):
        value = f(model.w[...])
        return value, ({name: value}, carry)

    return Term(loss)


@pytest.mark.parametrize("is_one_player", [False, True])
def test_a_multiplier_finds_the_least_value_within_the_constraint(is_one_player):
    """w^2 with 1 - w <= 0: w = 1, and 2w = 2 is the multiplier."""
    loss = constrained(
        term(lambda w: w**2, "square").of("model"),
        term(lambda w: 1 - w, "lack").of("model"),
        at_most=0.0,
    )
    game = Game(model=Number(), multiplier=Multiplier(0.5))
    sgd = optax.sgd(0.05)
    team = [Player(name=name, loss=loss, optimizer=sgd) for name in ("model", "multiplier")]
    if is_one_player:
        team = [Player(name="both", loss=loss, optimizer=sgd, owns=("model", "multiplier"))]
    state = start(jax.random.key(0), game, team)
    state, metrics = compile_rounds(team, batch_size=1, num_rounds=1000)(state, BITS)
    np.testing.assert_allclose(state.model.model.w[...], 1, atol=1e-3)
    np.testing.assert_allclose(state.model.multiplier(), 2, atol=1e-2)
    np.testing.assert_allclose(metrics["gap" if is_one_player else "model/gap"][-1], 0, atol=1e-3)


def test_the_rate_or_the_distortion_may_be_the_constraint():
    game = Game(model=vae(), multiplier=Multiplier(2.0))
    rate, distortion = objectives.rate().of("model"), objectives.reconstruction().of("model")
    cost = lambda m: -m["log_likelihood"]
    for loss, least, gap in (
        (constrained(rate, distortion, at_most=1.0), lambda m: m["rate"], lambda m: cost(m) - 1),
        (constrained(distortion, -1.0 * rate, at_most=-0.5), cost, lambda m: 0.5 - m["rate"]),
    ):
        value, (metrics, _) = loss(game, jax.random.key(0), BITS, loss.init(game))
        np.testing.assert_allclose(metrics["gap"], gap(metrics), rtol=1e-5)
        assert metrics["multiplier"] == pytest.approx(2.0)
        np.testing.assert_allclose(value, least(metrics) + 2 * gap(metrics), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cyclical(3, cycles=4), "cycles must be between 1 and num_steps, 3, got 4"),
        (lambda: cyclical(10, rising=0.0), "rising must be above 0 and at most 1, got 0"),
        (lambda: Multiplier(0.0), "start must be positive, got 0"),
        (lambda: AutoregressiveNormal(0, correlation=0.5), r"needs steps, got shape \(0,\)"),
        (lambda: AutoregressiveNormal(3, correlation=1.0), "between -1 and 1, got 1"),
        (
            lambda: AutoregressiveNormal(3, correlation=0.5).log_prob(jnp.zeros(2)),
            r"one event of shape \(3,\), got \(2,\)",
        ),
        (
            lambda: constrained(objectives.rate(), objectives.rate(), at_most=0.0).init(vae()),
            "there is no part 'multiplier'",
        ),
    ],
)
def test_bad_input_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()
