"""What a player may be made of, and who trains what a model holds."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import objectives
from genmix.families import LatentVariableModel
from genmix.nets import MLP, state
from genmix.objectives import Term
from genmix.training import Player, compile_rounds, start


class Number(nnx.Module):
    def __init__(self, value):
        self.value = nnx.Param(jnp.asarray(value))


def squared(model, key, batch, carry):
    return jnp.sum((model.value[...] - jnp.mean(batch)) ** 2), ({}, carry)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": objectives.elbo}, r"got the function elbo, .*: call it first, such as elbo\(\)"),
        ({"loss": 3.0}, "loss must be a Term or a function .* got 3.0: use a term of genmix"),
        ({"optimizer": 1e-3}, r"optimizer must be an Optax .* got 0.001: pass optax.adam\(0.001\)"),
        ({"optimizer": optax.adam}, r"got <function adam.*: call it first, such as adam\(1e-3\)"),
        ({"optimizer": "adam"}, r"got 'adam': pass one, such as optax.adam\(1e-3\)"),
    ],
)
def test_what_is_no_player_is_refused_in_words(options, message):
    with pytest.raises(TypeError, match=message):
        Player(**{"loss": Term(squared), "optimizer": optax.sgd(0.1)} | options)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lbfgs(),
        optax.chain(optax.sgd(0.3), optax.contrib.reduce_on_plateau(patience=5)),
        optax.polyak_sgd(),
    ],
)
def test_optimizers_that_ask_for_the_loss_are_given_it(optimizer):
    """The minimum of |value - 2|^2; lbfgs would be there at once."""
    player = Player(loss=Term(squared), optimizer=optimizer)
    game = start(jax.random.key(0), Number(jnp.zeros(3)), [player])
    play = compile_rounds([player], batch_size=4, num_rounds=30)
    game, _ = play(game, jnp.full(8, 2.0))
    np.testing.assert_allclose(game.model.value[...], 2.0, atol=1e-3)


class Plain:
    """A part of a user's own, with a network that JAX does not see."""

    def __init__(self, network):
        self.network = network


class Holder(nnx.Module):
    def __init__(self, part):
        self.part, self.own = part, nnx.Param(jnp.zeros(2))


def test_parts_that_would_not_be_trained_are_refused():
    model = Holder(Plain(nnx.Linear(2, 1, rngs=nnx.Rngs(0))))
    player = Player(loss=Term(squared), optimizer=optax.sgd(0.1))
    message = r"part is a Plain, whose parameters would stay .*: write class Plain\(nnx.Module\)"
    with pytest.raises(TypeError, match=message):
        start(jax.random.key(0), model, [player])
    inner = Plain([nnx.Param(jnp.zeros(2))])
    assert state.out_of_reach(Holder(Holder(inner))) == {"part.part": inner}
    for part in (
        Plain(jnp.tanh),
        Plain(nnx.Rngs(0)),
        MLP(2, (3,), 1, rngs=nnx.Rngs(0)),
        jnp.tanh,
        Number(1.0),
        nnx.Linear,
        None,
        "a",
    ):
        assert not state.out_of_reach(Holder(part))


LAYER = nnx.Linear(2, 1, rngs=nnx.Rngs(0))


def calls_itself(net):
    def again(x, n=3):
        return net(x) if n == 0 else again(x, n - 1)

    return again


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (calls_itself(LAYER), "function"),
        (calls_itself(jnp.tanh), None),
        ((lambda net: lambda x: 2 * net(x))(LAYER), "function"),
        ((lambda net: lambda x: (lambda y: net(y))(x))(LAYER), "function"),
        (lambda x, net=LAYER: net(x), "function"),
        (functools.partial(lambda net, x: net(x), LAYER), "partial"),
        (functools.partial(lambda x, net: net(x), net=LAYER), "partial"),
        (LAYER.__call__, "method"),
        (functools.partial(jnp.tanh), None),
        ((lambda scale: lambda x: scale * x)(2.0), None),
    ],
)
def test_functions_around_networks_are_refused(part, kind):
    player = Player(loss=Term(squared), optimizer=optax.sgd(0.1))
    if kind is None:
        assert not state.out_of_reach(Holder(part))
        return
    with pytest.raises(TypeError, match=rf"part is a {kind} around a network .* in __call__"):
        start(jax.random.key(0), Holder(part), [player])


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (objectives.elbo(rate=objectives.Rate(beta=2.0)), "Number cannot be the model of a likel"),
        (objectives.reconstruction(), "Number has no encode and likelihood, so it reconstructs"),
        (objectives.rate(), "Number has no closed_rate: use the sampled rate"),
        (
            objectives.feature_likelihood(lambda critic, x: x, by=lambda game: game),
            "Number has no encode and decode, whose images",
        ),
    ],
)
def test_terms_say_before_training_what_a_model_lacks(term, message):
    player = Player(loss=term, optimizer=optax.sgd(0.1))
    with pytest.raises(TypeError, match=message):
        start(jax.random.key(0), Number(1.0), [player])


class Shifted(nnx.Module):
    """N(shift + x, 1): `sample` gives draws that are constants, `sample_and_log_prob` does not."""

    def __init__(self):
        self.shift = nnx.Param(jnp.asarray(0.5))

    def sample(self, key, cond: Any = None):
        return jax.lax.stop_gradient(self.sample_and_log_prob(key, cond)[0])

    def sample_and_log_prob(self, key, cond: Any = None):
        z = self.shift + cond + jax.random.normal(key, cond.shape)
        return z, self.log_prob(z, cond)

    def log_prob(self, z, cond: Any = None):
        return jnp.sum(jax.scipy.stats.norm.logpdf(z, self.shift[...] + cond))


class Standard:
    def log_prob(self, x, cond=None):
        loc = jnp.zeros_like(x) if cond is None else cond
        return jnp.sum(jax.scipy.stats.norm.logpdf(x, loc))

    def sample(self, key, cond=None):
        return jax.random.normal(key, (1,))


def test_reconstruction_trains_encoders_whose_plain_samples_are_constants():
    """E -log N(x | x + shift + noise, 1) has the slope `shift` in expectation."""
    model = LatentVariableModel(prior=Standard(), likelihood=Standard(), posterior=Shifted())

    @jax.jit
    @jax.grad
    def slope(shift):
        moved = state.with_variables(model, {"posterior.shift": shift})
        return objectives.reconstruction()(moved, jax.random.key(0), jnp.zeros((20_000, 1)), ())[0]

    # Standard error 1 / sqrt(20,000) = 0.0071; 5 of them: false alarm 6e-7.
    np.testing.assert_allclose(slope(jnp.asarray(0.5)), 0.5, atol=0.036)
