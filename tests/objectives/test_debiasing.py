"""Weights of examples by the rarity of their latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import objectives
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP
from genmix.objectives import Term, debiased
from genmix.objectives.debiasing import densities, maximum, product

WEIGHTS = (product, maximum)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_uniform_histogram_has_uniform_weights(weights):
    rng = np.random.default_rng(0)
    z = np.stack([rng.permutation(np.arange(40.0)) for _ in range(3)], axis=1)
    found = np.asarray(weights(densities(jnp.asarray(z), bins=8)))
    assert np.all(found == found[0])


def test_weights_of_a_histogram_that_is_known(x64):
    """Three in one bin and one in the other; of the second entry two and two."""
    z = jnp.array([[0.0, 0.0], [0.1, 1.0], [0.2, 0.1], [1.0, 0.9]])
    found = densities(z, bins=2, smoothing=0.01)
    np.testing.assert_allclose(found, [[0.76, 0.51]] * 3 + [[0.26, 0.51]], rtol=1e-12)
    ratio = np.array([1.0, 1.0, 1.0, 0.76 / 0.26])
    np.testing.assert_allclose(product(found), ratio / ratio[3], rtol=1e-12)
    total = 3 / 0.76 + 1 / 0.26
    np.testing.assert_allclose(maximum(found), [0.25] * 3 + [1 / 0.26 / total], rtol=1e-12)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_latents_may_be_shifted_and_scaled(weights, x64):
    z = np.random.default_rng(1).normal(size=(100, 2))
    moved = z * np.array([2.0, 0.25]) + np.array([-4.0, 8.0])
    first, second = (weights(densities(jnp.asarray(a))) for a in (z, moved))
    np.testing.assert_allclose(first, second, rtol=1e-12)


def test_latents_that_are_all_the_same_weigh_the_same():
    found = product(densities(jnp.zeros((5, 2))))
    np.testing.assert_array_equal(found, np.ones(5))


def model() -> LatentVariableModel:
    """Encodes x as itself, nearly."""
    encoder = lambda x: jnp.stack([x, jnp.full_like(x, -20.0)], axis=-1)
    return LatentVariableModel(
        prior=StandardNormal(1),
        likelihood=Bernoulli(MLP(1, (), 1, rngs=nnx.Rngs(0))),
        posterior=Normal(encoder),
    )


def seen() -> Term:
    """Reports the share of ones in the batch that it is given."""
    return Term(lambda model, key, batch, carry: (jnp.zeros(()), ({"ones": jnp.mean(batch)}, ())))


def test_rare_examples_come_as_often_as_common_ones_once_they_are_weighed():
    """5 % ones: as they are in the first two steps, half of the batch in the third.

    Batches of 20,000, within 5 standard errors: false alarm 1e-6, the key is fixed.
    """
    x = jnp.zeros((200, 1)).at[:10].set(1.0)
    term = debiased(seen(), x, 20_000, every=2, smoothing=1e-6)
    step = jax.jit(lambda key, carry: term(model(), key, x, carry)[1])
    carry, shares, effective = term.init(model()), [], []
    for key in jax.random.split(jax.random.key(0), 4):
        metrics, carry = step(key, carry)
        shares.append(float(metrics["ones"]))
        effective.append(float(metrics["effective_share"]))
    np.testing.assert_allclose(shares, [0.05, 0.05, 0.5, 0.5], atol=5 * 0.5 / np.sqrt(20_000))
    np.testing.assert_allclose(effective, [1.0, 1.0, 0.19, 0.19], rtol=1e-3)


REFUSED = {
    "nobody encodes": (
        lambda: debiased(seen(), jnp.zeros((2, 1)), 1).init(StandardNormal(1)),
        "encodes with a LatentVariableModel, got StandardNormal",
    ),
    "no part of that name": (
        lambda: debiased(seen(), jnp.zeros((2, 1)), 1, of="vae").init(model()),
        "there is no part 'vae'",
    ),
    "no examples": (lambda: debiased(seen(), jnp.zeros((0, 1)), 1), "got 0 examples"),
    "no steps": (lambda: debiased(seen(), jnp.zeros((2, 1)), 1, every=0), "every 0"),
    "no bins": (lambda: densities(jnp.zeros((2, 1)), bins=0), "bins must be at least 1"),
    "no smoothing": (
        lambda: debiased(seen(), jnp.zeros((2, 1)), 1, smoothing=0.0).init(model()),
        "smoothing positive, got 10 and 0.0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_weighed_is_refused(name):
    run, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        run()


def test_the_bound_of_a_part_of_a_game_trains_so():
    term = debiased(objectives.elbo(), jnp.ones((8, 1)), 4, every=1)
    loss = lambda m, key: term(m, key, None, term.init(m))[0]
    gradient = jax.jit(jax.grad(loss))(model(), jax.random.key(0))
    assert any(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))
