"""Parts of a game by name: who owns them, and what terms are about."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix.objectives import Term
from genmix.objectives.term import between, find
from genmix.training import Game, Player, start


class Number(nnx.Module):
    def __init__(self, value):
        self.value = nnx.Param(jnp.asarray(value))


def numbers():
    return Game(a=Number(2.0), b=Number(3.0), more=nnx.List([Number(5.0), Number(7.0)]))


def squared(model, key, batch, carry):
    return model.value[...] ** 2, ({"square": model.value[...]}, carry)


def product(part, other, key, batch, carry):
    return part.value[...] * other.value[...], ({}, carry)


def value(term, model):
    return float(term(model, jax.random.key(0), jnp.zeros(3), term.init(model))[0])


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (Term(squared).of("a"), 4),
        (Term(squared).of("more.1"), 49),
        (Term(squared).of(lambda game: game.b), 9),
        (between(product, lambda a, b: (), "b").of("a"), 6),
        ((between(product, lambda a, b: (), "b") + 10.0 * Term(squared)).of("a"), 46),
        ((2.0 * between(product, lambda a, b: (), "b").on(lambda x: x[0])).of("more.0"), 30),
    ],
)
def test_terms_are_about_the_parts_that_they_name(term, expected):
    assert value(term, numbers()) == expected


def test_names_go_from_the_outside_in():
    inner = between(product, lambda a, b: (), "b").of("a").of("inner")
    assert value(inner, Game(inner=Game(a=Number(2.0)), b=Number(10.0))) == 20
    assert value(Term(squared).of("a").of("inner"), Game(inner=Game(a=Number(2.0)))) == 4


@pytest.mark.parametrize(
    "term",
    [
        Term(squared).of("critc"),
        between(product, lambda a, b: (), "critc").of("a"),
        Term(squared).of("a") + between(product, lambda a, b: (), "b").of("critc"),
    ],
)
def test_a_misspelt_part_is_refused_before_training(term):
    player = Player(name="a", loss=term, optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match="there is no part 'critc' in Game; it has a, b, more"):
        start(jax.random.key(0), numbers(), [player])


def test_players_own_the_part_of_their_name():
    player = lambda **options: Player(loss=Term(squared), optimizer=optax.sgd(0.1), **options)
    owned = lambda player, model: sorted(player.parameters(model))
    assert owned(player(name="a"), numbers()) == ["a.value"]
    assert owned(player(name="more"), numbers()) == ["more.0.value", "more.1.value"]
    assert owned(player(name="a", owns=("b", "more.0")), numbers()) == ["b.value", "more.0.value"]
    assert owned(player(name="a"), Number(1.0)) == ["value"]
    with pytest.raises(
        ValueError, match="owns 'c', where the model has no parameters; it has some"
    ):
        owned(player(name="c"), numbers())


def test_games_need_parts_with_names_of_their_own():
    with pytest.raises(ValueError, match="Game needs parts by name"):
        Game()
    with pytest.raises(ValueError, match="a part of a game cannot be called 'train', which is a"):
        Game(train=Number(1.0))
    with pytest.raises(AttributeError, match="the game has no part 'critic'"):
        _ = numbers().critic
    with pytest.raises(ValueError, match="there is no part 'x' in Param; it has no parts"):
        find(numbers(), "a.value.x")


def test_games_are_pytrees():
    doubled = jax.jit(lambda game: jax.tree.map(lambda x: 2 * x, game))(numbers())
    np.testing.assert_array_equal(doubled.more[1].value, 14.0)
