"""Parzen estimates against mixtures of normals, which they are."""

import numpy as np
import pytest
from scipy import special, stats

from genmix.evaluation import parzen

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(5, 2, 3))
X = RNG.normal(size=(7, 2, 3))


def test_the_estimate_is_the_density_of_a_mixture():
    log_p = [[stats.norm.logpdf(x.ravel(), c.ravel(), 0.4).sum() for c in CENTRES] for x in X]
    expected = special.logsumexp(log_p, axis=1) - np.log(5)
    np.testing.assert_allclose(parzen.log_density(CENTRES, X, 0.4), expected, rtol=1e-5)


def test_many_samples_of_a_mixture_nearly_give_its_density():
    """In one dimension, where the estimate can be trusted; the bandwidth is chosen."""
    draw = lambda n: np.where(RNG.random(n) < 0.5, -2.0, 2.0)[:, None] + RNG.normal(size=(n, 1))
    x = draw(2000)
    exact = np.logaddexp(stats.norm.logpdf(x, -2), stats.norm.logpdf(x, 2)) - np.log(2)
    got = parzen.evaluate(draw(5000), x, draw(500))
    assert abs(got.log_likelihood - exact.mean()) < 0.02
    assert 0.05 < got.bandwidth < 1.0
    assert 0.005 < got.standard_error < 0.03


def test_it_misleads():
    """One constant sample beats as many true ones as fit into a batch."""
    train, x = RNG.normal(size=(20, 30)), RNG.normal(size=(200, 30))
    centre = np.zeros((1, 30))
    score = lambda samples: parzen.evaluate(samples, x, x).log_likelihood
    assert score(centre) > score(train)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"bandwidth must be positive, got 0.0"):
        parzen.log_density(CENTRES, X, 0.0)
    with pytest.raises(ValueError, match=r"must be events of one shape, got \(5, 2, 3\) and"):
        parzen.log_density(CENTRES, X[:, 0], 1.0)
