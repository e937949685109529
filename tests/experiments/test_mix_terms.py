"""The grid of `mix` with a critic, an MMD and a weighed rate: what trains, and what is refused."""

import json
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mix
from experiments.grid import config as grid
from experiments.grid import game, inference
from experiments.study import estimators
from genmix import data
from genmix.nets import state
from genmix.training import Game, compile_rounds, start

TINY: dict[str, Any] = {
    "latent": 4, "hidden": 6, "width": 3, "components": 3, "flow_layers": 2,
    "steps": 5, "batch_size": 10, "particles": 10,
}  # fmt: skip
CHOICES: dict[str, Any] = {
    "prior": get_args(grid.Prior),
    "posterior": get_args(inference.Plain),
    "decoder": get_args(grid.Decoder),
    "objective": get_args(estimators.Objective),
    "estimator": get_args(estimators.Estimator),
    "beta": (1.0, 1.0, 0.25),
    "mmd": (0.0, 10.0),
    "adversarial": get_args(grid.Adversarial),
    "critic": (None, *get_args(grid.Critic)),
    "weight": (None, 2.0),
    "k_critic": (None, 2),
}
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
DATASETS = {"grey": data.load("digits", pixels="levels"), "bits": data.load("digits")}


def dataset(choice):
    return DATASETS["grey" if choice["decoder"] == "discretized-logistic" else "bits"]


def make(choice):
    return mix.Config(**TINY, k=1 if choice["objective"] == "elbo" else 3, **choice)


def has_terms(choice):
    return choice["adversarial"] != "none" or choice["mmd"] > 0 or choice["beta"] != 1


def is_legal(choice):
    has_inverse = choice["posterior"] not in ("planar", "sylvester", "naf")
    needs_inverse = choice["estimator"] in ("stl", "dreg", "score-function")
    if (needs_inverse or choice["prior"] == "vamp") and not has_inverse:
        return False
    if choice["prior"] == "diffusion" and choice["objective"] != "elbo":
        return False
    if choice["prior"] == "rbm" and (choice["mmd"] or choice["adversarial"] != "none"):
        return False  # it does not draw
    if choice["estimator"] == "stl" and choice["objective"] != "elbo":
        return False
    if (choice["objective"], choice["estimator"]) == ("vr-max", "dreg"):
        return False
    passes = choice["estimator"] in ("reparameterized", "stl") and choice["objective"] == "elbo"
    if choice["beta"] != 1 and not passes:
        return False
    if choice["adversarial"] == "none":
        return all(choice[name] is None for name in OF_A_GAME)
    sees_x = choice["adversarial"] in ("data", "joint")
    return not (sees_x and choice["decoder"] in ("made", "pixelcnn"))


RNG = np.random.default_rng(0)
OF_A_GAME = ("critic", "weight", "k_critic")


def drawn():
    choice = {name: values[RNG.integers(len(values))] for name, values in CHOICES.items()}
    if choice["prior"] == "rbm":  # of which a rate can be weighed alone
        choice |= {"mmd": 0.0, "adversarial": "none", "objective": "elbo"}
    if choice["adversarial"] == "none" and RNG.random() < 0.7:
        choice |= dict.fromkeys(OF_A_GAME)
    return choice


DRAWN = [drawn() for _ in range(1000)]
SAMPLE = [choice for choice in DRAWN if is_legal(choice) and has_terms(choice)][:60]
TERMS = ("beta", "mmd", "adversarial", "critic", "weight", "k_critic")
FIRST = [
    dict(zip(("prior", "posterior", "decoder", "objective", "estimator", *TERMS), values,
             strict=True))
    for values in (
        ("normal", "diagonal", "bernoulli-mlp", "elbo", "stl", 0.25, 10.0, "data", "hinge", 2.0, 2),
        ("gmm", "iaf", "pixelcnn", "iwae", "dreg", 1.0, 10.0, "latent", None, None, None),
        ("vamp", "full", "discretized-logistic", "elbo", "score-function", 1.0, 0.0, "joint",
         "wasserstein", None, None),
    )
]  # fmt: skip


def identify(choice):
    return "-".join(str(value) for value in choice.values() if value is not None)


def check_a_round(choice):
    """All parameters of both players are moved, and stay finite."""
    config = make(choice)
    model, players = game.start(config, dataset(choice)), game.players(config)
    x = np.round(dataset(choice).train[:20])
    first = start(jax.random.key(0), model, players)
    play = compile_rounds(players, batch_size=4, num_rounds=1, donate=False)
    state_after, metrics = play.lower(first, x).compile(compiler_options=QUICK)(first, x)
    for name, values in metrics.items():
        assert np.isfinite(values).all(), name
    before, after = (state.variables(m, game.nnx.Param) for m in (model, state_after.model))
    for path, value in after.items():
        assert np.isfinite(value).all(), path
        # The losses hinge and wasserstein are the same for scores that are all larger by a number.
        if not path.startswith("critic") or not path.endswith("out.bias"):
            assert np.any(value != before[path]), path
    names = {name.split("/")[-1] for name in metrics}
    assert ("latent_mmd" in names) == (choice["mmd"] > 0)
    assert (f"{choice['adversarial']}_gradient_norm" in names) == (len(players) == 2)
    if len(players) == 2:
        moves = state_after.optimizers["critic"][0].count
        assert int(moves) == (choice["k_critic"] or 1)


