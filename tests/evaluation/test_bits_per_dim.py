import numpy as np
import pytest

from genmix.data import idx
from genmix.evaluation.bits_per_dim import (
    bits_per_dim,
    bits_per_dim_logit,
    bits_per_dim_unit_interval,
)


def test_published_numbers():
    """references: NICE's 1980.50 nats are 4.356 bits/dim; uniform levels 8."""
    np.testing.assert_allclose(bits_per_dim_unit_interval(1980.50, 784), 4.356, atol=5e-4)
    np.testing.assert_allclose(bits_per_dim_unit_interval(0.0, 784), 8.0)
    np.testing.assert_allclose(bits_per_dim(-784 * 8 * np.log(2), 784), 8.0)


def test_the_logit_map_s_constant_on_mnist(data_dir):
    """references: -0.502 bits/dim for lambda = 1e-6 on the test set."""
    grey = idx.read(data_dir / "mnist" / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)
    noise = np.random.default_rng(0).random(grey.shape)
    constant = bits_per_dim_logit(np.zeros(len(grey)), (grey + noise) / 256, margin=1e-6)
    np.testing.assert_allclose(constant, -0.502, atol=2e-3)


def test_the_logit_map_is_a_change_of_variables():
    """A uniform density of levels has 8 bits/dim in whatever space it is written."""
    x = np.random.default_rng(0).random((50, 3))
    margin = 0.05
    squeezed = margin + (1 - 2 * margin) * x
    log_density = np.sum(np.log(squeezed * (1 - squeezed)) - np.log(1 - 2 * margin), axis=1)
    np.testing.assert_allclose(bits_per_dim_logit(log_density, x, margin=margin), 8.0, rtol=1e-12)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="num_dims must be at least 1, got 0"):
        bits_per_dim(1.0, 0)
    with pytest.raises(ValueError, match=r"margin must be between 0 and 1/2, got 0.5"):
        bits_per_dim_logit(np.zeros(1), np.zeros((1, 2)), margin=0.5)
