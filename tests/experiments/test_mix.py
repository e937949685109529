"""Every combination on shapes alone, a sample of them for real, and the refusals."""

import dataclasses
import functools
import itertools
import json
import re
import sys
import textwrap
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from experiments import mix
from experiments.grid import config as grid
from experiments.grid import game, inference, parts
from experiments.study.estimators import Estimator, Objective
from genmix import data, families, training
from genmix.families import weigh
from genmix.runs import command_line

TINY: dict[str, Any] = {
    "latent": 4, "hidden": 6, "width": 3, "components": 3, "flow_layers": 2, "k": 3,
    "steps": 5, "batch_size": 10, "particles": 10,
}  # fmt: skip
KINDS = [("sylvester", kind) for kind in ("orthogonal", "householder", "triangular")]
WRAPPED = (
    "optimized:2", "resampled:2", "iaf+hamiltonian:1", "full+optimized:1+resampled:2",
    "iaf+optimized:2", "resampled:2+hamiltonian:1",
)  # fmt: skip
PLAIN = [p for p in get_args(inference.Plain) if p != "sylvester"]
POSTERIORS = [(p, None) for p in (*PLAIN, *WRAPPED)] + KINDS
GRID = [
    dict(zip(("prior", "decoder", "objective", "estimator", "posterior", "sylvester"),
             (*rest, *posterior), strict=True))
    for posterior, *rest in itertools.product(
        POSTERIORS, *map(get_args, (grid.Prior, grid.Decoder, Objective, Estimator))
    )
]  # fmt: skip
NO_INVERSE = ("planar", "sylvester", "naf")  # so that q(z | x) is known of its own draws only


def is_legal(choice):
    plain, wrappers = inference.parse(choice["posterior"])
    names = [name for name, _ in wrappers]
    if "optimized" in names and (plain not in ("diagonal", "full") or names[0] != "optimized"):
        return False  # it moves what a network gives
    if "hamiltonian" in names and "resampled" in names[: names.index("hamiltonian")]:
        return False  # chance has chosen where it starts
    if choice["prior"] == "diffusion" and (names or choice["objective"] != "elbo"):
        return False  # weights of a bound may not be averaged
    if choice["prior"] == "hierarchical" and {"optimized", "hamiltonian"} & {*names}:
        return False  # an estimate of p(z) has no gradient in z
    knows_any_z = not names and plain not in NO_INVERSE
    needs_any_z = choice["estimator"] in ("stl", "dreg", "score-function")
    if (needs_any_z or choice["prior"] == "vamp") and not knows_any_z:
        return False
    if choice["estimator"] == "stl":
        return choice["objective"] == "elbo"
    return (choice["objective"], choice["estimator"]) != ("vr-max", "dreg")


LEGAL = [choice for choice in GRID if is_legal(choice)]
WEIGHTED = [choice for choice in LEGAL if choice["prior"] not in ("diffusion", "rbm")]
SAMPLE = [WEIGHTED[i] for i in np.random.default_rng(0).choice(len(WEIGHTED), 60, replace=False)]
FIRST = [
    ("normal", "diagonal", None, "bernoulli-mlp", "elbo", "stl"),
    ("gmm", "full", None, "bernoulli-conv", "iwae", "dreg"),
    ("realnvp", "naf", None, "made", "renyi", "weighted"),
    ("hierarchical", "sylvester", "orthogonal", "discretized-logistic", "vr-max", "resampled"),
    ("vamp", "householder", None, "bernoulli-mlp", "iwae", "score-function"),
    ("normal", "optimized:1+resampled:2", None, "bernoulli-mlp", "elbo", "reparameterized"),
    ("normal", "iaf+hamiltonian:1", None, "bernoulli-mlp", "iwae", "reparameterized"),
]
"""With the run and the expression below, every choice but a radial posterior."""
FIELDS = ("prior", "posterior", "sylvester", "decoder", "objective", "estimator")
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
DATASETS = {"grey": data.load("digits", pixels="levels"), "bits": data.load("digits")}


def dataset(choice):
    return DATASETS["grey" if choice["decoder"] == "discretized-logistic" else "bits"]


def loss(config, model, key, batch):
    term = game.objective(config)
    return term(model, key, batch, term.init(model))[0]


@pytest.fixture
def traced_once(monkeypatch):
    """Parts are made, and their methods traced, once for all models that have them."""
    for name, fields in (
        ("prior", ["prior"]),
        ("posterior", ["posterior", "sylvester", "decoder"]),
        ("decoder", ["decoder"]),
    ):
        monkeypatch.setattr(parts, name, cached(getattr(parts, name), fields))
    for kind in map(families.__dict__.get, families.__all__):
        if isinstance(kind, type) and issubclass(kind, nnx.Module):
            for method in {"log_prob", "sample", "sample_and_log_prob"} & vars(kind).keys():
                monkeypatch.setattr(kind, method, jax.jit(getattr(kind, method)))


