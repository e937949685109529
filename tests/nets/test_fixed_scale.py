import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genmix.families import FactorizedNormal
from genmix.nets import FixedScale


@pytest.mark.parametrize("scale", [1e-3, 0.1, 2.0, 1e4])
def test_the_scale_is_the_one_that_was_asked_for(scale):
    with jax.enable_x64(True):
        likelihood = FactorizedNormal(FixedScale(lambda z: 3.0 * z, scale), min_scale=1e-12)
        z, x = jnp.array([0.2, -1.0]), jnp.array([0.5, 0.1])
        expected = scipy.stats.norm.logpdf(x, 3.0 * z, scale).sum()
        np.testing.assert_allclose(likelihood.log_prob(x, z), expected, rtol=1e-8)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_what_is_no_scale_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        FixedScale(lambda z: z, scale)
