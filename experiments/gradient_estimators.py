"""Bias, variance and signal-to-noise ratio of gradients: python -m experiments.gradient_estimators.

A small VAE is trained briefly on binarized digits and held fixed. Then each estimator's gradient of
the same bound on the same images is drawn many times. A second model, whose latents are bits, has
gradients that are known exactly.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import study
from genmix import bounds, data, objectives
from genmix.bounds import baselines
from genmix.data import Dataset
from genmix.evaluation import gradients, pictures
from genmix.families import (
    Bernoulli,
    LatentVariableModel,
    Normal,
    StandardNormal,
    log_weight,
)
from genmix.nets import MLP
from genmix.objectives import Term
from genmix.runs import command_line
from genmix.training import Game, Player

PATHWISE = {
    "plain": bounds.reparameterized,
    # It is measured for the bound for which it is biased, too.
    "STL": dataclasses.replace(bounds.sticking_the_landing, needs_linear=False),
    "DReG": bounds.doubly_reparameterized,
    "weighted": bounds.weighted,
    "resampled": bounds.resampled,
}
SCORE_FUNCTIONS = {
    "score, no baseline": bounds.score_function(baselines.none),
    "score, running mean": bounds.score_function(baselines.running_mean()),
    "score, input-dependent": bounds.score_function(baselines.input_dependent("baseline")),
    "score, leave-one-out": bounds.score_function(baselines.leave_one_out),
}
GROUPS = {
    "likelihood": "model.likelihood.",
    "posterior": "model.posterior.",
}
BLOCKS = 20  # of draws; errors come from leaving out one at a time
ROWS = 10_000  # (image, particle) pairs that are differentiated together: this bounds memory
BITS = 6


DRAWS = study.Rule(
    lambda value: value >= 2 * BLOCKS and value % BLOCKS == 0,
    f"be a multiple of {BLOCKS}, at least {2 * BLOCKS}",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(study.Training):
    """Defaults take less than three minutes on two CPU cores."""

    k: tuple[study.Count, ...] = (1, 2, 5, 10, 50, 100)
    """Particles of the importance-weighted bound."""
    table_k: study.Count = 5
    """Particles at which the tables show all estimators; the ELBO is measured at 1 and here."""
    draws: Annotated[int, DRAWS] = 4000
    """Gradients drawn of each estimator, a multiple of 20."""
    reference: study.Count = 4
    """The reference gradient is the mean of this many times `draws` plain gradients."""
    images: study.Count = 5
    """Images that make up the batch, the same for all."""
    steps: study.Count = 1000
    """Training steps before the models are held fixed."""
    train_k: study.Count = 10
    """Particles of the bound that trains the model; 1 is the ELBO, under which posteriors become
    narrower than the true ones, and weights heavy-tailed."""
    batch_size: study.Count = 50
    learning_rate: study.Positive = 3e-3
    """The same from start to end."""
    hidden: study.Count = 50
    """Width of the hidden layers."""
    latent: study.Count = 3
    """Dimensions of z."""


def normal_model(config: Config, rngs: nnx.Rngs) -> LatentVariableModel:
    hidden, shape = (config.hidden, config.hidden), (8, 8, 1)
    return LatentVariableModel(
        prior=StandardNormal(config.latent),
        likelihood=Bernoulli(MLP(config.latent, hidden, shape, rngs=rngs)),
        posterior=Normal(MLP(shape, hidden, config.latent, rngs=rngs)),
    )


def discrete_model(config: Config, rngs: nnx.Rngs) -> LatentVariableModel:
    hidden, shape = (config.hidden, config.hidden), (8, 8, 1)
    return LatentVariableModel(
        prior=Bernoulli(lambda cond: jnp.zeros(BITS)),  # fair coins
        likelihood=Bernoulli(MLP(BITS, hidden, shape, rngs=rngs)),
        posterior=Bernoulli(MLP(shape, hidden, BITS, rngs=rngs)),
    )


def objective(bound: str, estimator: str, k: int) -> Term:
    """The term that training would minimise, so what is measured is what training uses."""
    terms: dict[str, Callable[..., Term]] = {"elbo": objectives.elbo, "iwae": objectives.iwae}
    chosen = (PATHWISE | SCORE_FUNCTIONS)[estimator]
    return terms[bound](k, estimator=chosen).of("model")


def variant(config: Config, dataset: Dataset, name: str, loss: Term, model: Any) -> study.Variant:
    """Two players: one trains the model, the other fits the baseline, x -> log-weight."""
    baseline = MLP((8, 8, 1), (config.hidden,), 1, rngs=nnx.Rngs(config.seed + 1))
    optimizer = optax.adam(config.learning_rate)
    fit_baseline = objective("elbo", "score, input-dependent", 1)
    return study.Variant(
        name=name,
        row={"model": name},
        build=lambda: Game(model=model(config, nnx.Rngs(config.seed)), baseline=baseline),
        players=[
            Player(name="model", loss=loss, optimizer=optimizer),
            Player(name="baseline", loss=fit_baseline, optimizer=optimizer),
        ],
        data=dataset.train,
        plan=config.plan(transform=data.binarize),
    )


@jax.jit
def running_mean(key: jax.Array, judged: Game, x: jax.Array) -> baselines.RunningMean:
    """What the running mean has come to: the mean log-weight of all training images."""
    binary_key, weight_key = jax.random.split(key)
    keys = jax.random.split(weight_key, len(x))
    one = lambda key, x: log_weight(judged.model, key, x)
    log_weights = jax.vmap(one)(keys, data.binarize(binary_key, x))
    return baselines.RunningMean(jnp.mean(log_weights), jnp.ones(()))


@functools.partial(jax.jit, static_argnames=("terms", "num_draws", "together"))
def draw(
    key: jax.Array,
    terms: tuple[tuple[str, Term], ...],
    judged: Game,
    carry: baselines.RunningMean,
    x: jax.Array,
    num_draws: int,
    together: int,
) -> dict[str, dict[str, gradients.Moments]]:
    """Moments by name of the term and group, for gradients drawn `together` at a time.

    All terms see the same random numbers, and one program: the compiler draws the particles, and
    computes what the estimators share, once.
    """

    def one(key):
        def bound(term, name):
            own = carry if name == "score, running mean" else ()
            return lambda judged: -term(judged, jax.random.clone(key), x, own)[0]

        return {name: gradients.by_group(bound(term, name), judged, GROUPS) for name, term in terms}

    return gradients.moments(
        key,
        one,
        num_blocks=BLOCKS,
        draws_per_block=num_draws // BLOCKS,
        draws_at_once=together,
    )


def exact_gradient(
    judged: Game, x: jax.Array, bound: Callable[[jax.Array], jax.Array], k: int
) -> dict[str, np.ndarray]:
    """Gradient of a bound's expectation by a sum over all that k particles of bits can be."""
    states = jnp.array(list(itertools.product((0.0, 1.0), repeat=BITS)))
    particles = jnp.array(list(itertools.product(range(len(states)), repeat=k)))

    def expectation(judged):
        def one(x):
            model = judged.model
            log_q = jax.vmap(lambda z: model.posterior.log_prob(z, x))(states)
            log_joint = lambda z: model.prior.log_prob(z) + model.likelihood.log_prob(x, z)
            log_w = jax.vmap(log_joint)(states) - log_q
            values = jax.vmap(bound)(log_w[particles])
            return jnp.vdot(jnp.exp(jnp.sum(log_q[particles], axis=1)), values)

        return jnp.mean(jax.vmap(one)(x))

    gradient = jax.jit(lambda judged: gradients.by_group(expectation, judged, GROUPS))
    return jax.device_get(gradient(judged))


