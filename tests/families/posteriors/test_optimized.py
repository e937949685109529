"""Inner steps on one x: their gap in closed form, and none at all."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix.families import Optimized, StandardNormal
from tests.families.posteriors import targets


class Located(nnx.Module):
    """N(network(x), tiny^2): only its mean moves, and draws hardly differ from it."""

    def __init__(self, network, scale=1e-12):
        self.network, self.scale = network, scale

    def sample_and_log_prob(self, key, cond: Any = None):
        loc = self.network(cond)
        return loc + self.scale * jax.random.normal(key, loc.shape, loc.dtype), jnp.zeros(())


@pytest.mark.parametrize("num_steps", [0, 1, 7])
def test_the_gap_after_k_steps_is_its_closed_form(num_steps):
    """gap_k = (m0 - m*)' (I - h L)^k L (I - h L)^k (m0 - m*) / 2 for a normal posterior."""
    with jax.enable_x64(True):
        precision = jnp.array([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]])
        best, start, rate = jnp.array([0.5, -1.0, 2.0]), jnp.array([3.0, 1.0, -1.0]), 0.3
        log_joint = lambda z: -0.5 * (z - best) @ precision @ (z - best)
        posterior = Optimized(Located(lambda x: x), num_steps, optimizer=optax.sgd(rate))
        z, _ = posterior.propose(jax.random.key(0), log_joint, start)
        contraction = np.linalg.matrix_power(np.eye(3) - rate * np.asarray(precision), num_steps)
        error = contraction @ np.asarray(start - best)
        np.testing.assert_allclose(-log_joint(z), 0.5 * error @ precision @ error, rtol=1e-8)


def test_no_steps_are_the_encoder():
    plain, key = targets.plain(), jax.random.key(0)
    z, log_q = targets.optimized(0).propose(key, targets.log_joint, targets.X)
    again = jax.random.split(jax.random.clone(key))[1]
    expected = plain.sample_and_log_prob(again, targets.X)
    np.testing.assert_array_equal(z, expected[0])
    np.testing.assert_array_equal(log_q, expected[1])


def test_steps_raise_the_bound_of_one_x():
    """Gap of a mean of 2,000 log-weights: 0.1 nats after 40 steps, at least 0.3 before."""

    def gap(num_steps):
        model = targets.model(targets.optimized(num_steps))
        keys = jax.random.split(jax.random.key(1), 2_000)
        log_weights = jax.jit(jax.vmap(lambda key: model.log_weight(key, targets.X)))(keys)
        return targets.linear_gaussian.exact_log_prob(1) - float(jnp.mean(log_weights))

    assert gap(40) < gap(5) < gap(0)


def test_without_the_gradient_through_the_steps_that_at_the_end_is_the_encoders():
    with jax.enable_x64(True):
        x, key = jnp.asarray(targets.X, float), jax.random.key(0)

        def weigh(proposal):
            z, log_q = proposal.propose(jax.random.clone(key), targets.log_joint, x)
            return targets.log_joint(z) - log_q

        to_float = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, float), tree)
        cut = to_float(targets.optimized(3, through=False))
        got = jax.grad(weigh)(cut).posterior.network
        steps_key, draw_key = jax.random.split(jax.random.clone(key))
        moved = cut.moved(steps_key, targets.log_joint, x).network(x)

        def at_end(network):
            shift = jax.lax.stop_gradient(moved - cut.posterior.network(x))
            q = targets.NetNormal(lambda x: network(x) + shift)
            z, log_q = q.sample_and_log_prob(jax.random.clone(draw_key), x)
            return targets.log_joint(z) - log_q

        expected = jax.grad(at_end)(cut.posterior.network)
        for name in ("kernel", "raw_scale"):
            np.testing.assert_allclose(
                getattr(got, name)[...], getattr(expected, name)[...], rtol=1e-9
            )


def test_refusals():
    sgd = optax.sgd(0.1)
    with pytest.raises(TypeError, match=r"StandardNormal cannot be optimized: .* needs a network"):
        Optimized(StandardNormal(2), 3, optimizer=sgd)
    with pytest.raises(ValueError, match="num_steps must not be negative, got -1"):
        Optimized(targets.plain(), -1, optimizer=sgd)
    with pytest.raises(ValueError, match="num_draws must be at least 1, got 0"):
        Optimized(targets.plain(), 1, optimizer=sgd, num_draws=0)