@pytest.fixture
def compiled_quickly(monkeypatch):
    compile = jax.stages.Lowered.compile
    quickly = lambda lowered: compile(lowered, compiler_options=QUICK)
    monkeypatch.setattr(jax.stages.Lowered, "compile", quickly)


def cached(make, fields):
    parts = {}

    def get(config, *rest):
        key = tuple(getattr(config, field) for field in fields)
        if key not in parts:
            parts[key] = make(config, *rest)
        return parts[key]

    return get


def is_refused(choice):
    try:
        config = mix.Config(**TINY, **choice)
        if not is_legal(choice):
            mix.check(config, dataset(choice))
    except ValueError:
        return True
    return False


def check_shapes(choice):
    config = mix.Config(**TINY, **choice)
    model = parts.build(config, dataset(choice))
    step = jax.value_and_grad(lambda model, key, batch: loss(config, model, key, batch))
    batch = dataset(choice).test[:2]
    value, gradient = jax.eval_shape(step, model, jax.random.key(0), batch)
    assert (value.shape, value.dtype) == ((), jnp.float32), choice
    described = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert jax.tree.leaves(described(gradient)) == jax.tree.leaves(described(model)), choice


def walk(choices):
    for choice in choices:
        assert is_refused(choice) != is_legal(choice), choice
        if is_legal(choice):
            check_shapes(choice)


def test_combinations_build_and_have_gradients(traced_once):
    walk([GRID[i] for i in np.random.default_rng(1).choice(len(GRID), 10, replace=False)])


@pytest.mark.slow
def test_every_combination_builds_and_has_gradients_or_is_refused(traced_once):
    assert len(GRID) == 8 * 16 * 5 * 4 * 6
    walk(GRID)


def test_wrapped_posteriors_and_diffusions_are_refused_where_they_must(traced_once):
    small = [c for c in GRID if c["decoder"] == "bernoulli-mlp" and c["objective"] != "renyi"]
    is_new = lambda c: c["prior"] == "diffusion" or c["posterior"] in WRAPPED
    refused = [c for c in small if is_new(c) and not is_legal(c)]
    for i in np.random.default_rng(2).choice(len(refused), 40, replace=False):
        assert is_refused(refused[i]), refused[i]


def test_the_sixty_have_every_choice():
    for field in FIELDS:
        assert {choice[field] for choice in SAMPLE} == {choice[field] for choice in WEIGHTED}


def probe(config, model, x):
    """Gradient on a batch; log-weights of one image, of z from the posterior and the prior."""

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(model, key, x):
        keys = jax.random.split(key, 3)
        gradient = jax.grad(lambda model: loss(config, model, keys[0], x))(model)
        weigh_one = lambda key: weigh.log_weight(model, key, x[0])

        def from_prior(key):
            z_key, x_key = jax.random.split(key)
            z = model.prior.sample(z_key)
            return weigh.log_weight(model.likelihood, x_key, x[0], z)

        draws = lambda f, key: jax.vmap(f)(jax.random.split(key, 2000))
        return gradient, draws(weigh_one, keys[1]), draws(from_prior, keys[2])

    return run(model, jax.random.key(1), x)


def log_mean(log_weights):
    """Log of the mean weight, and its standard error."""
    top = log_weights.max()
    weights = np.exp(log_weights - top, dtype=np.float64)
    error = weights.std(ddof=1) / np.sqrt(len(weights)) / weights.mean()
    return top + np.log(weights.mean()), error


def plain(posterior):
    """What the wrappers are around."""
    while inner := getattr(posterior, "proposal", None) or vars(posterior).get("posterior"):
        posterior = inner
    return posterior


