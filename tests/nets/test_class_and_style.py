from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import MLP, ClassAndStyle, balanced_logits, state


def network(hides_always):
    """Half of the pixels are hidden: where all are, what is left are the biases, here 0."""
    rngs = nnx.Rngs(0)
    body = MLP((2, 2, 1), (), 5, rngs=rngs)
    heads = nnx.Linear(5, 3, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)
    return ClassAndStyle(lambda x: 0 * x, body, *heads, hides_always=hides_always)


@pytest.mark.parametrize("hides_always", [False, True])
def test_pixels_are_hidden_where_classes_are_asked_for_or_always(hides_always):
    encoder, x = network(hides_always), jnp.arange(4.0).reshape(2, 2, 1)
    np.testing.assert_allclose(encoder.logits(x), 0, atol=1e-7)
    np.testing.assert_allclose(encoder.log_posterior(jax.random.key(0), x), -np.log(3), rtol=1e-6)
    probabilities, style = encoder(x)
    np.testing.assert_allclose(jnp.sum(probabilities), 1, rtol=1e-6)
    assert np.allclose(probabilities, 1 / 3) == np.allclose(style, 0) == hides_always


def test_logits_are_normalized_over_the_batch():
    """Those of a class of small weights are spread as widely."""
    logits = balanced_logits(4, 3, rngs=nnx.Rngs(0))
    first: Any = logits.layers[0]
    kernel = first.kernel
    kernel[...] = kernel[...].at[:, 1].multiply(0.1)
    x = jax.random.normal(jax.random.key(0), (100, 4))
    values = jax.vmap(lambda x: state.fresh(logits)(x), axis_name="batch")(x)
    np.testing.assert_allclose(np.mean(values, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(values, axis=0), 1, atol=1e-2)
