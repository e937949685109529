"""Particle filters, against enumeration and models whose p(x) is known."""

import functools
import itertools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.bounds import iwae
from genmix.bounds.log_weight import particles
from genmix.capabilities import Sequential
from genmix.families import weigh
from genmix.families.sequence import criteria, particle_filter
from genmix.families.sequence.filtered import Filtered
from genmix.families.sequence.padded import Padded
from genmix.families.sequence.particle_filter import Scheme
from genmix.families.sequence.unrolled import Unrolled, generate
from genmix.mcmc import resampling
from tests.families.sequence import models

EMISSION = np.array([[0.9, 0.1], [0.25, 0.75]])
SEEN = np.array([1, 0, 1])
SCHEMES = [resampling.multinomial, resampling.stratified, resampling.systematic]


@pytest.fixture
def chain_x():
    return models.kalman().sample_path(jax.random.key(0), models.NUM_STEPS)[1]


def outcomes():
    """All 1,024 ways in which two particles can run three steps: hidden bits, and ancestors."""
    bits = np.array(list(itertools.product(range(2), repeat=10)))
    return bits[:, :6].reshape(-1, 3, 2), bits[:, 6:].reshape(-1, 2, 2)


def filtered_coins(emission, hidden, ancestors, ancestor_scores=False):
    """The filter with its draws prescribed, resampling at every step."""
    as_keys = lambda data: jax.random.wrap_key_data(
        jnp.stack([jnp.zeros_like(data), data], -1).astype(jnp.uint32)
    )
    # The ancestors of both particles are one number, in the data of the key.
    packed = jnp.append(ancestors @ jnp.array([2, 1]), 0)
    unpack = lambda key, log_weights: jnp.stack(
        [jax.random.key_data(key)[1] // 2, jax.random.key_data(key)[1] % 2]
    ).astype(jnp.int32)
    model = models.Coins(emission)
    start, inputs = model.start(jnp.asarray(SEEN))
    keys = lambda t: (as_keys(hidden)[t], as_keys(packed)[t])
    return particle_filter.run(
        model, start, inputs, jnp.ones(3, bool), keys, weigh.draw,
        Scheme(unpack, criteria.always), num_particles=2, ancestor_scores=ancestor_scores,
    ).log_evidence  # fmt: skip


def probability(emission, hidden, ancestors):
    """Of one outcome, by its definition; weights begin anew after every step."""
    prior, step = jnp.asarray(models.Coins.INITIAL), jnp.asarray(models.Coins.TRANSITION)
    p = jnp.prod(prior[hidden[0]])
    for t in range(1, 3):
        weights = emission[hidden[t - 1], SEEN[t - 1]]
        chosen = ancestors[t - 1]
        p *= jnp.prod((weights / weights.sum())[chosen])
        p *= jnp.prod(step[hidden[t - 1][chosen], hidden[t]])
    return p


def exact_coins(emission):
    forward = models.Coins.INITIAL * emission[:, SEEN[0]]
    for seen in SEEN[1:]:
        forward = (forward @ models.Coins.TRANSITION) * emission[:, seen]
    return forward.sum()


def test_mean_evidence_of_all_outcomes_is_the_likelihood(x64):
    hidden, ancestors = map(jnp.asarray, outcomes())
    run = jax.jit(jax.vmap(functools.partial(filtered_coins, jnp.asarray(EMISSION))))
    p = jax.vmap(functools.partial(probability, jnp.asarray(EMISSION)))(hidden, ancestors)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
    mean = jnp.sum(p * jnp.exp(run(hidden, ancestors)))
    np.testing.assert_allclose(mean, exact_coins(EMISSION), rtol=1e-12)


def test_with_scores_of_ancestors_the_gradient_is_unbiased_and_without_it_is_not(x64):
    hidden, ancestors = map(jnp.asarray, outcomes())
    over = lambda f: jax.vmap(f, (None, 0, 0))

    def mean_bound(emission):
        values = over(filtered_coins)(emission, hidden, ancestors)
        return jnp.sum(over(probability)(emission, hidden, ancestors) * values)

    @functools.partial(jax.jit, static_argnums=1)
    def mean_gradient(emission, scores):
        one = lambda e, h, a: jax.grad(filtered_coins)(e, h, a, scores)
        p = over(probability)(emission, hidden, ancestors)
        return jnp.einsum("o,oij->ij", p, over(one)(emission, hidden, ancestors))

    emission = jnp.asarray(EMISSION)
    expected = jax.jit(jax.grad(mean_bound))(emission)
    np.testing.assert_allclose(mean_gradient(emission, True), expected, rtol=1e-10)
    assert np.abs(mean_gradient(emission, False) - expected).max() > 1e-3


def look_ahead(z, inputs):
    """log p(x_t+1..x_T | z_t), its coefficients in the guide."""
    _, (_, ahead) = inputs
    return ahead.constant + ahead.shift @ z - 0.5 * z @ ahead.precision @ z


def chain_with_look_ahead():
    """The scalar chain with the smoothing proposal, and what lies ahead in its guides."""
    exact = models.kalman()
    chain = models.scalar_chain(exact_proposal=True)
    chain.encoder = lambda x: (exact.best_proposal(x), exact.ahead(x))

    class First:
        def sample_and_log_prob(self, key, cond=None):
            z, (proposal, _) = cast(Any, cond)
            return models.Guided().sample_and_log_prob(key, (z, proposal))

    chain.proposal = First()
    return chain


@pytest.mark.parametrize("resample", SCHEMES)
def test_exact_twist_and_smoothing_proposal_give_the_likelihood(x64, chain_x, resample):
    model = Filtered(
        chain_with_look_ahead(), 4, resample=resample, criterion=criteria.always,
        twist=look_ahead,
    )  # fmt: skip
    value = jax.jit(lambda x: model.log_weight(jax.random.key(1), x))(chain_x)
    np.testing.assert_allclose(value, models.kalman().log_prob(chain_x), rtol=1e-11)


def test_smoothing_proposal_is_exact_without_resampling_and_not_with_it(x64, chain_x):
    chain, exact = models.scalar_chain(exact_proposal=True), models.kalman().log_prob(chain_x)
    never = jax.jit(Filtered(chain, 4, criterion=criteria.never).paths)(
        jax.random.key(1), chain_x
    )  # fmt: skip
    np.testing.assert_allclose(never.log_evidence, exact, rtol=1e-11)
    np.testing.assert_allclose(never.log_weight, jnp.full(4, exact), rtol=1e-11)
    assert not never.resampled.any()
    always = jax.jit(Filtered(chain, 4, criterion=criteria.always).paths)(
        jax.random.key(1), chain_x
    )  # fmt: skip
    assert abs(always.log_evidence - exact) > 0.01
    np.testing.assert_array_equal(always.resampled, [True] * 5 + [False])


@pytest.mark.parametrize("resample", SCHEMES)
def test_bootstrap_filter_is_unbiased(chain_x, resample):
    """Mean of 20,000 estimates with 4 particles within 4 standard errors: false alarm 6e-5."""
    model = Filtered(models.scalar_chain(), 4, resample=resample)
    chain_x = jnp.asarray(chain_x, jnp.float32)
    run = jax.jit(jax.vmap(lambda key: model.log_weight(key, chain_x)))
    estimates = np.asarray(run(jax.random.split(jax.random.key(2), 20_000)), float)
    ratio = np.exp(estimates - float(models.kalman(jnp.float32).log_prob(chain_x)))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))
    assert ratio.std() > 0.1


