import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from genmix import objectives
from genmix.objectives import Term
from genmix.training import Player, by_path, compile_rounds, start


class Two(nnx.Module):
    def __init__(self):
        self.code = nnx.Param(jnp.ones(2))
        self.codebook = nnx.Linear(2, 1, rngs=nnx.Rngs(0))


def test_each_part_moves_by_its_own_optimizer():
    total = Term(
        lambda m, key, x, carry: (m.code[...].sum() + jnp.sum(m.codebook(jnp.ones(2))), ({}, carry))
    )
    player = Player(loss=total, optimizer=by_path(optax.sgd(0.5), codebook=optax.sgd(2.0)))
    model = Two()
    state = start(jax.random.key(0), model, [player])
    state, _ = compile_rounds([player], batch_size=1, num_rounds=1)(state, jnp.zeros((1, 1)))
    assert jnp.all(state.model.code[...] == 0.5)  # a name that begins the same is another part
    assert jnp.allclose(state.model.codebook.kernel[...], model.codebook.kernel[...] - 2)
    assert jnp.allclose(state.model.codebook.bias[...], -2)


def test_a_path_without_parameters_is_refused():
    player = Player(loss=objectives.elbo(), optimizer=by_path(optax.sgd(1.0), book=optax.sgd(1)))
    with pytest.raises(ValueError, match=r"no parameters at 'book' .* some at code, codebook."):
        start(jax.random.key(0), Two(), [player])