@pytest.mark.parametrize("choice", FIRST, ids=identify)
def test_combinations_train(choice):
    check_a_round(choice)


@pytest.mark.slow
@pytest.mark.parametrize("choice", SAMPLE, ids=identify)
def test_sixty_combinations_train(choice):
    check_a_round(choice)


def test_the_sixty_have_every_choice():
    assert len(SAMPLE) == 60
    for field, values in CHOICES.items():
        assert {choice[field] for choice in SAMPLE} == set(values), field


def evaluate(config, place, change=lambda against: against):
    """Loss and metrics of the critic, 0, or the model, 1."""
    player = game.players(config)[place]

    @jax.jit
    def loss(x):
        against = change(game.start(config, DATASETS["bits"]))
        return player.loss(against, jax.random.key(0), x, player.initial_carry(against))

    value, (metrics, _) = loss(jnp.round(jnp.asarray(DATASETS["bits"].train[:10])))
    return value, metrics


def test_the_model_minimises_the_weighed_sum_of_its_terms():
    """The critic's score is 0, and the loss of a generator with that score log 2."""
    config = mix.Config(**TINY, beta=0.25, mmd=10.0, adversarial="latent", weight=3.0)

    def blank(against):
        return Game(model=against.model, critic=jax.tree.map(jnp.zeros_like, against.critic))

    loss, metrics = evaluate(config, 1, blank)
    assert metrics["latent_mmd"] > 0.01
    expected = -metrics["log_likelihood"] + 0.25 * metrics["rate"] + 10 * metrics["latent_mmd"]
    np.testing.assert_allclose(loss, expected + 3 * np.log(2), rtol=1e-5)


def test_critics_minimise_their_loss_and_the_penalty():
    weights: dict[grid.Critic, float] = {"wasserstein": 10.0, "non-saturating": 0.1}
    for name, weight in weights.items():
        config = mix.Config(**TINY, adversarial="latent", critic=name)
        loss, metrics = evaluate(config, 0)
        if name == "wasserstein":
            value, penalty = -metrics["latent_w1"], metrics["latent_wgan_gp"]
        else:
            value, penalty = 2 * (np.log(2) - metrics["latent_jsd"]), metrics["latent_r1"]
        assert penalty > 1e-3
        np.testing.assert_allclose(loss, value + weight * penalty, rtol=1e-5)


def walk(choices):
    for choice in choices:
        try:
            mix.check(make(choice), dataset(choice))
            refused = False
        except ValueError:
            refused = True
        assert refused != is_legal(choice), choice


def test_what_is_not_legal_is_refused():
    walk(DRAWN[:6])


@pytest.mark.parametrize("term", [{"beta": 0.5}, {"mmd": 1.0}, {"adversarial": "latent"}])
def test_terms_of_draws_that_chance_has_chosen_are_refused(term):
    config = mix.Config(**TINY, posterior="resampled:2", **term)
    with pytest.raises(ValueError, match="Resampled cannot be trained here: its gradient is"):
        mix.check(config, DATASETS["bits"])


@pytest.mark.slow
def test_all_that_is_not_legal_is_refused():
    walk(DRAWN[6:250])


@pytest.mark.slow
def test_a_run_with_a_critic_leaves_everything_behind(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    options: dict[str, Any] = {"adversarial": "latent", "mmd": 3.0, "k_critic": 2}
    config = mix.Config(**TINY, **options, out=tmp_path / "run")
    _, row = mix.main(config)
    assert row["model"] == (
        "normal, diagonal, bernoulli-mlp, elbo + 3 mmd + 1 non-saturating(latent)"
    )
    parts = row["information"] + row["marginal_kl"]
    # Both estimate the rate, of other draws; 0 <= I <= log of the events.
    np.testing.assert_allclose(parts, row["rate"], rtol=0.1)
    assert -0.1 < row["information"] <= np.log(360)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["rows"][1] == row
    assert (tmp_path / "run" / "curves.png").is_file()
    assert "I(x; z)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "beta must not be negative, got -1.0"),
        ({"mmd": float("nan")}, "mmd must not be negative, got nan"),
        ({"beta": 2.0, "objective": "iwae", "k": 2}, "cannot be taken apart into: use --objective"),
        ({"mmd": 1.0, "batch_size": 1}, "compares pairs of events: use --batch-size 2 or more"),
        ({"weight": 0.0, "adversarial": "data"}, "weight must be positive, got 0.0"),
        ({"k_critic": 0, "adversarial": "data"}, "k_critic must be at least 1, got 0"),
        ({"k_critic": 5}, "--k-critic 5 is of a game, and --adversarial none has none"),
        ({"critic": "hinge"}, "use --adversarial data, latent or joint"),
        (
            {"adversarial": "data", "decoder": "pixelcnn"},
            "draws of a pixelcnn have no gradient, .* use --adversarial latent, or another",
        ),
        ({"adversarial": "joint", "decoder": "made"}, "a critic of joint teaches it nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mix.Config(**options)


def test_a_weighed_rate_needs_gradients_through_it():
    with pytest.raises(ValueError, match="rate needs gradients through the terms of the ELBO"):
        mix.Config(**TINY, beta=2.0, estimator="dreg")