MODELS = {
    "vrnn": models.variational_rnn,
    "srnn": models.stochastic_rnn,
    "deep-markov": models.deep_markov,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_one_particle_is_the_unrolled_model_and_many_never_resampled_are_iwae(x64, make):
    model, x = make(), models.keys()
    assert isinstance(model, Sequential)
    weigh_one = lambda key, draw: Unrolled(model).log_weight_terms(key, x, None, draw)

    @jax.jit
    def values():
        key = lambda: jax.random.key(5)
        both = [iwae.bound(particles(key(), weigh_one, weigh.draw, n).log_weight) for n in (1, 4)]
        never = [Filtered(model, n, criterion=criteria.never).log_weight(key(), x) for n in (1, 4)]
        one = Filtered(model, 1, criterion=criteria.always).log_weight(key(), x)
        return both, never, one

    both, never, one = values()
    np.testing.assert_allclose(both, never, rtol=1e-12)
    np.testing.assert_allclose(one, both[0], rtol=1e-12)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("kind", [Unrolled, lambda model: Filtered(model, 4)], ids=["one", "n"])
def test_padding_changes_no_bit_and_leaks_no_nan(make, kind):
    """What stands in padded steps changes no bit; products of other sizes may round otherwise."""
    model = kind(make())
    x = jnp.asarray(models.keys(), jnp.float32)

    @jax.jit
    def bound(model, x):
        return jax.jit(jax.value_and_grad(lambda m: m.log_weight(jax.random.key(6), x)))(model)

    def padded(with_value):
        more = jnp.full((5, models.KEYS), with_value)
        return bound(model, Padded(jnp.concatenate([x, more]), jnp.asarray(len(x))))

    value, gradient = bound(model, x)
    of_nan, of_zero = padded(jnp.nan), padded(0.0)
    for a, b in zip(*map(jax.tree.leaves, (of_nan, of_zero)), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(of_nan[0], value, rtol=1e-6)
    for a, b in zip(*map(jax.tree.leaves, (gradient, of_nan[1])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_filter_proposes_paths_that_are_properly_weighted(chain_x):
    """E exp(log p(x, z) - log q) z = p(x) E[z | x], in 20,000 draws, within 4.5 standard errors.

    Six means and one weight: false alarm 5e-5 in all.
    """
    chain_x = jnp.asarray(chain_x, jnp.float32)
    exact, chain = models.kalman(jnp.float32), models.scalar_chain()
    model = Filtered(chain, 4, criterion=criteria.always)

    def log_joint(z):
        before = jnp.concatenate([jnp.zeros((1, 1)), z[:-1]])
        later = jax.vmap(chain.transition.log_prob)(z, before)
        later = later.at[0].set(chain.initial.log_prob(z[0]))
        return jnp.sum(later + jax.vmap(chain.emission.log_prob)(chain_x, z))

    def one(key):
        z, log_q = model.propose(key, log_joint, chain_x)
        return z[:, 0], log_joint(z) - log_q

    z, log_weight = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), 20_000))
    ratio = np.exp(np.asarray(log_weight, float) - float(exact.log_prob(chain_x)))
    error = lambda a: a.std(axis=0) / np.sqrt(len(a))
    assert abs(ratio.mean() - 1) < 4.5 * error(ratio)
    products = ratio[:, None] * np.asarray(z, float)
    expected = np.asarray(exact.smooth(chain_x).mean)[:, 0]
    assert (np.abs(products.mean(axis=0) - expected) < 4.5 * error(products)).all()


def test_an_impossible_sequence_has_weight_zero_and_no_nan_gradient():
    hidden, ancestors = (jnp.asarray(a[5]) for a in outcomes())
    impossible = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    assert filtered_coins(impossible, hidden, ancestors) == -jnp.inf
    model = Filtered(models.variational_rnn(), 4, criterion=criteria.always)
    x = jnp.asarray(models.keys(), jnp.float32).at[2, 1].set(0.5)  # neither 0 nor 1
    value, gradient = jax.jit(
        jax.value_and_grad(lambda m: m.log_weight(jax.random.key(0), x))
    )(model)  # fmt: skip
    assert value == -jnp.inf
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(gradient))


