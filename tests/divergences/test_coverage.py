import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.divergences.coverage import coverage, expected


def test_by_hand():
    """Radii of the two nearest neighbours on a line are 3, 2, 2, 3 and 9."""
    real = jnp.array([[0.0], [1.0], [3.0], [4.0], [12.0]])
    for fake, share in (([30.0], 0.0), ([13.0], 0.2), ([2.5], 0.8), ([0.5, 4.0], 1.0)):
        np.testing.assert_allclose(
            coverage(real, jnp.array(fake)[:, None], num_neighbours=2), share, rtol=1e-6
        )


def test_equal_distributions_have_what_is_expected_and_a_collapsed_one_nothing():
    """Mean of 200 batches within 5 standard errors: false alarms of 6e-7; the key is fixed."""
    draws = jax.random.normal(jax.random.key(0), (2, 200, 40, 3))
    shares = np.asarray(jax.vmap(coverage)(*draws))
    error = shares.std() / np.sqrt(len(shares))
    assert abs(shares.mean() - expected(40, 40)) < 5 * error
    one = jnp.repeat(draws[1, :, :1], 40, axis=1)
    assert jax.vmap(coverage)(draws[0], one).mean() < 0.3


def test_too_few_events_are_refused():
    with pytest.raises(ValueError, match="num_neighbours must be between 1 and 4, one less than"):
        coverage(jnp.zeros((5, 2)), jnp.zeros((5, 2)))
