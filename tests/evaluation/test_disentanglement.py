"""Metrics of representations that are disentangled, entangled, or of nothing."""

import numpy as np
import pytest

from genmix.evaluation import disentanglement

RNG = np.random.default_rng(0)
FACTORS = np.stack([RNG.integers(n, size=4000) for n in (3, 6, 8)], axis=1)
CENTRED = (FACTORS - FACTORS.mean(axis=0)) / FACTORS.std(axis=0)
NOISE = RNG.normal(size=(4000, 3))


def test_a_disentangled_representation_is_perfect():
    """In another order, scaled, bent, and with a code of noise and an unused one beside it."""
    codes = np.stack(
        [
            5 * np.tanh(CENTRED[:, 2]),
            -CENTRED[:, 0],
            0.1 * CENTRED[:, 1],
            NOISE[:, 0],
            0 * NOISE[:, 1],
        ],
        axis=1,
    )
    assert disentanglement.factor_vae_score(codes, FACTORS) == 1.0
    assert 0.97 < disentanglement.mig(codes, FACTORS) <= 1


def test_an_entangled_representation_is_not():
    """Every code has the same share of every factor: any code may vary least."""
    mixing = np.array([[1.0, 1, 1], [1, -1, 1], [1, 1, -1]])
    codes = CENTRED @ mixing
    assert disentanglement.mig(codes, FACTORS) < 0.1
    assert disentanglement.factor_vae_score(codes, FACTORS) < 0.75


def test_noise_is_worth_nothing():
    assert disentanglement.mig(NOISE, FACTORS) < 0.02
    # 400 votes of which a third are right by chance: 5 standard errors, false alarm 1e-6.
    assert abs(disentanglement.factor_vae_score(NOISE, FACTORS) - 1 / 3) < 0.12


def test_a_vote_is_for_the_variance_relative_to_all_events():
    """Every code has noise, and the last varies least whatever is held fixed."""
    codes = np.array([10.0, 1.0, 0.1]) * (CENTRED + 0.3 * NOISE)
    assert disentanglement.factor_vae_score(codes, FACTORS) == 1.0


def test_the_classifier_is_scored_on_other_votes():
    """60 votes, about one for each code: on its own ones it would be right nearly always.

    On others it is right one time in three, and 5 standard errors are 0.3: false alarm 1e-6.
    """
    codes = RNG.normal(size=(4000, 60))
    assert disentanglement.factor_vae_score(codes, FACTORS, num_votes=120) < 1 / 3 + 0.31


def test_informations_are_those_of_the_counts():
    codes = np.stack([FACTORS[:, 0].astype(float), NOISE[:, 0]], axis=1)
    got = disentanglement.mutual_informations(codes, FACTORS)
    shares = np.bincount(FACTORS[:, 0]) / 4000
    np.testing.assert_allclose(got[0, 0], -np.sum(shares * np.log(shares)), rtol=1e-12)
    assert got[0, 1:].max() < 0.01
    assert got.shape == (2, 3)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"must be as many, got \(4000, 3\) and \(2, 3\)"):
        disentanglement.mig(NOISE, FACTORS[:2])
    with pytest.raises(ValueError, match="a gap needs two codes, got 1"):
        disentanglement.mig(NOISE[:, :1], FACTORS)
    with pytest.raises(ValueError, match="every factor needs at least two values"):
        disentanglement.mig(NOISE, 0 * FACTORS)
    with pytest.raises(ValueError, match="no code has a variance above"):
        disentanglement.factor_vae_score(0 * NOISE, FACTORS)
    with pytest.raises(ValueError, match="bins must be at least 2, got 1"):
        disentanglement.mutual_informations(NOISE, FACTORS, bins=1)