@pytest.mark.parametrize("make", [*MODELS.values(), models.scalar_chain], ids=[*MODELS, "chain"])
def test_draws_have_the_shape_of_the_data(make):
    draw = lambda key: generate(make(), key, 4)
    x = jax.jit(draw)(jax.random.key(0))
    assert x.shape == ((4, 1) if make is models.scalar_chain else (4, models.KEYS))
    assert np.isfinite(x).all()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: Filtered(models.variational_rnn(), 0), ValueError, "num_particles must be"),
        (lambda: Filtered(object(), 2), TypeError, "object is no model of steps"),
        (lambda: Unrolled(object()), TypeError, "object is no model of steps"),
        (
            lambda: Filtered(
                models.variational_rnn(), 2, resample=resampling.systematic, ancestor_scores=True
            ),
            ValueError,
            "only resampling.multinomial draws",
        ),
        (lambda: generate(object(), jax.random.key(0), 2), TypeError, "cannot draw"),
        (
            lambda: generate(models.variational_rnn(), jax.random.key(0), 0),
            ValueError,
            "num_steps must be at least 1",
        ),
        (
            lambda: Unrolled(models.variational_rnn()).log_weight(
                jax.random.key(0), jnp.zeros((0, models.KEYS))
            ),
            ValueError,
            "at least one step",
        ),
    ],
)
def test_refusals_say_why(call, error, text):
    with pytest.raises(error, match=text):
        call()
