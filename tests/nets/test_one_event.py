"""What is no event is refused with the remedy."""

import jax.numpy as jnp
import pytest

from genmix.nets import MLP, one_event

NETWORK = object.__new__(MLP)  # only its name is asked for
ARRAY = jnp.zeros(2)


def test_an_event_passes():
    one_event.require(NETWORK, ARRAY, (2,))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (None, r"MLP expects one event of shape \(2,\), got None: give the condition, as in"),
        (
            (ARRAY, 10),
            r"got a tuple: sample\(key, cond\) makes one draw.* jax.vmap\(model.sample\)",
        ),
        ((ARRAY, ARRAY), r"got a tuple: choose one of its arrays by term.on\(lambda batch"),
        ([ARRAY] * 3, "got a list: choose one of its arrays.*numpy.stack"),
        ({"image": ARRAY}, "got a dict: choose one of its arrays"),
        ("mnist", "got a str: make an array of it"),
    ],
)
def test_what_is_no_array_is_refused_in_words(x, message):
    with pytest.raises(TypeError, match=message):
        one_event.require(NETWORK, x, (2,))


def test_a_batch_is_refused_in_words():
    with pytest.raises(ValueError, match=r"got \(10, 2\); for a batch use jax.vmap.$"):
        one_event.require(NETWORK, jnp.zeros((10, 2)), (2,))
