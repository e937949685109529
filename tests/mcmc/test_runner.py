"""The chain runner: bit-for-bit resumption, layouts, streaming summaries, warm-up, bad inputs."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import special

from genmix import mcmc
from genmix.mcmc import (
    binary_gibbs,
    diagnostics,
    discrete_gibbs,
    gibbs,
    hmc,
    inference_data,
    langevin,
    mala,
    metropolis_hastings,
    random_walk,
    tempering,
    warmup,
)
from genmix.mcmc.engine import layout as layouts

ROOT = Path(__file__).resolve().parents[2]


def target(x):
    """Logs of Gamma(2, 1) and Gamma(5, 1) variables, as a pytree."""
    return 2 * x["a"] - jnp.exp(x["a"]) + jnp.sum(5 * x["b"] - jnp.exp(x["b"]))


KERNEL = hmc.build(target, 0.4, 2)


def start(kernel: Any = KERNEL, num_chains=6, seed=0):
    positions = {"a": jnp.zeros(num_chains), "b": jnp.ones((num_chains, 1))}
    return mcmc.start(jax.random.key(seed), kernel, positions)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def walk():
    """Declares no noise, so the runner hands it keys."""
    return metropolis_hastings.build(
        target,
        lambda key, x: {"a": x["a"] + jax.random.normal(key), "b": 1.0 * x["b"]},
    )


@pytest.mark.parametrize("make", [lambda: KERNEL, walk], ids=["noise", "keys"])
def test_two_calls_give_what_one_call_gives(make):
    """Bit for bit, also with blocks of steps cut elsewhere, and through a copy of the state."""
    kernel = make()
    first, _ = mcmc.advance(start(kernel), kernel, num_steps=7)
    stored = jax.tree.map(np.asarray, first)
    resumed = jax.tree.map(jnp.asarray, stored)
    second, draws = mcmc.sample(resumed, kernel, num_draws=4, thinning=2)
    whole, all_draws = mcmc.sample(start(kernel), kernel, num_draws=15)
    assert_equal(second, whole)
    picked = jax.tree.map(lambda a: a[:, 8:15:2], all_draws.position)
    assert_equal(draws.position, picked)


def test_chains_do_not_depend_on_how_many_there_are():
    many, _ = mcmc.sample(start(num_chains=6), KERNEL, num_draws=5)
    few, _ = mcmc.sample(start(num_chains=2), KERNEL, num_draws=5)
    assert_equal(jax.tree.map(lambda a: a[:2], many.state.position), few.state.position)


def test_groups_give_the_same_chains(monkeypatch):
    """Three groups of two chains, one after another, and all six at once."""
    results = []
    for num_bytes in (32, 10**6):
        monkeypatch.setattr(layouts, "_GROUP_BYTES", num_bytes)
        monkeypatch.setattr(layouts, "_SMALLEST_GROUP", 2)
        kernel = random_walk.build(lambda x: target(x), 0.4)  # its own programs
        chains = start(kernel)
        limit = layouts.group_limit(chains, kernel)
        assert layouts.group_size(6, limit) == (2 if num_bytes == 32 else 6)
        moved, draws = mcmc.sample(chains, kernel, num_draws=3, thinning=2)
        moved, summary = mcmc.summarize(moved, kernel, num_batches=4, batch_size=3)
        results.append((moved, draws, summary))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *results)


@pytest.mark.parametrize("make", [lambda: KERNEL, walk], ids=["noise", "keys"])
@pytest.mark.slow
def test_layouts_give_the_same_chains(make):
    kernel = make()
    chains = start(kernel)
    runs: list[tuple[Any, dict[str, Any]]] = [
        (mcmc.sample, {"num_draws": 4, "thinning": 2}),
        (mcmc.summarize, {"num_batches": 4, "batch_size": 3, "covariance": True}),
    ]
    for run, options in runs:
        first = run(chains, kernel, layout="first", **options)
        last = run(chains, kernel, layout="last", **options)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), first, last)


def test_kernels_and_targets_of_one_structure_are_told_apart():
    """JAX calls the structures of two registered dataclasses equal if their fields are as many."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Normal:
        scale: jax.Array

        def __call__(self, x):
            return -0.5 * jnp.sum((x / self.scale) ** 2)

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Quartic:
        scale: jax.Array

        def __call__(self, x):
            return -0.25 * jnp.sum((x / self.scale) ** 4)

    def run(build, target):
        kernel = build(target(jnp.ones(())), 0.5)
        chains = mcmc.start(jax.random.key(0), kernel, jnp.ones((3, 2)))
        chains, _ = mcmc.advance(chains, kernel, num_steps=2)
        return np.asarray(chains.state.logdensity), type(chains.state)

    builds = (mcmc.random_walk.build, mcmc.mala.build, mcmc.langevin.build)
    ends = [run(build, target) for target in (Normal, Quartic) for build in builds]
    assert len({tuple(values.tolist()) for values, _ in ends}) == len(ends)
    assert ends[0][1] is not ends[1][1]


