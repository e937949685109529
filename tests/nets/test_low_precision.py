import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import data, evaluation, objectives
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP, LowPrecision, state
from genmix.training import Plan, Player, Run, fit


def test_products_are_taken_in_bfloat16_and_what_goes_in_and_out_is_float32():
    network = MLP(5, (7,), 3, rngs=nnx.Rngs(0))
    low, x = LowPrecision(network), jnp.linspace(-1, 1, 5)
    loss = lambda low, x: jnp.sum(low(x) ** 2)
    text = str(jax.make_jaxpr(jax.grad(loss))(low, x))
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert products
    assert all("bf16" in line.split("=")[0] for line in products)
    assert low(x).dtype == jnp.float32
    gradient = state.variables(jax.grad(loss)(low, x), nnx.Param)
    assert {g.dtype for g in gradient.values()} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(low(x), network(x), atol=0.02)
    exact = state.variables(jax.grad(loss)(network, x), nnx.Param)
    for path, value in exact.items():
        np.testing.assert_allclose(gradient[f"network.{path}"], value, atol=0.05)


def test_batch_statistics_are_refused():
    with pytest.raises(ValueError, match="no network with batch statistics, got mean, var"):
        LowPrecision(nnx.BatchNorm(3, rngs=nnx.Rngs(0)))


@pytest.mark.slow
def test_training_reaches_the_same_likelihood():
    """Two seeds of float32 differ by 0.05 nats here."""
    digits = data.load("digits")

    def nll(wrap):
        rngs = nnx.Rngs(0)
        model = LatentVariableModel(
            prior=StandardNormal(8),
            likelihood=Bernoulli(wrap(MLP(8, (50,), (8, 8, 1), rngs=rngs))),
            posterior=Normal(wrap(MLP((8, 8, 1), (50,), 8, rngs=rngs))),
        )
        player = Player(loss=objectives.iwae(5), optimizer=optax.adam(3e-3))
        plan = Plan(num_rounds=3000, batch_size=50, transform=data.binarize)
        run = Run(label=None)
        model = fit(jax.random.key(0), model, [player], digits.train, plan, run).model
        key = jax.random.key(1)
        return evaluation.log_likelihood(key, model, digits.test, num_particles=500).nll

    assert nll(LowPrecision) == pytest.approx(nll(lambda network: network), abs=0.2)
