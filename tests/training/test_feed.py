import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix.data.stream import Stream
from genmix.objectives import Term
from genmix.training import Plan, Player, Run, fit
from tests.training.test_fit import raw_leaves

IMAGES = np.arange(60, dtype=np.uint8).reshape(20, 3)


class Location(nnx.Module):
    def __init__(self):
        self.loc = nnx.Param(jnp.zeros(3))
        self.other = nnx.Param(jnp.zeros(3))


def player(name: str, steps: int = 1) -> Player:
    def loss(model, key, batch, carry):
        noise = jax.random.normal(key, (3,))
        target = (getattr(model, name)[...] - noise)[None]
        value = jnp.mean((batch / 60 - target) ** 2)
        return value, ({"seen": jnp.sum(batch * (1.0 + jnp.arange(3))[None])}, carry)

    return Player(name=name, loss=Term(loss), optimizer=optax.adam(0.1), owns=(name,), steps=steps)


def train(data, players=(("loc", 1),), run=None, **plan):
    settings = {"num_rounds": 22, "batch_size": 6, "rounds_per_call": 5, **plan}
    players = [player(name, steps) for name, steps in players]
    run = run or Run(label=None)
    return fit(jax.random.key(0), Location(), players, data, Plan(**settings), run)


def logged(directory, **options):
    return Run(directory=directory, checkpoint_every=7, label=None, **options)


def stream(**options) -> Stream:
    return Stream(IMAGES, **{"batch_size": 6, "seed": 3, **options})


def test_every_round_sees_the_next_batch_of_the_stream():
    batches = next(stream().blocks(22))
    seen = np.sum(batches * (1.0 + np.arange(3)), axis=(1, 2))
    _, means = train(stream(), rounds_per_call=1).history["seen"]
    np.testing.assert_array_equal(means, seen)


def test_each_step_of_each_player_has_a_batch_of_its_own():
    batches = next(stream().blocks(3 * 4))
    seen = np.sum(batches * (1.0 + np.arange(3)), axis=(1, 2)).reshape(4, 3)
    players = (("loc", 2), ("other", 1))
    history = train(stream(), players, num_rounds=4, rounds_per_call=1).history
    np.testing.assert_array_equal(history["loc/seen"][1], seen[:, 1])
    np.testing.assert_array_equal(history["other/seen"][1], seen[:, 2])


@pytest.mark.parametrize("rounds_per_call", [5, 7])
def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(tmp_path, rounds_per_call):
    options = {"rounds_per_call": rounds_per_call}
    whole = train(stream(), run=logged(tmp_path / "whole"), **options)
    train(stream(), run=logged(tmp_path / "cut"), num_rounds=9, **options)
    resumed = train(stream(), run=logged(tmp_path / "cut", resume=True), **options)
    for a, b in zip(raw_leaves(whole), raw_leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_data_that_changed_are_refused_on_resuming(tmp_path):
    train(stream(), run=logged(tmp_path), num_rounds=9)
    with pytest.raises(ValueError, match="its seed is 3, here it is 4"):
        train(stream(seed=4), run=logged(tmp_path, resume=True))


def test_the_stream_and_the_plan_must_agree_on_the_batch():
    with pytest.raises(ValueError, match=r"batch_size of the plan is 5, .* gives batches of 6"):
        train(stream(), batch_size=5)


def test_the_round_of_a_fault_in_streamed_data_is_named():
    broken = np.ones((20, 3), np.float32)
    broken[int(next(Stream(np.arange(20), batch_size=1, seed=3).blocks(9))[8, 0])] = np.nan
    with pytest.raises(FloatingPointError, match="loss of player 'loc' at round 9 is nan"):
        train(Stream(broken, batch_size=1, seed=3), batch_size=1)
