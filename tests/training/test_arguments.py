"""What `fit` is given: data sets with their transform, and mistakes."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import data
from genmix.objectives import Term
from genmix.training import Plan, Player, Run, arguments, fit


class Mean(nnx.Module):
    def __init__(self):
        self.value = nnx.Param(jnp.zeros(()))


def loss(model, key, batch, carry):
    are_bits = jnp.mean((batch == 0) | (batch == 1))
    return (model.value[...] - jnp.mean(batch)) ** 2, ({"bits": are_bits}, carry)


PLAYER = Player(loss=Term(loss), optimizer=optax.sgd(0.1))


@pytest.mark.parametrize(
    ("transform", "expected"), [(None, 1.0), (lambda key, x: x + 2.0, 0.0)], ids=["own", "plan's"]
)
def test_a_data_set_is_trained_on_under_its_transform(transform, expected):
    plan = Plan(num_rounds=2, batch_size=8, transform=transform)
    digits, run = data.load("digits"), Run(label=None)
    history = fit(jax.random.key(0), Mean(), [PLAYER], digits, plan, run).history
    np.testing.assert_array_equal(history["bits"][1], expected)


def test_a_data_set_that_is_ready_has_no_transform():
    digits = data.load("digits")
    assert digits.transform is data.binarize
    assert digits._replace(binarization="static").transform is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"key": 3}, r"key must be a key of jax.random, got 3: pass jax.random.key\(3\)"),
        ({"key": np.zeros(2, np.uint32)}, "key must be a typed key of jax.random, got ndarray"),
        ({"players": PLAYER}, r"players must be a list, got one Player: write \[player\]"),
        ({"players": [Term(loss)]}, "got a Term in it: wrap the loss, Player"),
        ({"data": iter([1])}, r"data is an iterator \(list_iterator\), in which a resumed run"),
    ],
)
def test_mistakes_are_refused_in_words(given, message):
    right = {"key": jax.random.key(0), "players": [PLAYER], "data": jnp.zeros((8, 1))}
    arguments.require(**right)
    with pytest.raises(TypeError, match=message):
        arguments.require(**right | given)


def test_random_streams_are_no_key():
    with pytest.raises(TypeError, match=r"key must be a typed key of jax\.random, got Rngs"):
        arguments.require(nnx.Rngs(0), [PLAYER], jnp.zeros((8, 1)))


def test_several_keys_are_refused():
    with pytest.raises(ValueError, match=r"got an array of keys \(2,\): pass key\[0\]"):
        arguments.require(jax.random.split(jax.random.key(0)), [PLAYER], jnp.zeros((8, 1)))


def test_what_is_read_from_its_start_is_refused():
    grain = pytest.importorskip("grain")
    source = grain.MapDataset.source(np.zeros((8, 1)))
    arguments.require(jax.random.key(0), [PLAYER], source)  # its examples are gathered as arrays'
    with pytest.raises(TypeError, match="which can only be gone through from its start"):
        arguments.require(jax.random.key(0), [PLAYER], source.to_iter_dataset())


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (3, r"transform must be a function \(key, batch\) -> batch, got 3"),
        (lambda batch: batch, "does not take these two: one without chance is lambda key, batch"),
    ],
)
def test_what_is_no_transform_is_refused(transform, message):
    with pytest.raises(TypeError, match=message):
        arguments.require_transform(transform)


def test_a_transform_of_images_given_images_with_labels_says_how():
    with pytest.raises(TypeError, match=r"got a tuple: of images with labels, lambda key, batch"):
        inspect.unwrap(data.binarize)(jax.random.key(0), (np.zeros(3), np.zeros(3)))