def check_for_real(choice):
    """A step moves every parameter; ELBO <= L_3 <= log p(x), which prior and posterior agree on.

    Bounds are compared on draws of their own, within 5 standard errors: false alarm 1e-6 each.
    """
    config = mix.Config(**TINY, **choice)
    model: Any = parts.build(config, dataset(choice))
    base = plain(model.posterior)
    base = getattr(base, "base", base)
    # Wider than the true posterior, so that weights have a variance.
    wide = 0.75 if choice["prior"] == "hierarchical" else 1.0
    base.distribution = dataclasses.replace(base.distribution, min_scale=wide)
    gradient, log_weights, from_prior = probe(config, model, dataset(choice).test[:3])
    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.state(gradient, nnx.Param)):
        assert jnp.all(jnp.isfinite(leaf)), path
        assert jnp.any(leaf != 0), path
    assert np.all(np.isfinite(log_weights))
    log_weights, from_prior = np.asarray(log_weights), np.asarray(from_prior)
    elbos, groups = log_weights[:800], log_weights[800:].reshape(-1, 3)
    iwaes = np.log(np.mean(np.exp(groups - groups.max(1, keepdims=True)), 1)) + groups.max(1)
    error = lambda a: a.std(ddof=1) / np.sqrt(len(a))
    (log_p, log_p_error), (reference, reference_error) = map(log_mean, (log_weights, from_prior))
    assert elbos.mean() < iwaes.mean() + 5 * np.hypot(error(elbos), error(iwaes))
    assert iwaes.mean() < reference + 5 * np.hypot(error(iwaes), reference_error)
    assert abs(log_p - reference) < 5 * np.hypot(log_p_error, reference_error)
    assert log_p_error < 0.3