def test_streaming_summaries_are_those_of_the_draws():
    options: dict[str, Any] = {"of": lambda x: {"a": x["a"], "positive": x["b"] > 1.5}}
    chains = start(num_chains=4)
    _, draws = mcmc.sample(chains, KERNEL, num_draws=60, **options)
    _, summary = mcmc.summarize(
        chains, KERNEL, num_batches=6, batch_size=10, covariance=True, **options
    )
    a = np.asarray(draws.position["a"])
    both = np.concatenate(
        [a.reshape(-1, 1), np.asarray(draws.position["positive"]).reshape(-1, 1)], axis=1
    )
    np.testing.assert_allclose(summary.mean()["a"], np.mean(a), rtol=1e-5)
    np.testing.assert_allclose(summary.variance()["a"], np.var(a, ddof=1), rtol=1e-4)
    assert summary.covariance is not None
    np.testing.assert_allclose(summary.covariance, np.cov(both.T), rtol=1e-4, atol=1e-6)
    halves = a.reshape(8, 30)
    within = np.mean(np.var(halves, axis=1, ddof=1))
    between = np.var(np.mean(halves, axis=1), ddof=1)
    r_hat = np.sqrt(29 / 30 + between / within)
    np.testing.assert_allclose(summary.r_hat()["a"], r_hat, rtol=1e-5)
    batches = np.mean(a.reshape(24, 10), axis=1)
    mcse = np.std(batches, ddof=1) / np.sqrt(24)
    np.testing.assert_allclose(summary.mcse()["a"], mcse, rtol=1e-4)
    np.testing.assert_allclose(summary.ess()["a"], np.var(a, ddof=1) / mcse**2, rtol=1e-3)
    np.testing.assert_allclose(
        summary.mean()["positive"], np.mean(draws.position["positive"], axis=(0, 1)), rtol=1e-5
    )
    for name, value in draws.info.items():
        np.testing.assert_allclose(summary.info[name], value, rtol=1e-5)


@pytest.mark.slow
def test_means_and_ess_of_long_chains():
    """Mean and variance of log Gamma within 5 standard errors; ESS of batches near Geyer's."""
    kernel = random_walk.build(target, 1.0)
    chains, _ = mcmc.advance(start(kernel, 64), kernel, num_steps=200)
    _, summary = mcmc.summarize(chains, kernel, num_batches=10, batch_size=200)
    _, draws = mcmc.sample(chains, kernel, num_draws=2000)
    error = summary.mcse()["a"]
    assert abs(summary.mean()["a"] - special.digamma(2)) < 5 * error < 0.05
    np.testing.assert_allclose(summary.variance()["a"], special.polygamma(1, 2), rtol=0.05)
    assert summary.r_hat()["a"] < 1.01
    stored = diagnostics.ess_mean(draws.position["a"])
    np.testing.assert_allclose(summary.ess()["a"], stored, rtol=0.25)


def test_chains_that_disagree_have_a_large_r_hat():
    kernel = random_walk.build(lambda x: -0.5 * jnp.minimum((x - 9) ** 2, (x + 9) ** 2), 0.5)
    chains = mcmc.start(jax.random.key(0), kernel, jnp.array([-9.0, 9.0, 9.0]))
    _, summary = mcmc.summarize(chains, kernel, num_batches=4, batch_size=50)
    assert summary.r_hat() > 3
    assert summary.ess() < 20


