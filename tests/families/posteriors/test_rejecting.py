"""Variational rejection sampling on 16 states, by enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.families import Rejecting
from tests.families.posteriors import targets

THRESHOLDS = (24.0, 9.0, 4.0, 2.0, -1.0, -6.0)
LOG_Q = np.log(np.exp(targets.Q_LOGITS) / np.exp(targets.Q_LOGITS).sum())
LOG_PX = np.logaddexp.reduce(targets.JOINT)


def enumerated(threshold):
    """r, log Z and the bound E_r[log p - log r] at a threshold."""
    log_a = -np.logaddexp(0.0, LOG_Q - targets.JOINT - threshold)
    log_z = np.logaddexp.reduce(LOG_Q + log_a)
    log_r = LOG_Q + log_a - log_z
    return np.exp(log_r), log_z, np.sum(np.exp(log_r) * (targets.JOINT - log_r))


def draws(threshold, num=20_000, **options):
    proposal = Rejecting(targets.Table(targets.Q_LOGITS), threshold, **options)
    keys = jax.random.split(jax.random.key(0), num)
    return jax.jit(jax.vmap(lambda key: proposal.propose(key, targets.table_joint)))(keys)


def test_the_bound_rises_and_draws_come_nearer_as_the_threshold_falls():
    posterior = np.exp(targets.JOINT - LOG_PX)
    gaps, distances, rates = [], [], []
    for threshold in THRESHOLDS:
        r, log_z, bound = enumerated(threshold)
        gaps.append(LOG_PX - bound)
        distances.append(0.5 * np.abs(r - posterior).sum())
        rates.append(np.exp(log_z))
    for values in (gaps, distances, rates):
        assert np.all(np.diff(values) < 0)
    np.testing.assert_allclose(gaps[0], -np.sum(np.exp(LOG_Q) * (targets.JOINT - LOG_Q - LOG_PX)),
                               rtol=1e-6)  # fmt: skip
    assert rates[0] > 1 - 1e-6
    assert distances[0] > 0.3
    assert gaps[-1] < 1e-3
    assert distances[-1] < 0.02


@pytest.mark.parametrize("threshold", [4.0, 2.0])
def test_accepted_draws_follow_the_enumerated_distribution(threshold):
    """Chi-square at 1e-4; the mean log-weight, with a good estimate of Z, within 4 errors."""
    z, log_q = draws(threshold, 5_000, num_estimates=100)
    r, _, bound = enumerated(threshold)
    counts = np.bincount(np.asarray(z), minlength=targets.NUM_STATES)
    assert stats.chisquare(counts, r * len(z)).pvalue > 1e-4
    log_weights = np.asarray(targets.table_joint(z) - log_q, float)
    error = log_weights.std() / np.sqrt(len(z))
    assert bound - 0.05 - 4 * error < log_weights.mean() < bound + 4 * error


def test_a_threshold_may_be_a_function_of_x_and_no_acceptance_is_told():
    by_function = draws(lambda x: jnp.asarray(2.0), 100)
    by_number = draws(2.0, 100)
    np.testing.assert_array_equal(by_function[0], by_number[0])
    assert jnp.all(jnp.isnan(draws(-200.0, 3, max_tries=10)[1]))


def test_refusals():
    table = targets.Table(targets.Q_LOGITS)
    with pytest.raises(ValueError, match="num_estimates must be at least 2, got 1"):
        Rejecting(table, 0.0, num_estimates=1)
    with pytest.raises(ValueError, match="max_tries must be at least 1, got 0"):
        Rejecting(table, 0.0, max_tries=0)
