"""What every bijector must do, one table for all: `tests/bijectors/table.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.bijectors import HasInverse
from tests.bijectors.table import BIJECTORS, make

FORWARD_ONLY = {
    "neural autoregressive",
    "planar",
    "orthogonal sylvester",
    "householder sylvester",
    "triangular sylvester",
}


@pytest.mark.parametrize("name", BIJECTORS)
def test_log_det_is_that_of_the_jacobian_and_the_inverse_inverts(x64, name):
    bijector, x = make(name)
    has_inverse = isinstance(bijector, HasInverse)
    assert has_inverse == hasattr(bijector, "inverse_and_log_det") == (name not in FORWARD_ONLY)

    @jax.jit
    def run(bijector, x):
        y, log_det = bijector.forward_and_log_det(x)
        forward = lambda flat: bijector.forward_and_log_det(flat.reshape(x.shape))[0].reshape(-1)
        expected = jnp.linalg.slogdet(jax.jacfwd(forward)(x.reshape(-1)))[1]
        back = bijector.inverse_and_log_det(y) if has_inverse else None
        return y, log_det, expected, back

    y, log_det, expected, back = run(bijector, x)
    assert y.dtype == x.dtype
    assert log_det.shape == ()
    np.testing.assert_allclose(log_det, expected, rtol=0, atol=1e-9)
    if has_inverse:
        np.testing.assert_allclose(back[0], x, rtol=0, atol=1e-9)
        np.testing.assert_allclose(back[1], -log_det, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "name", ["repeated", "householder", "masked autoregressive", "inverse autoregressive"]
)
def test_events_of_fewer_bits_than_the_parameters_are_promoted(name):
    bijector, x = make(name)

    @jax.jit
    def run(bijector, x):
        return bijector.forward_and_log_det(x), bijector.inverse_and_log_det(x)

    x = x.astype(jnp.bfloat16)
    got, want = run(bijector, x), run(bijector, x.astype(jnp.float32))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["affine coupling", "masked autoregressive", "multiscale"])
def test_a_batch_is_a_vmap(name):
    bijector, x = make(name)
    batch = jnp.stack([x, 2 * x, -x])
    y, log_det = jax.jit(jax.vmap(bijector.forward_and_log_det))(batch)
    for i in range(3):
        one, change = jax.jit(bijector.forward_and_log_det)(batch[i])
        np.testing.assert_allclose(y[i], one, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(log_det[i], change, rtol=1e-5, atol=1e-5)