def test_data_in_a_partial_are_arguments_not_constants():
    """A new data set of the same shape compiles nothing new."""
    count = 0

    def posterior(data, x):
        nonlocal count
        count += 1
        return -0.5 * jnp.sum((x - data) ** 2)

    means, traces = [], []
    for data in (jnp.zeros(50), jnp.zeros(50) + 3):
        kernel = random_walk.build(Partial(posterior, data), 0.2)
        chains = mcmc.start(jax.random.key(0), kernel, jnp.zeros(8))
        _, draws = mcmc.sample(chains, kernel, num_draws=200)
        means.append(float(jnp.mean(draws.position[:, 100:])))
        traces.append(count)
    assert traces[0] == traces[1]
    np.testing.assert_allclose(means, [0, 3], atol=0.1)


@pytest.mark.parametrize("covariance", ["fixed", "diagonal", "dense"])
def test_warmup_finds_acceptance_and_covariance(covariance):
    scales = np.array([0.1, 10.0])
    mix = np.array([[1.0, 0.0], [0.6, 0.8]]) if covariance == "dense" else np.eye(2)
    tril = scales[:, None] * mix
    precision = np.linalg.inv(tril @ tril.T)
    kernel = hmc.build(lambda x: -0.5 * x @ precision @ x, 0.01, 4)
    chains = mcmc.start(jax.random.key(0), kernel, jnp.ones((32, 2)))
    chains, warm, report = warmup.run(
        chains, kernel, num_steps=300, target_acceptance=0.8, covariance=covariance
    )
    assert report.step_size.shape == (300,)
    _, draws = mcmc.sample(chains, warm, num_draws=200)
    # step sizes averaged on a log scale end a little short, on the side of more acceptance
    assert 0.75 < np.mean(draws.info["acceptance_rate"]) < 0.97
    if covariance == "fixed":
        assert warm.preconditioner == 1
        assert warm.step_size < 0.2
    else:
        square = warm.preconditioner
        found = np.diag(square**2) if covariance == "diagonal" else square @ square.T
        np.testing.assert_allclose(found, tril @ tril.T, rtol=0.25, atol=0.1)
        assert warm.step_size > 0.5
        assert diagnostics.ess_mean(draws.position[:, :, 1]) > 1000


def test_warm_hmc_mixes_on_a_normal_target():
    """At the step size that warm-up finds, 20 steps of one size lead to -x, and 40 back to x."""
    kernel = hmc.build(lambda x: -0.5 * jnp.sum(x**2), 0.1, 20)
    chains = mcmc.start(jax.random.key(1), kernel, jax.random.normal(jax.random.key(1), (4, 10)))
    chains, warm, _ = warmup.run(chains, kernel, num_steps=400, target_acceptance=0.8)
    _, draws = mcmc.sample(chains, warm, num_draws=500)
    assert np.max(diagnostics.r_hat(draws.position)) < 1.02
    assert np.min(diagnostics.ess_bulk(draws.position**2)) > 500


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "build",
    [
        lambda f: random_walk.build(f, 0.5, covariance=np.eye(3)),
        lambda f: mala.build(f, 0.5),
        lambda f: langevin.build(f, 0.5, covariance=np.ones(3)),
        lambda f: hmc.build(f, np.float64(0.5), 3),
        lambda f: metropolis_hastings.build(f, lambda key, x: x + jax.random.normal(key, (3,))),
        lambda f: gibbs.build([lambda key, x: 0.5 * x + jax.random.normal(key, (3,))]),
    ],
    ids=["random walk", "mala", "langevin", "hmc", "metropolis_hastings", "gibbs"],
)
def test_positions_keep_their_precision(build):
    """With x64 on, step sizes, covariances and a user's noise are of twice the bits."""
    kernel = build(lambda x: -0.5 * jnp.sum(x**2 * np.arange(1.0, 4.0)))
    chains = mcmc.start(jax.random.key(0), kernel, jnp.ones((4, 3), jnp.float32))
    chains, draws = mcmc.sample(chains, kernel, num_draws=3)
    assert draws.position.dtype == jnp.float32
    assert np.all(np.std(draws.position, axis=(0, 1)) > 0.1)
    _, moments = mcmc.summarize(chains, kernel, num_batches=4, batch_size=2)
    assert moments.mean().dtype == jnp.float32


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("covariance", ["diagonal", "dense"])
def test_warmup_keeps_the_precision_of_positions(covariance):
    kernel = hmc.build(lambda x: -0.5 * jnp.sum(x**2 / np.array([1.0, 4.0])), 0.3, 3)
    chains = mcmc.start(jax.random.key(0), kernel, jnp.ones((16, 2), jnp.float32))
    chains, warm, _ = warmup.run(
        chains, kernel, num_steps=100, target_acceptance=0.8, covariance=covariance
    )
    assert chains.state.position.dtype == warm.preconditioner.dtype == jnp.float32
    _, draws = mcmc.sample(chains, warm, num_draws=100)
    np.testing.assert_allclose(np.var(draws.position, axis=(0, 1)), [1, 4], rtol=0.3)


