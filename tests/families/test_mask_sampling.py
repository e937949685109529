"""MADE under many masks: each is a density, their mixture is one, and a drawn one estimates it."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix import capabilities, objectives
from genmix.densities import bernoulli
from genmix.families import Autoregressive, Bernoulli
from genmix.families.autoregressive.mask_sampling import MaskMixture, MaskSampling
from genmix.nets import MADE, MLP, NADE, StepwiseMADE
from genmix.nets.state import map_variables

COND = jnp.array([0.7, -1.2])
EVENTS = jnp.array(list(itertools.product((0.0, 1.0), repeat=4))).reshape(-1, 2, 2)
NUM_MASKS = 3


def spread(module):
    """The module with parameters far from their start, where biases are zero."""
    noise = lambda path, v: v.replace(
        v[...] + jax.random.normal(jax.random.key(len(path)), v.shape, v.dtype)
    )
    return map_variables(noise, module)


def mixture(num_masks=NUM_MASKS, **options):
    sizes = {"hidden": (5, 6), "cond_size": 2, "direct": True, "activation": jnp.tanh, **options}
    made = MADE(4, rngs=nnx.Rngs(0), **sizes)
    density = Autoregressive(StepwiseMADE(spread(made)), bernoulli.Bernoulli(), shape=(2, 2))
    return MaskMixture(density, num_masks, seed=1)


@jax.jit
def log_probs(part):
    """Of every event, under each mask and under the mixture."""
    of = lambda density: jax.vmap(lambda x: density.log_prob(x, COND))(EVENTS)
    return jnp.stack([of(part.masked(i)) for i in range(part.num_masks)]), of(part)


@pytest.mark.parametrize("options", [{}, {"hidden": (), "direct": False}], ids=["deep", "linear"])
def test_each_mask_and_the_mixture_sum_to_one(options):
    by_mask, mixed = log_probs(mixture(**options))
    np.testing.assert_allclose(np.exp(by_mask).sum(1), np.ones(NUM_MASKS), rtol=1e-5)
    np.testing.assert_allclose(np.exp(mixed), np.exp(by_mask).mean(0), rtol=1e-5)
    assert np.all(np.std(by_mask, axis=0) > 1e-3)  # the masks differ


def test_each_mask_has_all_dependencies_of_its_order():
    part = mixture()

    @jax.jit
    def run(part, i):
        masked = part.masked(i)
        order, network = masked.order, masked.density.network
        back = jnp.argsort(order)
        outputs = lambda x: network(x[order][:, None], COND)[back, 0]
        return order, jax.jacobian(outputs)(jnp.linspace(-1.0, 1.2, 4))

    orders = []
    for i in range(NUM_MASKS):
        order, jacobian = run(part, i)
        position = np.argsort(order)
        np.testing.assert_array_equal(jacobian != 0, position[:, None] > position)
        orders.append(tuple(order.tolist()))
    assert len(set(orders)) == NUM_MASKS


def test_a_mask_is_a_choice_of_degrees():
    """The outputs are those of the weights where they are, masked by the degrees of the units."""
    made: Any = spread(MADE(4, (7, 6), 2, cond_size=2, direct=True, rngs=nnx.Rngs(0)))
    places = [np.random.default_rng(0).permutation(n) for n in (4, 7, 6)]
    degrees = made.degrees()
    inputs, first, second = (
        degree[np.argsort(place)] for degree, place in zip(degrees[:3], places, strict=True)
    )
    outputs, x = np.tile(inputs, 2), jnp.array([0.3, -1.0, 0.7, 1.5])
    kernel = lambda layer, below, above: layer.kernel[...] * below(above)
    up_to = lambda below: lambda above: below[:, None] <= above
    before = lambda below: lambda above: below[:, None] < above
    biases = [layer.bias[...] for layer in (*made.hidden, made.out)]
    h = x @ kernel(made.hidden[0], up_to(inputs), first) + biases[0] + made.context(COND)
    h = jax.nn.relu(h) @ kernel(made.hidden[1], up_to(first), second) + biases[1]
    expected = jax.nn.relu(h) @ kernel(made.out, before(second), outputs) + biases[2]
    expected = expected + x @ kernel(made.direct, before(inputs), outputs)
    moved = made.rearranged([jnp.asarray(place) for place in places])(x[places[0]], COND)
    got = moved[np.argsort(places[0])]
    np.testing.assert_allclose(got, expected.reshape(2, 4).T, atol=1e-5)


def test_a_drawn_mask_estimates_the_mixture():
    """The mean weight of 400 draws; 5 standard errors, false alarm 1e-5 for 16 events."""
    part = mixture()
    keys = jax.random.split(jax.random.key(0), 400)
    weights = lambda x: jax.vmap(lambda key: MaskSampling(part).log_weight(key, x, COND))(keys)
    drawn = np.exp(jax.jit(jax.vmap(weights))(EVENTS))
    error = drawn.std(1) / np.sqrt(len(keys))
    assert np.all(np.abs(drawn.mean(1) - np.exp(log_probs(part)[1])) < 5 * error + 1e-6)


def test_draws_follow_the_mixture():
    """Chi-square over 16 events, rare ones pooled, 20,000 draws; false alarm 1e-4."""
    part = mixture()
    keys = jax.random.split(jax.random.key(0), 20_000)
    draw = jax.jit(lambda part: jax.vmap(lambda key: MaskSampling(part).sample(key, COND))(keys))
    index = np.asarray(draw(part), int).reshape(-1, 4) @ [8, 4, 2, 1]
    by_mask, mixed = (np.exp(np.asarray(a, float)) for a in log_probs(part))
    counts = np.bincount(index, minlength=16)

    def p_value(mass):
        expected = mass / mass.sum() * len(index)
        rare = expected < 10
        pool = lambda a: np.append(a[~rare], a[rare].sum()) if rare.any() else a
        return stats.chisquare(pool(counts), pool(expected)).pvalue

    assert p_value(mixed) > 1e-4
    assert max(p_value(mass) for mass in by_mask) < 1e-6


def test_batches_are_trained_under_the_masks_in_turn():
    part, term = mixture(cond_size=0), objectives.masked_elbo(name="log_prob")
    run = jax.jit(term)
    step, by_mask = term.init(part), log_probs(part)[0]
    for i in (0, 1, 2, 0):
        value, (metrics, step) = run(part, jax.random.key(0), EVENTS, step)
        expected = jnp.mean(by_mask[i])
        np.testing.assert_allclose(value, -expected, rtol=1e-5)
        np.testing.assert_allclose(metrics["log_prob"], expected, rtol=1e-5)


def test_capabilities():
    part = mixture()
    assert isinstance(part, capabilities.ExactDensity)
    assert isinstance(MaskSampling(part), capabilities.Weighted)
    assert not isinstance(MaskSampling(part), capabilities.ExactDensity)


def test_what_has_no_masks_is_refused():
    nade = NADE(4, 3, rngs=nnx.Rngs(0))
    for density, name in (
        (Autoregressive(nade, bernoulli.Bernoulli()), "Autoregressive of NADE"),
        (Bernoulli(MLP(2, (3,), 4, rngs=nnx.Rngs(0))), "Bernoulli of MLP"),
    ):
        with pytest.raises(TypeError, match=rf"StepwiseMADE\(made\), ...\), got {name}"):
            MaskMixture(density, 2, seed=0)
    with pytest.raises(ValueError, match="num_masks must be at least 1, got 0"):
        mixture(0)
