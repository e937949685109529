"""Continuous flows against a straight path between normals, whose field and density are known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import integrate as quadrature
from scipy import stats

from genmix import objectives
from genmix.bijectors import runge_kutta
from genmix.families import ContinuousFlow, Hutchinson, StandardNormal, weigh
from genmix.nets import TimeMLP
from genmix.training import Plan, Player, fit
from tests.bijectors.table import perturbed

LOC, SCALE = np.array([1.5, -0.5]), np.array([0.3, 2.0])


def straight(x, t, cond=None):
    """E[x1 - x0 | (1 - t) x0 + t x1] of x0 ~ N(0, I) and x1 ~ N(LOC, SCALE^2), each entry alone."""
    loc, scale = jnp.asarray(LOC, x.dtype), jnp.asarray(SCALE, x.dtype)
    variance = (1 - t) ** 2 + (t * scale) ** 2
    return loc + (t * scale**2 - (1 - t)) / variance * (x - t * loc)


FLOW = ContinuousFlow(StandardNormal(2), straight, num_steps=100)


def test_the_density_of_a_known_flow(x64):
    x = jnp.array([0.7, 1.9])
    expected = np.sum(stats.norm.logpdf(x, LOC, SCALE))
    np.testing.assert_allclose(jax.jit(FLOW.log_prob)(x), expected, rtol=1e-7)
    draw, log_prob = jax.jit(FLOW.sample_and_log_prob)(jax.random.key(0))
    np.testing.assert_allclose(log_prob, np.sum(stats.norm.logpdf(draw, LOC, SCALE)), rtol=1e-6)
    z = jax.random.normal(jax.random.key(0), (2,))
    np.testing.assert_allclose(draw, LOC + SCALE * z, rtol=1e-6)


def test_the_error_is_of_fourth_order(x64):
    x = jnp.array([0.7, 1.9])
    exact = np.sum(stats.norm.logpdf(x, LOC, SCALE))
    error = lambda n: abs(
        ContinuousFlow(StandardNormal(2), straight, num_steps=n).log_prob(x) - exact
    )
    assert 12 < error(100) / error(200) < 20


def test_log_det_is_that_of_autodiff(x64):
    field = perturbed(TimeMLP((3,), 8, 1, span=(0.0, 1.0), rngs=nnx.Rngs(0)), 0.5)
    times, z = jnp.linspace(0, 1, 6), jnp.array([0.1, -1.0, 0.5])
    move = lambda z: runge_kutta.integrate(field, z, times)[0]
    fine = jnp.linspace(0, 1, 200)
    _, log_det = runge_kutta.integrate(field, z, fine, runge_kutta.exact)
    expected = jnp.linalg.slogdet(
        jax.jacobian(lambda z: runge_kutta.integrate(field, z, fine)[0])(z)
    )
    np.testing.assert_allclose(log_det, expected[1], rtol=1e-6)
    assert move(z).shape == z.shape


def test_an_untrained_field_integrates_to_one():
    field = perturbed(TimeMLP((1,), 8, 1, span=(0.0, 1.0), rngs=nnx.Rngs(0)), 0.3)
    flow = ContinuousFlow(StandardNormal(1), field)
    grid = np.linspace(-12, 12, 4001)
    density = np.exp(jax.jit(jax.vmap(flow.log_prob))(grid[:, None]))
    assert quadrature.simpson(density, x=grid) == pytest.approx(1, abs=1e-4)


def test_random_signs_estimate_the_density_without_bias():
    field = perturbed(TimeMLP((3,), 8, 1, span=(0.0, 1.0), rngs=nnx.Rngs(1)), 0.5)
    flow = ContinuousFlow(StandardNormal(3), field, num_steps=5)
    x = jnp.array([0.3, -0.4, 1.0])
    part = Hutchinson(flow)
    values = jax.jit(jax.vmap(lambda key: part.log_bound(key, x)))(
        jax.random.split(jax.random.key(0), 2000)
    )
    error = float(jnp.std(values)) / np.sqrt(len(values))
    # 4 standard errors: a false alarm in 16,000.
    assert float(jnp.mean(values)) == pytest.approx(float(flow.log_prob(x)), abs=4 * error)
    assert error > 0
    assert weigh.is_bound(part)
    assert not weigh.is_bound(flow)


def test_the_field_of_the_straight_path_is_where_matching_has_no_gradient():
    """Of scale and shift of the known field; 4 standard errors of 20,000 pairs."""
    x = LOC + SCALE * np.random.default_rng(1).normal(size=(100, 200, 2))

    def loss(change, x, key):
        field = lambda y, t, cond: (1 + change[0]) * straight(y, t) + change[1]
        model = ContinuousFlow(StandardNormal(2), field)
        return objectives.flow_matching()(model, key, x, ())[0]

    groups = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(
        jnp.zeros(2), jnp.asarray(x, jnp.float32), jax.random.split(jax.random.key(2), 100)
    )
    error = jnp.std(groups, axis=0) / 10
    assert jnp.all(jnp.abs(jnp.mean(groups, axis=0)) < 4 * error)
    assert float(jnp.max(error)) < 0.1


def test_matching_trains_a_flow_that_beats_its_start():
    x = (LOC + SCALE * np.random.default_rng(3).normal(size=(500, 2))).astype(np.float32)
    field = TimeMLP((2,), 16, 1, span=(0.0, 1.0), rngs=nnx.Rngs(0))
    model = ContinuousFlow(StandardNormal(2), field, num_steps=10)
    player = Player(loss=objectives.flow_matching(), optimizer=optax.adam(1e-2))
    plan = Plan(num_rounds=300, batch_size=100)
    trained = fit(jax.random.key(0), model, [player], x, plan).model
    nats = lambda model: -float(jnp.mean(jax.vmap(model.log_prob)(jnp.asarray(x))))
    entropy = float(np.sum(np.log(SCALE))) + np.log(2 * np.pi * np.e)
    assert nats(model) > 5
    assert nats(trained) < entropy + 0.3


def test_a_condition_reaches_the_field_and_a_wrong_part_is_refused():
    field = lambda x, t, cond: cond * jnp.ones_like(x)
    flow = ContinuousFlow(StandardNormal(2), field, num_steps=2)
    moved = flow.sample(jax.random.key(0), 3.0) - flow.sample(jax.random.key(0), 0.0)
    np.testing.assert_allclose(moved, 3.0, rtol=1e-5)
    with pytest.raises(TypeError, match="function cannot be the base of a ContinuousFlow"):
        ContinuousFlow(field, field)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        ContinuousFlow(StandardNormal(2), field, num_steps=0)
    with pytest.raises(TypeError, match="StandardNormal has no field to match"):
        objectives.flow_matching().init(StandardNormal(2))
    with pytest.raises(ValueError, match=r"x must have the base's shape \(2,\), got \(3,\)"):
        objectives.flow_matching()(flow, jax.random.key(0), jnp.zeros((4, 3)), ())