def measure(
    config: Config,
    judged: Game,
    dataset: Dataset,
    bound: str,
    k: int,
    estimators: Iterable[str],
    exact: dict[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Rows of figures for one bound; an exact gradient, where known, is the reference."""
    size = config.draws // BLOCKS
    fitting = [n for n in range(1, size + 1) if size % n == 0 and n * k * config.images <= ROWS]
    mean_key, reference_key, key = jax.random.split(
        jax.random.fold_in(jax.random.key(config.seed), k), 3
    )
    moments = functools.partial(
        draw,
        judged=judged,
        carry=running_mean(mean_key, judged, jnp.asarray(dataset.train)),
        x=jnp.asarray(dataset.test[: config.images]),
        together=max(fitting, default=1),
    )
    if exact is None:
        plain = (("plain", objective(bound, "plain", k)),)
        num_draws = config.reference * config.draws
        drawn = moments(reference_key, plain, num_draws=num_draws)["plain"]
        references = {group: np.asarray(drawn[group].means) for group in GROUPS}
    else:
        references = {g: np.broadcast_to(exact[g], (BLOCKS, *exact[g].shape)) for g in GROUPS}
    # Leaving the others out needs others.
    names = [name for name in estimators if k > 1 or name != "score, leave-one-out"]
    terms = tuple((name, objective(bound, name, k)) for name in names)
    drawn = jax.device_get(moments(key, terms, num_draws=config.draws))
    return [
        {"bound": bound, "k": k, "estimator": name, "parameters": group}
        | gradients.quality(drawn[name][group], references[group])
        for name in names
        for group in GROUPS
    ]


def measure_normal(config: Config, dataset: Dataset, judged: Game) -> list[dict[str, Any]]:
    """ELBO with 1 and several particles, and the importance-weighted bound with all."""
    measured = functools.partial(measure, config, judged, dataset)
    # With one particle both bounds are the same.
    settings = [("elbo", 1), ("elbo", config.table_k)]
    settings += [("iwae", k) for k in sorted({*config.k, config.table_k}) if k > 1]
    names = [*PATHWISE, *SCORE_FUNCTIONS]
    rows = (measured(bound, k, names) for bound, k in dict.fromkeys(settings))
    return list(itertools.chain(*rows))


def measure_discrete(config: Config, dataset: Dataset, judged: Game) -> list[dict[str, Any]]:
    """Both bounds with one and two particles, whose gradients are sums over all states."""
    x = jnp.asarray(dataset.test[: config.images])
    rows = []
    for bound, k in (("elbo", 1), ("elbo", 2), ("iwae", 2)):
        function = bounds.elbo.bound if bound == "elbo" else bounds.iwae.bound
        exact = exact_gradient(judged, x, function, k)
        rows += measure(config, judged, dataset, bound, k, SCORE_FUNCTIONS, exact)
    return rows


def snr_by_k(rows: Sequence[study.Row], group: str) -> dict[str, dict[int, study.Row]]:
    """{estimator: {k: its row}} of the gradient of the importance-weighted bound."""
    table: dict[str, dict[int, study.Row]] = {}
    for row in rows:
        of_bound = row["bound"] == "iwae" or row["k"] == 1
        if row["model"] == "normal" and row["parameters"] == group and of_bound:
            table.setdefault(row["estimator"], {})[row["k"]] = row
    return table


def draw_snr(rows: Sequence[study.Row], path: Path) -> None:
    """Signal-to-noise ratios against k, where they are above two of their errors."""
    labels = {name: name for name in (*PATHWISE, *SCORE_FUNCTIONS)} | {"STL": "STL (biased)"}
    for twin in ("weighted", "score, running mean", "score, input-dependent"):
        del labels[twin]  # drawn they would hide others, or be hidden
    panels = {}
    for group in GROUPS:
        curves = panels[f"gradient for the {group}"] = {}
        for name, label in labels.items():
            own = snr_by_k(rows, group).get(name, {}).values()
            clear = [row for row in own if row["snr"] > 2 * row["snr_standard_error"]]
            curves[label] = [float(row["k"]) for row in clear], [row["snr"] for row in clear]
    pictures.save_log_panels(
        path,
        panels,
        x_label="particles k",
        y_label="signal-to-noise ratio",
        powers={"slope 1/2": 0.5, "slope -1/2": -0.5},
    )


def tables(config: Config) -> list[study.Table]:
    """All estimators of each bound, likelihood first; then ratios against the particles."""
    latents = {"normal": "normal latents", "discrete": "bits as latents, exact reference"}
    of_row = {
        "gradient for": "{parameters}",
        "estimator": "{estimator}",
        "bias, %": lambda r: f"{100 * r['bias']:+.1f} ± {100 * r['bias_standard_error']:.1f}",
        "variance": "{variance:.3g}",
        "SNR": "{snr:.3f}",
    }

    def of_bound(model: str, bound: str, k: int) -> study.Table:
        chosen = lambda rows: sorted(
            (r for r in rows if (r["model"], r["bound"], r["k"]) == (model, bound, k)),
            key=lambda r: r["parameters"],
        )
        name = "ELBO" if bound == "elbo" else "L_k"
        return study.Table(f"{name}, k = {k} ({latents[model]})", of_row, chosen)

    def of_ratios(group: str) -> study.Table:
        ks = sorted({1, *config.k, config.table_k})
        ratios = lambda rows: [
            {"estimator": name} | {f"k{k}": own[k]["snr"] if k in own else None for k in ks}
            for name, own in snr_by_k(rows, group).items()
        ]
        columns = {"estimator": "{estimator}"} | {f"k = {k}": f"{{k{k}:.3f}}" for k in ks}
        title = f"{group}: signal-to-noise ratio of the gradient of L_k"
        return study.Table(title, columns, ratios)

    k = config.table_k
    shown = [("normal", "elbo", 1), ("normal", "elbo", k), ("normal", "iwae", k)]
    shown += [("discrete", "elbo", 1), ("discrete", "elbo", 2), ("discrete", "iwae", 2)]
    return [of_bound(*which) for which in dict.fromkeys(shown)] + [of_ratios(g) for g in GROUPS]


def experiment(config: Config) -> study.Study:
    dataset = data.load("digits")
    if config.images > len(dataset.test):
        raise ValueError(
            f"images must be at most {len(dataset.test)}, the test images of digits; got "
            f"{config.images}."
        )
    measures = {"normal": measure_normal, "discrete": measure_discrete}
    measured: list[study.Row] = []

    def measure_all(result: study.Result) -> list[dict[str, Any]]:
        rows = measures[result.name](config, dataset, result.model)
        measured.extend({**result.row, **row} for row in rows)
        return rows

    by_pathwise = objective("iwae", "plain", config.train_k)
    by_scores = objective("elbo", "score, leave-one-out", 4)
    return study.Study(
        variants=[
            variant(config, dataset, "normal", by_pathwise, normal_model),
            variant(config, dataset, "discrete", by_scores, discrete_model),
        ],
        measure=measure_all,
        draw=lambda out, found: draw_snr(measured, out / "snr.png"),
        tables=tables(config),
        units="variance: nats^2 per parameter unit^2, summed over the group; bias: in units of the "
        "gradient's length, along the gradient; squared_bias: of its squared length",
    )


def main(config: Config) -> list[dict[str, Any]]:
    return study.run("gradient_estimators", config, experiment)


if __name__ == "__main__":
    command_line.run(main, Config)