@pytest.mark.parametrize("choice", FIRST, ids=lambda choice: "-".join(map(str, choice)))
def test_combinations_train_and_their_bounds_nest(choice):
    check_for_real(dict(zip(FIELDS, choice, strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "choice", SAMPLE, ids=lambda choice: "-".join(str(choice[field]) for field in FIELDS)
)
def test_sixty_combinations_train_and_their_bounds_nest(choice):
    check_for_real(choice)


def test_the_expression_in_the_docstring_trains(compiled_quickly):
    code = textwrap.dedent((mix.__doc__ or "").partition("same methods could replace:")[2])
    names = dict(vars(parts) | vars(training) | vars(mix) | vars(game))
    exec(code.replace("num_rounds=1000", "num_rounds=2"), names)
    sample = names["model"].sample(jax.random.key(0))
    assert sample.shape == (8, 8, 1)
    assert set(np.unique(sample)) == {0.0, 1.0}


def run(tmp_path, **options):
    return mix.main(mix.Config(**{**TINY, "k": 1, "out": tmp_path / "run", **options}))


def test_a_run_leaves_everything_behind(tmp_path, monkeypatch, capsys, compiled_quickly):
    monkeypatch.setenv("COLUMNS", "200")
    rows = run(tmp_path, prior="gmm", posterior="planar", k=2, objective="iwae")
    out = tmp_path / "run"
    results = json.loads((out / "results.json").read_text())
    assert results["rows"] == rows
    assert [row["model"] for row in rows] == [
        "independent Bernoulli",
        "gmm, planar, bernoulli-mlp, iwae k=2",
    ]
    np.testing.assert_allclose(rows[0]["nll"], 26.80, atol=0.01)
    assert -rows[1]["nll"] > rows[1]["elbo"]
    assert rows[1]["latent_units"] == [4]
    assert results["nll_particles"] == 10
    assert json.loads((out / "config.json").read_text())["posterior"] == "planar"
    for picture in ("samples", "reconstructions", "curves"):
        with Image.open(out / f"{picture}.png") as image:
            assert image.width > 500
    assert (out / "checkpoints" / "5").is_dir()
    printed = capsys.readouterr().out
    for word in ("NLL", "KL", "active units", "independent Bernoulli", "TensorBoard"):
        assert word in printed
    assert "bits/dim" not in printed


def test_a_diffusion_as_prior_is_scored_by_its_bound(tmp_path, capsys, compiled_quickly):
    _, row = run(tmp_path, prior="diffusion", limit=20)
    assert row["nll"] == -row["elbo"]
    assert row["nll_standard_error"] > 0
    assert "at most minus the ELBO" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_machine_as_prior_is_scored_with_its_normalizer(tmp_path, compiled_quickly):
    _, row = run(tmp_path, prior="rbm", limit=20, posterior="full", objective="renyi", k=2)
    _, normal = run(tmp_path / "normal", limit=20, posterior="full", objective="renyi", k=2)
    assert abs(row["nll"] - normal["nll"]) < 1  # after five steps from small weights
    with Image.open(tmp_path / "run" / "curves.png") as image:
        assert image.width > 500


def test_a_machine_as_prior_has_gradients_in_every_objective(traced_once):
    new = [choice for choice in GRID if choice["prior"] == "rbm"]
    walk([new[i] for i in np.random.default_rng(3).choice(len(new), 6, replace=False)])


@pytest.mark.slow
def test_a_finished_run_resumes_to_the_same_figures(tmp_path):
    options = {"prior": "vamp", "decoder": "pixelcnn"}
    (_, first), (_, second) = run(tmp_path, **options), run(tmp_path, resume=True, **options)
    assert {**first, "train_seconds": 0} == {**second, "train_seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({"prior": "hierarchical", "decoder": "discretized-logistic"}, 2),
        ({"prior": "vamp", "decoder": "discretized-logistic", "posterior": "iaf"}, 1),
        ({"decoder": "made", "dataset": "frey-faces"}, 1),
        ({"decoder": "pixelcnn", "dataset": "frey-faces"}, 1),
        ({"decoder": "bernoulli-conv", "dataset": "binarized-mnist"}, 1),
        ({"prior": "maf", "dataset": "caltech-silhouettes", "estimator": "score-function"}, 1),
    ],
)
def test_other_data_train(tmp_path, capsys, data_dir, options, layers):
    _, row = run(tmp_path, data_dir=data_dir, particles=2, steps=2, **options)
    assert np.isfinite([row["nll"], row["elbo"], row["rate"]]).all()
    assert len(row["active_units"]) == layers
    is_grey = "discretized" in row["model"] or "frey" in options.get("dataset", "")
    assert ("bits/dim" in capsys.readouterr().out) == is_grey


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--k 0", "k must be at least 1, got 0."),
        ("--flow-layers 0", "flow_layers must be at least 1, got 0."),
        ("--learning-rate nan", "learning_rate must be positive, got nan."),
        ("--resume", "resume needs --out DIR"),
        ("--prior mog", "invalid choice 'mog'"),
        ("--batch-size 1438", "batch_size must be at most 1437"),
        ("--objective vr-max", "vr-max of one particle is the ELBO: use --k 2 or more"),
        (
            "--objective iwae --k 2 --estimator stl",
            "iwae is biased: use the doubly reparameterized",
        ),
        ("--objective vr-max --k 2 --estimator stl", "vr_max is biased: use the reparameterized"),
        ("--objective vr-max --k 2 --estimator dreg", "vr_max is not twice differentiable"),
        ("--objective renyi --k 2 --alpha inf", "alpha must be finite, got inf"),
        ("--sylvester triangular", "kind of --posterior sylvester, got diagonal"),
        ("--prior realnvp --latent 1", "couples two parts of z: use --latent 2 or more"),
        (
            "--posterior planar --estimator dreg",
            "posterior planar, .* --estimator dreg do not go together .*has no log_prob, so its "
            "density cannot be taken apart from its samples: use the reparameterized estimator",
        ),
        ("--posterior mog", "'mog' is no posterior; there are diagonal, .* resampled:N"),
        ("--posterior iaf+tempered:3", "'tempered' wraps no posterior; hamiltonian, resampled"),
        ("--posterior resampled:", "resampled needs a number of draws, such as resampled:5"),
        ("--posterior optimized:0", "optimized needs a number of gradient steps"),
        ("--posterior iaf+optimized:2", "Flow cannot be optimized: the steps move what a part's"),
        ("--posterior resampled:2+hamiltonian:1", "Hamiltonian cannot be trained here: chance"),
        ("--posterior resampled:2 --prior vamp", "Resampled has no log_prob, so it cannot make a"),
        ("--posterior optimized:2 --prior hierarchical", "takes the gradient of log p.x, z. in z"),
        ("--prior diffusion --objective iwae --k 2", "knows a bound on log p.x. alone"),
        ("--prior rbm --mmd 1", "has a prior without sample, which the comparison 'latent' draws"),
        ("--prior rbm --adversarial data", "RestrictedBoltzmann, the prior, has no sample"),
        ("--posterior naf --estimator score-function", "FlowPosterior has no log_prob"),
        (
            "--prior vamp --posterior sylvester",
            "prior vamp, --posterior sylvester, .* cannot make a VampPrior.*: use a posterior that",
        ),
        (
            "--decoder discretized-logistic --dataset binarized-mnist",
            "binarized-mnist has bits and no grey levels, .* use another --decoder, or one of "
            "digits, mnist",
        ),
        ("--dataset mnist", "pass the folder that holds mnist/ as data_dir"),
    ],
)
def test_bad_command_lines_say_what_to_do_and_exit_with_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(sys, "argv", ["mix", *arguments.split()])
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        command_line.run(mix.main, mix.Config)
    assert exit.value.code == 2
    error = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert re.search(message, error, re.IGNORECASE), error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_data_that_a_decoder_cannot_have_are_refused(data_dir):
    frey = {"dataset": "frey-faces", "data_dir": data_dir}
    with pytest.raises(ValueError, match=r"frey-faces has 256 grey levels, and a bernoulli-conv "):
        mix.main(mix.Config(decoder="bernoulli-conv", **frey))
    odd = DATASETS["bits"]._replace(train=np.zeros((50, 7, 8, 1), np.float32))
    with pytest.raises(ValueError, match=r"bernoulli-conv .* sides must be multiples of 4"):
        mix.check(mix.Config(decoder="bernoulli-conv"), odd)
