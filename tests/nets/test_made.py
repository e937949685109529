"""MADE's Jacobian shows exactly the dependencies that its order allows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.nets.made import MADE
from genmix.nets.stepwise_made import StepwiseMADE

SHAPES = {
    "natural": {"dim": 5, "hidden": (8, 6)},
    "any order": {"dim": 5, "hidden": (8, 6), "order": (3, 0, 4, 1, 2)},
    "condition": {"dim": 4, "hidden": (4, 7), "order": (1, 3, 2, 0), "cond_size": 2},
    "linear": {"dim": 4, "hidden": (), "cond_size": 2},
    "narrow but direct": {"dim": 6, "hidden": (2,), "direct": True},
    "narrow, direct, condition": {"dim": 6, "hidden": (2,), "direct": True, "cond_size": 3},
    "one entry": {"dim": 1, "hidden": (3,), "cond_size": 2},
}


@pytest.mark.parametrize("name", SHAPES)
def test_dependencies_are_those_allowed_and_all_of_them(x64, name):
    shape = {"cond_size": 0, **SHAPES[name]}
    dim, cond_size = shape["dim"], shape["cond_size"]

    @jax.jit
    def jacobians():
        made = MADE(num_outputs=3, activation=jnp.tanh, rngs=nnx.Rngs(0), **shape)
        x, cond = jnp.linspace(-1.0, 1.2, dim), jnp.linspace(0.5, 1.0, cond_size)
        out = made(x, cond if cond_size else None)
        return out, jax.jacobian(made, (0, 1))(x, cond) if cond_size else jax.jacobian(made)(x)

    out, jacobian = jacobians()
    assert out.shape == (dim, 3)
    by_x, by_cond = jacobian if cond_size else (jacobian, jnp.ones((dim, 3, 1)))
    position = np.argsort(shape.get("order", range(dim)))
    allowed = np.broadcast_to((position[:, None] > position)[:, None, :], by_x.shape)
    np.testing.assert_array_equal(np.asarray(by_x) != 0, allowed)
    assert jnp.all(by_cond != 0)


@pytest.mark.parametrize("hidden", [(), (75, 80)])
def test_entries_in_blocks_have_the_outputs_of_one_pass(x64, hidden):
    """Of 70 entries the last block of 24 lacks two."""
    order = np.random.default_rng(0).permutation(70).tolist()
    made = MADE(70, hidden, 2, cond_size=3, order=order, direct=True, rngs=nnx.Rngs(0))
    variables = jax.tree.map(lambda leaf: 3 * jnp.asarray(leaf, jnp.float64), made)
    features = jax.random.normal(jax.random.key(1), (70, 1), jnp.float64)

    @jax.jit
    def both(made, features, cond):
        network = StepwiseMADE(made)
        choose = lambda features, out: (out, features)
        return network(features, cond), network.generate(choose, features, cond)

    full, steps = both(variables, features, jnp.array([0.4, -1.2, 0.7]))
    assert full.std() > 0.1
    np.testing.assert_allclose(steps, full, rtol=0, atol=1e-10)


def test_masks_are_applied_once_for_a_batch():
    made = MADE(4, (6,), 2, cond_size=2, rngs=nnx.Rngs(0))
    batch, conds = jnp.ones((7, 4)), jnp.ones((7, 2))
    operations = jax.make_jaxpr(jax.vmap(made))(batch, conds).jaxpr.eqns
    products = [eqn.outvars[0].aval for eqn in operations if eqn.primitive.name == "mul"]
    assert {str(aval) for aval in products} == {"float32[4,6]", "float32[6,8]"}


def test_the_condition_is_ignored_where_there_is_none_to_be():
    made = MADE(3, (4,), rngs=nnx.Rngs(0))
    x = jnp.array([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(made(x, "anything"), made(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "MADE needs positive sizes, got dim 0"),
        ({"cond_size": -1}, "positive sizes, .* cond_size -1"),
        ({"order": (0, 2, 2, 3)}, r"order must hold 0, 1, ..., 3 once each, got \(0, 2, 2, 3\)"),
        ({"hidden": (8, 2)}, r"at least 3 units to carry every dependence, got \(8, 2\).*direct"),
        ({"hidden": (3,), "cond_size": 1}, "at least 4 units"),
    ],
)
def test_networks_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MADE(**{"dim": 4, "hidden": (8,), "rngs": nnx.Rngs(0), **options})


def test_shapes_that_do_not_fit_are_refused():
    made = MADE(3, (4,), cond_size=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"one event of shape \(3,\), got \(4,\); for a batch"):
        made(jnp.ones(4), jnp.ones(2))
    with pytest.raises(ValueError, match=r"cond of shape \(2,\), got shape \(3,\)"):
        made(jnp.ones(3), jnp.ones(3))
    with pytest.raises(ValueError, match=r"cond of shape \(2,\), got NoneType"):
        made(jnp.ones(3))
