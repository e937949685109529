"""Arrays that do not belong together are refused wherever rows are gathered from them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import evaluation, examples
from genmix.evaluation import classifier, clustering
from genmix.families import StandardNormal
from genmix.objectives import Term
from genmix.training import Plan, Player, Run, fit, rounds

IMAGES, LABELS = np.zeros((10, 2), np.float32), np.arange(4)


class Location(nnx.Module):
    def __init__(self):
        self.loc = nnx.Param(jnp.zeros(()))

    def log_prob(self, x, cond=None):
        return -jnp.sum(x["image"] ** 2)


def mean_of_labels(model, key, batch, carry):
    return model.loc[...] ** 2, ({"mean": jnp.mean(batch[1].astype(jnp.float32))}, carry)


PLAYER = Player(loss=Term(mean_of_labels), optimizer=optax.sgd(0.1))


def train(data, **options):
    plan = Plan(num_rounds=2, batch_size=10, rounds_per_call=1, **options)
    return fit(jax.random.key(0), Location(), [PLAYER], data, plan, Run(label=None))


def test_pairs_are_those_of_the_data():
    np.testing.assert_array_equal(
        train((np.zeros(10), np.arange(10))).history["mean"][1], [4.5, 4.5]
    )


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, LABELS),
        (IMAGES[:4], np.arange(10)),
        {"image": IMAGES, "label": LABELS},
        (jnp.asarray(IMAGES), {"label": jnp.arange(4)}),
        [IMAGES, IMAGES[:9]],
    ],
)
def test_training_refuses_arrays_of_different_lengths(data):
    with pytest.raises(ValueError, match=r"the arrays of data must have as many examples each, .*"):
        train(data)
    play = rounds.compile_rounds([PLAYER], batch_size=2, num_rounds=1)
    state = rounds.start(jax.random.key(0), Location(), [PLAYER])
    with pytest.raises(ValueError, match=r"the arrays of data must have as many examples each, .*"):
        play(state, jax.tree.map(jnp.asarray, data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1.0, 2.0], r"data\[0\] must be an array .* got 1\.0; .* numpy\.asarray"),
        ((), "data holds no arrays, so there are no examples"),
        ((np.ma.masked_array([1.0], [True]),), r"data\[0\] has masked entries"),
        (({"a": np.zeros(3)}, np.zeros(2)), r"got data\[0\]\['a'\] 3, data\[1\] 2\."),
    ],
)
def test_what_holds_no_examples_is_named(data, message):
    with pytest.raises(ValueError, match=message):
        train(data)


def test_lengths_are_counted_in_any_tree():
    assert examples.count({"a": IMAGES, "b": (LABELS[:1].repeat(10), jnp.zeros((10, 0)))}) == 10
    assert examples.count(jax.random.split(jax.random.key(0), 3)) == 3
    assert examples.count(np.ma.masked_array(np.zeros(2), False)) == 2
    assert jax.jit(lambda x: jnp.asarray(examples.count(x)))(IMAGES) == 10


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_evaluation_refuses_arrays_of_different_lengths(as_array):
    x = {"image": as_array(IMAGES), "label": as_array(LABELS)}
    key, message = jax.random.key(0), r"the arrays of x .* got x\['image'\] 10, x\['label'\] 4\."
    with pytest.raises(ValueError, match=message):
        evaluation.log_likelihood(key, Location(), x, num_particles=1)
    with pytest.raises(ValueError, match=message):
        evaluation.elbo(key, Location(), x, num_samples=1)
    with pytest.raises(ValueError, match=message):
        evaluation.conservative_log_likelihood(Location(), IMAGES, x)
    with pytest.raises(ValueError, match=r"the arrays of states .* states\[1\] 9"):
        evaluation.conservative_log_likelihood(StandardNormal(2), (IMAGES, IMAGES[:9]), IMAGES)


def test_one_label_is_not_that_of_all():
    small = np.zeros((3, 4, 4, 1), np.float32)
    seeing = classifier.Classifier((4, 4, 1), 2, rngs=nnx.Rngs(0))
    for labels in ([0], [0, 1, 0, 1]):
        with pytest.raises(ValueError, match=r"the arrays of \(images, labels\) must have as many"):
            classifier.accuracy(seeing, small, np.array(labels))
        with pytest.raises(ValueError, match=r"the arrays of \(images, labels\) must have as many"):
            classifier.train(jax.random.key(0), small, np.array(labels))
    pair = np.array([0, 1])
    with pytest.raises(ValueError, match="the clusters and labels of the test must have as many"):
        clustering.error(pair, pair, np.array([0, 1, 0]), np.array([0]))
