import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix.nets import state
from genmix.objectives import Term
from genmix.training import Plan, Player, Run, Validation, fit

DATA = np.random.default_rng(0).normal(2.0, 1.0, (64, 1)).astype(np.float32)


class Location(nnx.Module):
    def __init__(self, value=0.0):
        self.loc = nnx.Param(jnp.asarray(value))


def squared_error(model, key, batch, carry):
    noise = 0.1 * jax.random.normal(key)
    loss = jnp.mean((batch - model.loc + noise) ** 2)
    return loss, ({"loc": model.loc[...]}, carry + 1)


def player(learning_rate=0.05):
    loss = Term(squared_error, lambda model: jnp.zeros((), jnp.int32))
    return Player(loss=loss, optimizer=optax.adam(learning_rate))


def train(players=None, model=None, data: Any = DATA, **options):
    """By options of the plan, and of the run."""
    of_run = {field.name for field in dataclasses.fields(Run)} & options.keys()
    logged = {name: options.pop(name) for name in of_run}
    run = Run(**{"label": None, **logged})
    plan = Plan(**{"num_rounds": 40, "batch_size": 8, "rounds_per_call": 10, **options})
    return fit(jax.random.key(0), model or Location(), players or [player()], data, plan, run)


def parameters(result):
    return {
        path: np.asarray(v) for path, v in state.variables(result.state.model, nnx.Param).items()
    }


def test_it_trains_and_keeps_the_history():
    result = train(num_rounds=400)
    assert abs(float(result.model.loc[...]) - DATA.mean()) < 0.2
    rounds, losses = result.history["loss"]
    assert rounds.tolist() == list(range(10, 401, 10))
    assert losses[-1] < losses[0]
    assert int(result.state.round) == int(result.state.carries["model"]) == 400
    assert result.seconds > 0


def test_rounds_that_do_not_divide_are_all_played():
    assert int(train(num_rounds=37).state.round) == 37


def test_a_resumed_run_is_the_undisturbed_one_bit_for_bit(tmp_path):
    options = {"average_decay": 0.9, "checkpoint_every": 10}
    whole = train(directory=tmp_path / "whole", **options)

    class Stopped(Exception):
        pass

    def interrupt(model):
        raise Stopped

    with pytest.raises(Stopped):
        train(
            directory=tmp_path / "cut",
            validation=Validation(interrupt, every=30),
            **options,
        )
    resumed = train(directory=tmp_path / "cut", resume=True, **options)
    for a, b in zip(raw_leaves(whole), raw_leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("loss", "loc"):
        for a, b in zip(whole.history[name], resumed.history[name], strict=True):
            np.testing.assert_array_equal(a, b)
    lines = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20, 30, 40]


def raw_leaves(result):
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    leaves = jax.tree.leaves(result.state)
    return [np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf) for leaf in leaves]


def test_a_finished_run_resumes_to_its_end(tmp_path):
    first = train(directory=tmp_path)
    second = train(directory=tmp_path, resume=True)
    assert parameters(first) == parameters(second)
    longer = train(directory=tmp_path, resume=True, num_rounds=60)
    assert int(longer.state.round) == 60


def test_a_longer_resumed_run_reports_at_the_usual_rounds(tmp_path):
    train(directory=tmp_path, num_rounds=17)
    longer = train(directory=tmp_path, resume=True)
    assert longer.history["loss"][0].tolist() == [10, 17, 20, 30, 40]


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "time": 0.1, "loss": 3.0}\n')
    result = train(directory=tmp_path, resume=True)
    assert result.history["loss"][0].tolist() == [10, 20, 30, 40]


def test_early_stopping_returns_the_best_model(tmp_path):
    """The score peaks at loc = 1, on the way to the data's mean of 2."""
    score = lambda model: -abs(float(model.loc[...]) - 1.0)
    options = {"num_rounds": 400, "validation": Validation(score, every=10, patience=3)}
    result = train(directory=tmp_path, **options)
    rounds, scores = result.history["validation"]
    best = int(np.argmax(scores))
    assert rounds[-1] == rounds[best] + 30 < 400
    assert score(result.model) == scores[best]
    again = train(directory=tmp_path, resume=True, **options)
    assert score(again.model) == scores[best]
    assert int(again.state.round) == rounds[-1]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoints(tmp_path):
    def explodes(model, key, batch, carry):
        loss, (_, carry) = squared_error(model, key, batch, carry)
        return jnp.where(carry > 25, jnp.nan, loss), ({}, carry)

    bad = Player(
        name="critic",
        loss=Term(explodes, lambda model: jnp.zeros((), jnp.int32)),
        optimizer=optax.sgd(0.1),
    )
    message = "the loss of player 'critic' at round 26 is nan; training stops here, and the checkp"
    with pytest.raises(FloatingPointError, match=message):
        train([bad, player()], directory=tmp_path, checkpoint_every=10)
    assert sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) == [10, 20]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_rounds": 0}, "num_rounds must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 65}, "batch_size must be between 1 and the number of examples, 64; got 65"),
        ({"average_decay": 1.0}, r"average_decay must be in \[0, 1\), got 1.0"),
        ({"resume": True}, "resume needs the directory of the run"),
        (
            {"validation": Validation(lambda m: 0.0, every=15)},
            "validation.every, 15, must be a multiple of rounds_per_call, 10",
        ),
    ],
)
def test_plans_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)


def test_a_second_run_in_the_same_directory_is_refused(tmp_path):
    train(directory=tmp_path, num_rounds=10)
    with pytest.raises(ValueError, match="already exists"):
        train(directory=tmp_path, num_rounds=10)


@pytest.mark.parametrize(
    ("data", "batch_size", "message"),
    [
        (DATA, 4, "the run to resume has batch_size 8, got 4: resume it with its own data and"),
        (DATA[:32], 8, "the run to resume has num_examples 64, got 32: resume it with its own"),
        (DATA + 1, 8, "was trained on other data of the same size: resume it with its own, or"),
        (DATA[:, :, None], 8, "was trained on other data of the same size"),
        (DATA[::-1], 8, "was trained on other data of the same size"),
    ],
)
def test_a_run_is_resumed_with_its_own_data(tmp_path, data, batch_size, message):
    options = {"rounds_per_call": 2, "directory": tmp_path}
    first = train(num_rounds=2, **options)
    with pytest.raises(ValueError, match=message):
        train(data=data, num_rounds=4, batch_size=batch_size, resume=True, **options)
    again = train(data=jnp.asarray(DATA), num_rounds=2, resume=True, **options)
    np.testing.assert_array_equal(first.model.loc[...], again.model.loc[...])


def test_a_validation_score_that_is_nan_is_told():
    scores = iter([1.0, np.nan, np.nan, 5.0])
    options = {"validation": Validation(lambda model: next(scores), every=10, patience=2)}
    text = r"score of round [23]0 is NaN, which counts as no improvement; the best is .* 10\."
    with pytest.warns(UserWarning, match=text) as told:
        result = train(num_rounds=400, **options)
    assert len(told) == 2
    assert int(result.state.round) == 30


def test_it_says_when_it_compiles(capsys):
    train(num_rounds=5, rounds_per_call=5, label="vae")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("vae  0/5  0:00:0")
    assert lines[0].endswith("  compiling")
    assert lines[-1].startswith("vae  5/5  0:0")
