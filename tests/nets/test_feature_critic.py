import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from genmix.nets import MLP, FeatureCritic, OnFeatures


def test_the_score_is_linear_in_the_features():
    rngs = nnx.Rngs(0)
    critic = FeatureCritic(nnx.Sequential(MLP((2, 3), (4,), 5, rngs=rngs), jnp.tanh), 5, rngs=rngs)
    x = jax.random.normal(jax.random.key(0), (7, 2, 3))
    seen = jax.vmap(critic.features)(x)
    assert seen.shape == (7, 5)
    assert jnp.max(jnp.abs(seen)) < 1  # after the nonlinearity
    expected = seen @ critic.out.kernel[...][:, 0]
    np.testing.assert_allclose(jax.vmap(critic)(x), expected, rtol=1e-5)
    on_features = OnFeatures(critic, lambda features: 3 * features)
    np.testing.assert_allclose(jax.vmap(on_features)(x), 3 * seen, rtol=1e-6)
