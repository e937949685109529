"""Diagnostics against ArviZ, and against what is known of autoregressive chains."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.mcmc import diagnostics


def chains(num_chains, num_draws, correlation, *, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    x = np.empty((num_chains, num_draws))
    x[:, 0] = rng.normal(size=num_chains)
    for t in range(1, num_draws):
        noise = np.sqrt(1 - correlation**2) * rng.normal(size=num_chains)
        x[:, t] = correlation * x[:, t - 1] + noise
    return np.exp(x) + offset * np.arange(num_chains)[:, None]


SETS = {
    "independent": chains(4, 100, 0.0),
    "slow": chains(4, 100, 0.9),
    "alternating": chains(4, 100, -0.7),
    "apart": chains(4, 100, 0.3, offset=1.0),
    "odd": chains(2, 101, 0.5),
    "one chain": chains(1, 400, 0.6),
    "ties": np.round(chains(4, 100, 0.5)),
}


ALL = jax.jit(
    lambda draws: {
        "bulk": diagnostics.ess_bulk(draws),
        "mean": diagnostics.ess_mean(draws),
        "tail": diagnostics.ess_tail(draws),
        "r_hat": diagnostics.r_hat(draws),
        "mcse": diagnostics.mcse(draws),
    }
)


@pytest.mark.usefixtures("x64")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SETS)
def test_diagnostics_match_arviz(name):
    arviz = importlib.import_module("arviz_stats.base").array_stats  # it warns
    x = SETS[name]
    axes = {"chain_axis": 0, "draw_axis": 1}
    draws = jnp.asarray(x)
    got = ALL(draws)
    want = {
        "bulk": arviz.ess(x, method="bulk", **axes),
        "mean": arviz.ess(x, method="mean", **axes),
        "tail": arviz.ess(x, method="tail", prob=(0.05, 0.95), **axes),
        "r_hat": arviz.rhat(x, method="rank", **axes),
        "mcse": arviz.mcse(x, method="mean", **axes),
    }
    if len(x) == 1:
        del want["r_hat"]  # of one chain ArviZ does not compare the halves
    for statistic, value in want.items():
        np.testing.assert_allclose(got[statistic], value, rtol=1e-8, err_msg=statistic)


def test_ess_of_an_autoregressive_chain():
    """ESS / n = (1 - rho) / (1 + rho) in the limit; within 15 %, four standard errors here."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(8, 4000))
    x = np.zeros((8, 4000))
    x[:, 0] = noise[:, 0]
    for t in range(1, 4000):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * noise[:, t]
    ess = diagnostics.ess_mean(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(ess / x.size, 0.2 / 1.8, rtol=0.15)


def test_report_is_shaped_like_a_position():
    x = jnp.asarray(chains(4, 50, 0.2), jnp.float32)
    position = {"a": x, "b": jnp.stack([x, x - 1, x > 1], axis=-1)}
    report = jax.jit(diagnostics.report)(position)
    assert all(jax.tree.map(jnp.shape, field) == {"a": (), "b": (3,)} for field in report)
    np.testing.assert_allclose(report.r_hat["b"][0], report.r_hat["a"], rtol=1e-5)


def test_chains_that_do_not_vary_have_no_statistics():
    constant = jnp.ones((3, 20))
    for statistic in (diagnostics.r_hat, diagnostics.ess_bulk, diagnostics.ess_tail):
        assert jnp.isnan(statistic(constant)), statistic


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match=r"at least 4 draws, got \(2, 3\)"):
        diagnostics.r_hat(jnp.ones((2, 3)))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("statistic", ["r_hat", "ess_bulk", "ess_tail", "ess_mean", "mcse"])
def test_one_draw_that_is_not_finite_leaves_no_statistic(statistic, bad):
    """Of the number that it is of: the others keep theirs."""
    draws = jax.random.normal(jax.random.key(0), (4, 50, 2))
    f = getattr(diagnostics, statistic)
    value, right = f(draws.at[2, 7, 0].set(bad)), f(draws)
    assert jnp.isnan(value[0])
    assert value[1] == right[1]
