import jax
import numpy as np
import pytest
from flax import nnx

from genmix import nets, objectives
from genmix.families import Implicit, StandardNormal
from genmix.nets import state
from genmix.training import Game

X = jax.random.normal(jax.random.key(1), (8, 2))


def game():
    rngs = nnx.Rngs(0)
    generator = Implicit(StandardNormal(2), nets.MLP(2, (3,), 2, rngs=rngs))
    return Game(generator=generator, critic=nets.MLP(2, (4,), 1, rngs=rngs))


def gradients(term, model, steps):
    """Of so many steps, of one key and batch each."""

    @jax.jit
    def step(carry):
        def loss(parameters):
            part = state.with_variables(model, parameters)
            value, (metrics, after) = term(part, jax.random.key(0), X, carry)
            return value, (metrics, after)

        return jax.grad(loss, has_aux=True)(state.variables(model, nnx.Param))

    carry, found, seen = term.init(model), [], []
    for _ in range(steps):
        slopes, (metrics, carry) = step(carry)
        found.append(slopes["critic.out.kernel"])
        seen.append(float(metrics["data_r1"]))
    return np.array(found), seen


def test_lazy_and_plain_have_the_same_mean_gradient():
    model, plain = game(), objectives.r1(objectives.data).of("generator")
    expected, value = gradients(plain, model, 1)
    found, seen = gradients(objectives.lazily(plain, 3), model, 6)
    np.testing.assert_allclose(found.mean(axis=0), expected[0], rtol=1e-5)
    assert np.all(found[[1, 2, 4, 5]] == 0)
    np.testing.assert_allclose(np.mean(seen), value[0], rtol=1e-5)
    assert np.any(expected != 0)


def test_every_step_is_the_plain_term():
    plain = objectives.r1(objectives.data).of("generator")
    assert objectives.lazily(plain, 1) is plain
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        objectives.lazily(plain, 0)