def test_windows_cover_the_middle_and_end():
    for num_steps in (20, 100, 1000, 5000):
        in_window, is_end = warmup.windows(num_steps)
        inside = np.flatnonzero(in_window)
        assert inside[0] == round(0.15 * num_steps)
        assert is_end[inside[-1]]
        assert not np.any(is_end & ~in_window)
        assert not np.any(in_window[num_steps - round(0.1 * num_steps) :])


@pytest.mark.slow
def test_nuts_of_blackjax_runs_in_the_runner(request):
    """Means of log Gamma within 5 standard errors; it resumes bit for bit too."""
    import blackjax

    request.addfinalizer(lambda: jax.config.update("jax_debug_key_reuse", True))
    jax.config.update("jax_debug_key_reuse", False)  # its mapped loops select among keys
    kernel = blackjax.nuts(target, step_size=0.5, inverse_mass_matrix=jnp.ones(2))
    chains, _ = mcmc.advance(start(kernel, 16), kernel, num_steps=50)
    end, draws = mcmc.sample(chains, kernel, num_draws=200)
    assert 0.5 < np.mean(draws.info["acceptance_rate"]) <= 1
    a = draws.position["a"]
    assert abs(np.mean(a) - special.digamma(2)) < 5 * diagnostics.mcse(a) < 0.15
    half, _ = mcmc.advance(chains, kernel, num_steps=100)
    again, _ = mcmc.advance(half, kernel, num_steps=100)
    assert_equal(again.state.position, end.state.position)


@pytest.mark.slow
def test_nuts_is_warmed_up_as_the_page_says(request):
    request.addfinalizer(lambda: jax.config.update("jax_debug_key_reuse", True))
    jax.config.update("jax_debug_key_reuse", False)  # its mapped loops select among keys
    page = (ROOT / "docs" / "reference" / "mcmc.md").read_text(encoding="utf-8")
    (code,) = re.findall(r'```python title="nuts.py"\n(.*?)```', page, re.DOTALL)
    names: dict[str, Any] = {"__name__": "nuts"}
    exec(code, names)
    kernel, draws = names["kernel"], names["draws"]
    assert 0.5 < kernel.step_size < 1.5
    np.testing.assert_allclose(kernel.preconditioner, [0.1, 1, 10], rtol=0.2)
    assert np.max(diagnostics.r_hat(draws.position)) < 1.05


def test_draws_go_to_arviz():
    _, draws = mcmc.sample(start(), KERNEL, num_draws=8)
    posterior = inference_data.from_draws(draws)["posterior"]
    np.testing.assert_array_equal(posterior["a"].values, draws.position["a"])
    np.testing.assert_array_equal(posterior["b"].values, draws.position["b"])


def draws_of(**position):
    return mcmc.Draws(position, {})


