"""Models of independent pixels, and what of their values is not on their support."""

import numpy as np
import pytest

from genmix.evaluation import Bound, Elbo, LogLikelihood, baselines, standard_error

BINARY = np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0]])


def test_bernoulli_is_that_of_smoothed_means():
    got = baselines.independent_bernoulli(BINARY, BINARY[:2])
    means = np.array([2, 4]) / 5
    expected = [np.log(1 - means[0]) + np.log(means[1]), np.sum(np.log(means))]
    np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_events_off_the_support_are_impossible():
    x = np.array([[0.5, 1.0], [1.0, 255.0], [-3.0, 0.0], [np.nan, 1.0], [1.0, 0.0]])
    got = baselines.independent_bernoulli(BINARY, x)
    np.testing.assert_array_equal(np.isneginf(got), [True] * 4 + [False])
    got = baselines.independent_histogram(BINARY, x, num_levels=2)
    np.testing.assert_array_equal(np.isneginf(got), [True] * 4 + [False])
    np.testing.assert_allclose(got[4], np.log(2 / 5) + np.log(1 / 5), rtol=1e-14)
    with np.errstate(all="raise"):
        assert np.isneginf(baselines.independent_histogram(BINARY, x[1:2] - 256, num_levels=3))


def test_chains_of_bits_are_those_of_smoothed_counts():
    train = [np.array([[1.0], [1.0], [0.0]]), np.array([[0.0], [1.0]])]
    start, after = (
        {1: 2 / 4, 0: 2 / 4},
        {(1, 1): 2 / 4, (1, 0): 2 / 4, (0, 1): 2 / 3, (0, 0): 1 / 3},
    )
    got = baselines.markov_bernoulli(train, [np.array([[0.0], [0.0], [1.0], [1.0]])])
    expected = start[0] * after[0, 0] * after[0, 1] * after[1, 1]
    np.testing.assert_allclose(got, [np.log(expected)], rtol=1e-14)


def test_chains_of_bits_are_of_bits():
    bits = [np.zeros((2, 3))]
    with pytest.raises(ValueError, match="with steps of one shape, at least one"):
        baselines.markov_bernoulli(bits, [np.zeros((2, 2))])
    with pytest.raises(ValueError, match="must hold bits, 0 or 1"):
        baselines.markov_bernoulli(bits, [np.full((2, 3), 0.5)])


@pytest.mark.parametrize("wrong", [128.0, -1.0, np.nan])
def test_what_they_are_fitted_to_must_be_on_the_support(wrong):
    train = np.where(BINARY == 1, wrong, BINARY)
    with pytest.raises(ValueError, match=r"train must lie in \[0, 1\], got values from .*; divide"):
        baselines.independent_bernoulli(train, BINARY)
    with pytest.raises(ValueError, match="train must hold whole numbers from 0 to 15, got values"):
        baselines.independent_histogram(train, BINARY, num_levels=16)


def test_one_event_has_no_standard_error(recwarn):
    one = np.array([-1.5])
    assert baselines.row("one", one)["nll"] == 1.5
    errors = [
        baselines.row("one", one)["nll_standard_error"],
        LogLikelihood(one, one, 1).standard_error,
        Elbo(one, one[:, None]).standard_error,
        Bound(one).standard_error,
        standard_error(np.zeros(0)),
    ]
    np.testing.assert_array_equal(errors, np.nan)
    np.testing.assert_allclose(standard_error(np.array([1.0, 2.0, 4.0])), np.sqrt(7 / 9))
    assert len(recwarn) == 0


def test_events_must_have_one_shape():
    for fitted in (
        baselines.independent_bernoulli,
        lambda train, x: baselines.independent_histogram(train, x, num_levels=2),
    ):
        with pytest.raises(ValueError, match=r"events of one shape, got \(3, 2\) and \(3, 1\)"):
            fitted(BINARY, BINARY[:, :1])
        with pytest.raises(ValueError, match=r"events of one shape, got \(0, 2\) and"):
            fitted(BINARY[:0], BINARY)
