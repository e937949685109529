import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from experiments.study import trial
from genmix.families import Bernoulli
from genmix.nets import MLP
from genmix.objectives import Term
from genmix.runs import memory
from genmix.training import Plan, Player, Run, fit


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (24_480_000_022_784, "24.5 TB"), (10**30, "1e+12 EB")],
)
def test_sizes_are_said_in_words(num_bytes, words):
    assert memory.words(num_bytes) == words


def test_the_size_of_what_there_is_not():
    shape = jax.eval_shape(lambda key: {"x": jax.random.normal(key, (10, 3))}, jax.random.key(0))
    assert memory.size((shape, jnp.zeros(5, jnp.int8), 3, None)) == 125
    assert 2**28 < memory.available() < 2**62
    memory.require(memory.available(), "all")
    with pytest.raises(MemoryError, match=r"a dream would take .* of memory, and there are .*GB"):
        memory.require(memory.available() + 1, "a dream")


class Location(nnx.Module):
    def __init__(self):
        self.loc = nnx.Param(jnp.zeros(()))


def many(model, key, batch, carry):
    noise = jnp.sort(jax.random.normal(key, (10**12,)))
    return model.loc[...] + jnp.sum(noise), ({}, carry)


PLAYER = Player(loss=Term(many), optimizer=optax.sgd(0.1))
PLAN = Plan(num_rounds=1, batch_size=2)


def test_rounds_that_do_not_fit_are_refused_before_they_run():
    with pytest.raises(MemoryError, match=r"a call of 1 rounds would take \d+ TB of memory, and"):
        fit(jax.random.key(0), Location(), [PLAYER], jnp.zeros((4, 1)), PLAN, Run(label=None))


def test_a_network_that_does_not_fit_is_refused_before_it_is_made():
    build = lambda: Bernoulli(MLP(4, (10**9, 10**9), 4, rngs=nnx.Rngs(0)))
    with pytest.raises(MemoryError, match=r"the parameters, optimizers and data would take 4 EB"):
        trial.traced(build, [PLAYER], jnp.zeros((4, 1)), PLAN)