def test_nested_draws_go_to_arviz_by_their_paths():
    x = np.arange(16.0).reshape(2, 8)
    posterior = inference_data.from_draws(draws_of(a={"b": x, "c": (x + 1, x + 2)}))["posterior"]
    assert sorted(posterior.data_vars) == ["a.b", "a.c.0", "a.c.1"]
    np.testing.assert_array_equal(posterior["a.c.1"].values, x + 2)
    posterior = inference_data.from_draws(draws_of(**{"a/b": x}))["posterior"]
    np.testing.assert_array_equal(posterior["a.b"].values, x)


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ({"draw": 1, "b": 1}, r"\['draw'\] are names that ArviZ gives to axes"),
        ({"chain": 1}, r"\['chain'\] are names that ArviZ gives to axes"),
        ({"a.b": 1, "a": {"b": 1}}, r"a name of its own, got \['a.b'\] twice"),
    ],
)
def test_draws_that_arviz_would_lose_are_refused(position, message):
    position = jax.tree.map(lambda _: np.ones((2, 8)), position)
    with pytest.raises(ValueError, match=message):
        inference_data.from_draws(draws_of(**position))


def edge(x):
    """An exponential density: -inf below 0, and NaN beyond 5."""
    return jnp.where(x < 0, -jnp.inf, jnp.where(x > 5, jnp.nan, -x))


@pytest.mark.parametrize(
    "build",
    [
        lambda: random_walk.build(edge, 3.0),
        lambda: mala.build(edge, 4.0),
        lambda: langevin.build(edge, 4.0),
        lambda: hmc.build(edge, 1.5, 2),
        lambda: metropolis_hastings.build(edge, lambda key, x: x + 3 * jax.random.normal(key)),
    ],
)
def test_bad_proposals_are_refused_and_flagged(build):
    kernel = build()
    chains = mcmc.start(jax.random.key(0), kernel, jnp.ones(50))
    chains, draws = mcmc.sample(chains, kernel, num_draws=20)
    assert np.all((draws.position >= 0) & (draws.position <= 5))
    assert np.mean(draws.info["is_off_support"]) > 0.05
    assert np.mean(draws.info["is_divergent"]) > 0.002
    assert np.all(draws.info["is_invalid"] == 0)
    rejected = 1 - np.mean(draws.info["is_accepted"])
    flagged = np.mean(draws.info["is_off_support"] + draws.info["is_divergent"])
    assert rejected >= flagged - 1e-6


def test_a_chain_off_the_support_is_refused_or_flagged():
    kernel = random_walk.build(edge, 1.0)
    with pytest.raises(ValueError, match=r"2 of 3 chains start .* first chain 1 \(-inf\)"):
        mcmc.start(jax.random.key(0), kernel, jnp.array([1.0, -1.0, 9.0]))
    begin = jax.jit(lambda key, x: mcmc.start(key, kernel, x))
    chains = begin(jax.random.key(0), jnp.array([1.0, -1.0, 9.0]))
    chains, info = mcmc.advance(chains, kernel, num_steps=30)
    assert info["is_invalid"][0] == 0
    assert 0 < info["is_invalid"][1] < 1, "it finds the support, and says that it was off it"
    assert chains.state.position[1] >= 0
    assert info["is_invalid"][2] == 1
    assert chains.state.position[2] == 9, "a chain at a NaN stays"


