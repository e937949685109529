"""A diffusion's bound by many times an event, on data of N(0, s^2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.evaluation import time_bound
from genmix.families import Diffusion
from genmix.families.diffusion.schedules import Linear
from tests.families.diffusion import normal_data


def test_the_mean_is_near_the_likelihood():
    """Within 5 standard errors, 6e-7, and the excess of finite ends, below 0.01."""
    model = Diffusion(normal_data.Optimal(0.8), shape=(), schedule=Linear(-9.0, 9.0))
    x = 0.8 * np.asarray(jax.random.normal(jax.random.key(1), (500,)))
    bounds = time_bound(jax.random.key(0), model, x, num_times=64, rows_per_chunk=6400)
    gap = bounds - stats.norm.logpdf(x, scale=0.8)
    assert gap.shape == (500,)
    assert abs(gap.mean()) < 5 * gap.std() / np.sqrt(500) + 0.01
    assert gap.std() < 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_times": 0}, "num_times must be at least 1, got 0"),
        ({"rows_per_chunk": 0}, "rows_per_chunk must be at least 1, got 0"),
    ],
)
def test_bad_counts_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        time_bound(jax.random.key(0), normal_data.diffusion(1.0), jnp.zeros(3), **options)


def test_no_events_are_refused():
    with pytest.raises(ValueError, match="number of events must be at least 1, got 0"):
        time_bound(jax.random.key(0), normal_data.diffusion(1.0), jnp.zeros(0))
