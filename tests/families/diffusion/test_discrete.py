"""Diffusion of levels against enumeration, and against data whose reversal is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.families.diffusion.discrete import DiscreteDiffusion

pytestmark = pytest.mark.usefixtures("x64")

RATES = np.array([0.9, 0.3, 0.55])


def independent_bits(num_steps, *, is_absorbing):
    """The exact p(x_0 | x_t) of independent bits, by Bayes' rule from their rates."""
    prior = jnp.stack([1 - jnp.asarray(RATES), jnp.asarray(RATES)], axis=-1)

    def network(x_t, time, cond):
        keep = 1 - time
        if is_absorbing:
            return jnp.log(prior)
        return jnp.log(prior) + jnp.log(keep * x_t + (1 - keep) / 2)

    return DiscreteDiffusion(
        network, shape=(3,), num_levels=2, num_steps=num_steps, is_absorbing=is_absorbing
    )


@pytest.mark.parametrize("is_absorbing", [False, True])
@pytest.mark.parametrize("num_steps", [3, 20])
def test_every_path_of_independent_bits_weighs_what_x_does(num_steps, is_absorbing):
    """The binomial kernel with the exact reversal, and the same with masks."""
    model = independent_bits(num_steps, is_absorbing=is_absorbing)
    keys = jax.random.split(jax.random.key(0), 8)
    for x in (np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1])):
        weights = jax.jit(jax.vmap(model.log_weight, (0, None)))(keys, jnp.asarray(x))
        np.testing.assert_allclose(weights, stats.bernoulli.logpmf(x, RATES).sum(), rtol=1e-9)


def some_network(num_levels):
    """Depends on all of x_t, the time and nothing else."""

    def network(x_t, time, cond):
        mix = jnp.sin(jnp.arange(x_t.size * 2 * num_levels).reshape(-1, x_t.size) * 1.7)
        return (mix @ x_t.reshape(-1) + jnp.cos(3 * time)).reshape(2, num_levels)

    return network


def some_model(is_absorbing, num_steps=3):
    return DiscreteDiffusion(
        some_network(3), shape=(2,), num_levels=3, num_steps=num_steps, is_absorbing=is_absorbing
    )


EVENTS = np.array(list(itertools.product(range(3), repeat=2)))


@pytest.mark.parametrize("is_absorbing", [False, True])
def test_weights_are_those_of_what_is_drawn(is_absorbing):
    """Mean weights add up to one (5 standard errors); draws follow them (chi-square at 1e-4)."""
    model = some_model(is_absorbing)
    keys = jax.random.split(jax.random.key(0), 20_000)
    weigh = jax.jit(jax.vmap(jax.vmap(model.log_weight, (0, None)), (None, 0)))
    weights = np.exp(np.asarray(weigh(keys, jnp.asarray(EVENTS))))
    probabilities = weights.mean(1)
    error = np.sqrt(np.sum(weights.var(1)) / len(keys))
    assert error < 0.02
    assert abs(probabilities.sum() - 1) < 5 * error
    draws = jax.jit(jax.vmap(model.sample))(jax.random.split(jax.random.key(1), 4000))
    counts = np.bincount(np.asarray(draws, int) @ [3, 1], minlength=9)
    expected = probabilities / probabilities.sum() * len(draws)
    assert stats.chisquare(counts, expected).pvalue > 1e-4


@pytest.mark.parametrize("is_absorbing", [False, True])
def test_the_bound_of_one_step_is_that_of_the_path(is_absorbing):
    """Two estimates of E log_weight, within 5 standard errors: the false alarm is 6e-7."""
    model, x = some_model(is_absorbing), jnp.asarray(EVENTS[5])
    keys = jax.random.split(jax.random.key(0), (2, 20_000))
    paths = np.asarray(jax.jit(jax.vmap(lambda key: model.log_weight(key, x)))(keys[0]))
    steps = np.asarray(jax.jit(jax.vmap(lambda key: model.log_bound(key, x)))(keys[1]))
    error = np.sqrt((paths.var() + steps.var()) / len(paths))
    assert error < 0.05
    assert abs(paths.mean() - steps.mean()) < 5 * error


def test_what_is_known_stays():
    model = some_model(True, num_steps=5)
    known = jnp.array([-1, 2])
    draw = jax.jit(jax.vmap(lambda key: model.path(key, known=known)))
    paths = draw(jax.random.split(jax.random.key(0), 200))
    assert paths.shape == (200, 6, 2)
    np.testing.assert_array_equal(paths[:, :, 1], 2.0)
    np.testing.assert_array_equal(paths[:, -1, 0], 3.0)
    assert set(np.unique(paths[:, 0, 0])) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize("is_absorbing", [False, True])
def test_gradients_are_finite_and_what_is_no_event_weighs_nothing(is_absorbing):
    def bound(shift):
        network = lambda x, t, c: some_network(3)(x, t, c) + shift
        model = DiscreteDiffusion(
            network, shape=(2,), num_levels=3, num_steps=4, is_absorbing=is_absorbing
        )
        return model.log_bound(jax.random.key(0), jnp.asarray(EVENTS[4]))

    assert jnp.isfinite(jax.grad(bound)(0.1))
    model = some_model(is_absorbing)
    for value in (-1.0, 3.0, 0.5):
        x = jnp.array([value, 0.0])
        assert model.log_weight(jax.random.key(0), x) == -jnp.inf
        assert model.log_bound(jax.random.key(1), x) == -jnp.inf
    t = jnp.array(1.2)
    assert jnp.isnan(model.log_bound_at(jax.random.key(0), t, jnp.zeros(2)))


def test_bad_arguments_are_refused():
    make = lambda **options: DiscreteDiffusion(
        some_network(3), **({"shape": (2,), "num_levels": 3, "num_steps": 2} | options)
    )
    with pytest.raises(ValueError, match="got 0 and 3"):
        make(num_steps=0)
    with pytest.raises(ValueError, match="got 2 and 1"):
        make(num_levels=1)
    with pytest.raises(ValueError, match="2 probabilities that fall from below 1 to at least 0"):
        make(keep=[0.5, 0.6])
    with pytest.raises(ValueError, match="fall from below 1 to 0, for all is masked"):
        make(keep=[0.5, 0.1], is_absorbing=True)
    with pytest.raises(ValueError, match=r"one event of shape \(2,\), got \(3,\)"):
        make().log_weight(jax.random.key(0), jnp.zeros(3))
    with pytest.raises(ValueError, match="known only where noise is a mask"):
        make().sample(jax.random.key(0), known=jnp.zeros(2))
    with pytest.raises(ValueError, match=r"known must have the event's shape \(2,\), got \(1,\)"):
        make(is_absorbing=True).sample(jax.random.key(0), known=jnp.zeros(1))
    with pytest.raises(ValueError, match=r"logits of shape \(2, 4\), got \(2, 3\)"):
        make(num_levels=4).sample(jax.random.key(0))