def nothing(x):
    return jnp.sum(x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random_walk.build(nothing, 0.0), ValueError, r"step_size must be .*, got 0\.0"),
        (lambda: mala.build(nothing, -1.0), ValueError, r"step_size must be positive"),
        (lambda: langevin.build(nothing, np.nan), ValueError, r"step_size must be positive"),
        (lambda: hmc.build(nothing, np.inf, 3), ValueError, r"step_size must be positive"),
        (lambda: hmc.build(nothing, 0.1, 0), ValueError, r"num_leapfrog must be at least 1"),
        (
            lambda: hmc.build(nothing, 0.1, 3, jitter=1.0),
            ValueError,
            r"jitter must be at least 0 and below 1, got 1\.0",
        ),
        (
            lambda: hmc.build(nothing, 0.1, 3, inverse_mass=np.array([1.0, 0.0])),
            ValueError,
            r"inverse_mass must be positive and finite",
        ),
        (
            lambda: hmc.build(nothing, 0.1, 3, inverse_mass=np.array([[1.0, 2.0], [2.0, 1.0]])),
            ValueError,
            r"inverse_mass must be positive definite",
        ),
        (
            lambda: random_walk.build(nothing, 0.1, covariance=np.ones((2, 3))),
            ValueError,
            r"covariance must have shape \[d\] or \[d, d\], got \[2, 3\]",
        ),
        (
            lambda: advance(
                random_walk.build(nothing, 0.1, covariance=np.ones(2)), jnp.ones((2, 3))
            ),
            ValueError,
            r"covariance is for 2 numbers, but the position has 3",
        ),
        (
            lambda: advance(random_walk.build(lambda x: x, 0.1), jnp.ones((2, 3))),
            ValueError,
            r"one real number for one position, got float32\[3\]",
        ),
        (
            lambda: advance(random_walk.build(nothing, 0.1), jnp.ones((2, 3), int)),
            TypeError,
            r"moves real numbers, got a position with an array of int32",
        ),
        (
            lambda: mcmc.start(jax.random.key(0), random_walk.build(nothing, 0.1), jnp.ones(())),
            ValueError,
            r"stacked along the first axis of every array; got shapes \[\(\)\]",
        ),
        (
            lambda: mcmc.start(
                jax.random.key(0),
                random_walk.build(target, 0.1),
                {"a": jnp.ones(3), "b": jnp.ones((2, 1))},
            ),
            ValueError,
            r"stacked along the first axis",
        ),
        (lambda: gibbs.build([]), ValueError, "updates must hold at least one function"),
        (
            lambda: gibbs.build([lambda key, x: x], scan="reverse"),
            ValueError,
            "scan must be 'systematic' or 'random', got 'reverse'",
        ),
        (lambda: discrete_gibbs.build(nothing, 1), ValueError, "num_states must be at least 2"),
        (
            lambda: binary_gibbs.build(np.ones((2, 2)), np.ones(2)),
            ValueError,
            "symmetric matrix with a zero diagonal",
        ),
        (
            lambda: binary_gibbs.build(np.zeros((2, 2)), np.ones(2), blocks=[[0]]),
            ValueError,
            r"each of the 2 variables once, got \(\(0,\),\)",
        ),
        (
            lambda: binary_gibbs.build(1 - np.eye(2), np.ones(2), blocks=[[0, 1]]),
            ValueError,
            r"variables \(0, 1\) of one block are coupled",
        ),
        (
            lambda: tempering.build(nothing, nothing, random_walk.build, [0.5, 0.2, 1.0]),
            ValueError,
            "rise strictly from 0 or more to 1",
        ),
        (
            lambda: warmup.run(start(), KERNEL, num_steps=10, target_acceptance=0.8),
            ValueError,
            "num_steps must be at least 20, got 10",
        ),
        (
            lambda: warmup.run(start(), KERNEL, num_steps=30, target_acceptance=1.2),
            ValueError,
            r"target_acceptance must be between 0 and 1, got 1\.2",
        ),
        (
            lambda: warmup.run(start(walk()), walk(), num_steps=30, target_acceptance=0.3),
            TypeError,
            "has no step_size and preconditioner to adapt",
        ),
        (
            lambda: mcmc.sample(start(), KERNEL, num_draws=0),
            ValueError,
            "num_draws must be at least 1, got 0",
        ),
        (
            lambda: mcmc.summarize(start(), KERNEL, num_batches=5, batch_size=3),
            ValueError,
            "num_batches must be even and at least 4, got 5",
        ),
    ],
)
def test_arguments_that_make_no_sense_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def advance(kernel, positions):
    chains = mcmc.start(jax.random.key(0), kernel, positions)
    return mcmc.advance(chains, kernel, num_steps=1)


def test_chains_do_not_depend_on_the_mesh():
    """On four virtual devices: equal to one device, and nothing but the summary communicates."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    run = subprocess.run(
        [sys.executable, "-m", "tests.mcmc.sharded_program"],
        capture_output=True,
        text=True,
        env=os.environ | {"XLA_FLAGS": flags},
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["devices"] == 4
    for name in ("draws", "mean", "r_hat", "covariance", "step_size", "preconditioner"):
        np.testing.assert_allclose(
            result["split"][name], result["one"][name], rtol=1e-4, atol=1e-5, err_msg=name
        )
    assert result["collectives"] == 0
    assert "must be a multiple of 4" in result["refused"]
