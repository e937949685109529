"""Draws the pictures of the pages: python docs/pictures.py.

What is drawn is computed by the code of the pages themselves.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from genmix import bounds, capabilities, families

DOCS = Path(__file__).parent
BLUE, RED, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"


def run_page(name: str) -> dict[str, Any]:
    """Run the Python blocks of a page, and hand out what they define."""
    text = (DOCS / name).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, name, "exec"), namespace)
    return namespace


def save(figure: Figure, name: str) -> None:
    figure.savefig(DOCS / "images" / name, dpi=110)


def log_weights(page: dict[str, Any]) -> None:
    """Distribution of the log of the mean of k weights, and its mean, the bound L_k."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    exact, one = float(page["exact"]), page["log_weights"]
    rows = figure.subplots(3, 1, sharex=True)
    grid = np.linspace(exact - 3.2, exact + 1.2, 111)
    for axes, k, colour in zip(rows, (1, 5, 50), (BLUE, GREEN, PURPLE), strict=True):
        drawn = np.asarray(jax.vmap(bounds.iwae.bound)(one.reshape(-1, k)))
        axes.hist(drawn, grid, density=True, color=colour, alpha=0.35)
        axes.axvline(drawn.mean(), color=colour, linewidth=2)
        name = "ELBO" if k == 1 else rf"$L_{{{k}}}$"
        axes.annotate(name, (drawn.mean(), 0.8), xycoords=("data", "axes fraction"),
                      xytext=(-6, 0), textcoords="offset points", ha="right", color=colour,
                      fontsize=11)  # fmt: skip
        axes.axvline(exact, color="black", linestyle="--", linewidth=1)
        axes.set(yticks=[], ylabel=f"k = {k}")
        axes.spines[["left", "top", "right"]].set_visible(False)
    rows[0].annotate(r"$\log p(x)$", (exact, 0.8), xycoords=("data", "axes fraction"),
                     xytext=(6, 0), textcoords="offset points", fontsize=11)  # fmt: skip
    rows[-1].set_xlabel("log of the mean of k weights (nats)")
    save(figure, "log_weights.png")


class Energy(nnx.Module):
    """An energy-based model that only knows its density up to a constant."""

    def log_unnormalized(self, x, cond=None):
        return -jnp.sum(x**4)


def parts(page: dict[str, Any]) -> list[Any]:
    normal = families.StandardNormal(2)
    factorized = families.Normal(lambda c: c)
    binary = families.Bernoulli(lambda c: c)
    return [
        normal,
        families.GaussianMixture(3, 2, rngs=nnx.Rngs(0)),
        factorized,
        families.FullNormal(lambda c: c, 2),
        binary,
        families.Categorical(lambda c: c, num_levels=2),
        families.DiscretizedLogistic(lambda c: c, num_levels=256),
        families.LatentVariableModel(prior=normal, likelihood=binary, posterior=factorized),
        page["Generator"](),
        Energy(),
    ]


def can(check: Any, *arguments: Any) -> bool:
    try:
        check(*arguments)
    except TypeError:
        return False
    return True


def capability_table(page: dict[str, Any]) -> None:
    """Which part has which method, and which role it can play, asked of the parts themselves."""
    methods = {
        "sample": capabilities.Samples,
        "sample_and_log_prob": capabilities.Reparameterized,
        "log_prob": capabilities.ExactDensity,
        "log_weight": capabilities.Weighted,
        "log_unnormalized": capabilities.Unnormalized,
    }
    roles = {
        "prior, likelihood": lambda part: can(capabilities.require_weighted, part, "prior"),
        "posterior": lambda part: can(capabilities.require_posterior, part),
        "reparameterized posterior": lambda part: can(capabilities.require_reparameterized, part),
    }
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.add_subplot()
    every = parts(page)
    for row, part in enumerate(every):
        for column, protocol in enumerate(methods.values()):
            if isinstance(part, protocol):
                axes.plot(column, row, "o", color=BLUE, markersize=10)
        for column, plays in enumerate(roles.values(), len(methods) + 1):
            if plays(part):
                axes.plot(column, row, "s", color=RED, markersize=10)
        if row % 2:
            axes.axhspan(row - 0.5, row + 0.5, color="0.94", zorder=0, linewidth=0)
    columns = [*range(len(methods)), *range(len(methods) + 1, len(methods) + 1 + len(roles))]
    axes.set_xticks(columns, [*methods, *roles], rotation=35, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(every)), [type(part).__name__ for part in every])
    axes.xaxis.tick_top()
    for i, label in enumerate(axes.get_xticklabels()):
        label.set_color(BLUE if i < len(methods) else RED)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.6, columns[-1] + 0.6), ylim=(len(every) - 0.5, -0.5))
    save(figure, "capabilities.png")


def game(page: dict[str, Any]) -> None:
    """The order of moves, and what the number of critic steps does to the generator."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    moves, paths = figure.subplots(1, 2, width_ratios=(1, 1.25))
    for start in (0, 4):
        for i, (lane, colour) in enumerate([(1, BLUE), (1, BLUE), (1, BLUE), (0, RED)]):
            box = Rectangle((start + i + 0.06, lane + 0.12), 0.88, 0.76, color=colour, alpha=0.75)
            moves.add_patch(box)
        moves.plot([start + 4] * 2, [0, 2.05], color="0.5", linewidth=1)
        name = f"round {start // 4 + 1}"
        moves.text(start + 2, 2.12, name, ha="center", color="0.3")
    moves.text(-0.2, 1.5, "critic", ha="right", va="center", color=BLUE, fontsize=11)
    moves.text(-0.2, 0.5, "generator", ha="right", va="center", color=RED, fontsize=11)
    moves.set(xlim=(-2.6, 8.2), ylim=(-0.4, 2.5))
    moves.text(4, -0.3, "moves in time, each on a batch of its own", ha="center", color="0.3")
    moves.set_axis_off()
    for steps, colour in ((1, ORANGE), (10, GREEN)):
        rounds, shift = page["play"](steps).history["generator/shift"]
        name = f"{steps} critic step{'s' if steps > 1 else ''} a round"
        paths.plot(rounds, shift, color=colour, linewidth=2, label=name)
    paths.axhline(0, color="black", linestyle="--", linewidth=1)
    paths.set(xlabel="round", ylabel="shift of the generator (right: 0)")
    paths.legend(frameon=False)
    paths.spines[["top", "right"]].set_visible(False)
    save(figure, "game.png")


def experiment() -> None:
    """The curves of the experiment page, from a run of its file with the defaults."""
    text = (DOCS / "from_a_bound_to_an_experiment.md").read_text(encoding="utf-8")
    match = re.search(r'^```python title="ciwae.py"\n(.*?)^```$', text, re.DOTALL | re.MULTILINE)
    assert match is not None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ciwae.py").write_text(match[1], encoding="utf-8")
        sys.path.insert(0, folder)
        import ciwae  # pyright: ignore[reportMissingImports]

        ciwae.main(ciwae.Config(out=Path(folder) / "run"))
        (DOCS / "images" / "ciwae.png").write_bytes(
            (Path(folder) / "run" / "bounds.png").read_bytes()
        )


def main() -> None:
    mpl.use("agg")
    (DOCS / "images").mkdir(exist_ok=True)
    page = run_page("three_ideas.md")
    log_weights(page)
    capability_table(page)
    game(page)
    experiment()


if __name__ == "__main__":
    main()
