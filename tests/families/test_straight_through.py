import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.densities import bernoulli
from genmix.families import Autoregressive, Bernoulli, StraightThrough
from genmix.nets import MADE, StepwiseMADE

LOGITS = jnp.array([-1.0, 0.5, 3.0])


def test_draws_and_densities_are_the_parts_and_gradients_the_means():
    weights = jnp.array([2.0, -1.0, 0.5])
    plain = lambda logits: Bernoulli(lambda _: logits)
    key = jax.random.key(0)
    part, inner = StraightThrough(plain(LOGITS)), plain(LOGITS)
    x = part.sample(key)
    np.testing.assert_array_equal(x, inner.sample(jax.random.clone(key)))
    np.testing.assert_array_equal(part.log_prob(x), inner.log_prob(x))
    draw = lambda logits: StraightThrough(plain(logits)).sample(jax.random.clone(key)) @ weights
    mean = lambda logits: plain(logits).mean() @ weights
    np.testing.assert_allclose(jax.grad(draw)(LOGITS), jax.grad(mean)(LOGITS), rtol=1e-6)


def test_a_part_without_a_mean_is_refused():
    made = StepwiseMADE(MADE(4, (5,), 1, rngs=nnx.Rngs(0)))
    part = Autoregressive(made, bernoulli.Bernoulli(), shape=(2, 2, 1))
    with pytest.raises(TypeError, match=r"Autoregressive cannot be drawn straight .* no mean"):
        StraightThrough(part)
