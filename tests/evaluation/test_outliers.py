"""Scores of strange events, against what is known of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy import stats
from sklearn.metrics import roc_auc_score

from genmix.evaluation import auroc, likelihood_regret, typicality
from genmix.families import LatentVariableModel, Normal, StandardNormal


def test_the_area_is_that_of_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    inliers, outliers = rng.integers(0, 6, 70), rng.integers(2, 9, 50)
    known = roc_auc_score([0] * 70 + [1] * 50, [*inliers, *outliers])
    np.testing.assert_allclose(auroc(inliers, outliers), known, rtol=1e-12)
    np.testing.assert_allclose(auroc(outliers, inliers), 1 - known, rtol=1e-12)
    assert auroc(np.ones(2), np.ones(1)) == 0.5


def test_typicality_of_a_normal_is_that_of_its_length():
    """log N(x; 0, I) is typical on the sphere of radius sqrt(d), not in the middle."""
    rng = np.random.default_rng(0)
    log_p = lambda x: stats.norm.logpdf(x).sum(axis=1)
    x = rng.normal(size=(200_000, 50))
    events = np.stack([np.zeros(50), np.ones(50), 2 * np.ones(50)])
    score = typicality(log_p(events), log_p(x))
    known = np.abs(np.sum(events**2, axis=1) - 50) / 2
    np.testing.assert_allclose(score, known, atol=5 * 5 / np.sqrt(200_000))  # alarm 1e-6
    assert score[1] < score[0] < score[2]


def linear(q: Any) -> LatentVariableModel:
    """z ~ N(0, 1), x | z ~ N(z, 1): the posterior is N(x / 2, 1 / 2)."""
    return LatentVariableModel(
        prior=StandardNormal(1), likelihood=Normal(lambda z: z, scale=1.0), posterior=q
    )


class Numbers(nnx.Module):
    """The same location and width for every x."""

    def __init__(self, loc: float, scale: float):
        raw = jnp.log(jnp.expm1(jnp.asarray(scale - 1e-4)))
        self.numbers = nnx.Param(jnp.array([[loc, raw]]))

    def __call__(self, x: Any) -> jax.Array:
        return self.numbers[...]


def test_the_regret_is_what_the_encoder_is_wrong_by():
    """KL(q || p(z | x)), to 0.1 nats: 5 standard errors of 4,000 draws; false alarm 1e-6."""
    model = linear(Normal(Numbers(0.5, 0.4)))
    x = np.array([[-2.0], [1.0], [3.0]], np.float32)
    regret = likelihood_regret(
        jax.random.key(0), model, x, num_steps=300, optimizer=optax.adam(0.02), num_samples=4000
    )
    var = 0.4**2
    known = 0.5 * (np.log(0.5 / var) + (var + (0.5 - x[:, 0] / 2) ** 2) / 0.5 - 1)
    np.testing.assert_allclose(regret, known, atol=0.1)
    assert regret[0] > regret[2] > regret[1] > 0


def test_an_encoder_that_is_right_regrets_nothing():
    model = linear(Normal(Numbers(0.5, 0.5**0.5)))
    found = likelihood_regret(jax.random.key(0), model, np.ones((1, 1), np.float32), num_steps=0)
    assert abs(found[0]) < 1e-4


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: auroc(np.zeros(0), np.ones(1)), "compares two sets, got 0 inliers and 1 outliers"),
        (lambda: auroc(np.array([np.nan]), np.ones(1)), "needs scores that are numbers, got NaN"),
        (
            lambda: likelihood_regret(jax.random.key(0), StandardNormal(1), np.ones((1, 1))),
            "the regret is of a posterior, and StandardNormal has none: use typicality",
        ),
    ],
)
def test_what_has_no_score_is_refused(run, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run()
