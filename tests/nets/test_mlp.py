"""The fully connected network's outputs: where they stand, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets import MLP


def test_outputs_of_an_entry_are_on_the_last_axis():
    net = MLP(4, (5,), (2, 3), num_outputs=2, rngs=nnx.Rngs(0))
    x = jnp.array([0.3, -1.0, 2.0, 0.5])
    h = jnp.tanh(net.hidden[0](x))
    out = net(x)
    assert out.shape == (2, 3, 2)
    np.testing.assert_array_equal(out[..., 1].reshape(-1), net.out(h)[6:])


def test_no_outputs_are_refused():
    with pytest.raises(ValueError, match=r"out_shape \(3,\), num_outputs 0"):
        MLP(4, (5,), 3, num_outputs=0, rngs=nnx.Rngs(0))
