"""Ladders and their kin, on linear-Gaussian hierarchies whose p(x) is known."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix import bounds, evaluation, objectives
from genmix.densities import multivariate_normal, normal
from genmix.families import (
    Bernoulli,
    GaussianMixture,
    LatentVariableModel,
    Level,
    MergedNormal,
    Normal,
    StandardNormal,
    TopDown,
    Unconditional,
    Upward,
    log_weight,
)
from genmix.families.posteriors.merged_normal import precision_weighted, summed
from genmix.nets import MLP, Joined
from genmix.objectives import Rate

W = np.array([[1.0, 0.5], [2.0, -0.5], [0.5, 1.0]])  # orthogonal columns
A = np.array([[0.8, -0.3], [0.4, 1.1]])
V, S = 1.0, 0.6  # variances of x given z_1, of z_1 given z_2
X = np.array([0.7, -1.1, 0.4])


class Linear(NamedTuple):
    """N(matrix c, scale^2)."""

    matrix: Any
    scale: Any

    def parameters(self, cond: Any = None):
        loc = jnp.asarray(self.matrix) @ cond
        return normal.Parameters(loc, jnp.full_like(loc, self.scale))

    def log_prob(self, x, cond: Any = None):
        return jnp.sum(normal.log_prob(x, *self.parameters(cond)))

    def sample(self, key, cond: Any = None):
        return normal.sample(key, *self.parameters(cond))

    def sample_and_log_prob(self, key, cond: Any = None):
        x = self.sample(key, cond)
        return x, self.log_prob(x, cond)


class Evidence(NamedTuple):
    """What x says of z_1 alone: N(W'x / |w|^2, V / |w|^2)."""

    def parameters(self, cond: Any = None):
        squares = jnp.sum(jnp.asarray(W) ** 2, axis=0)
        return normal.Parameters(W.T @ cond / squares, jnp.sqrt(V / squares))

    def sample_and_log_prob(self, key, cond: Any = None):
        d, _ = cond
        loc, scale = self.parameters(d)
        z = normal.sample(key, loc, scale)
        return z, jnp.sum(normal.log_prob(z, loc, scale))


class Exact(NamedTuple):
    """q(z_2 | x), a full normal, or the diagonal one of its precisions."""

    is_full: bool

    def sample_and_log_prob(self, key, cond: Any = None):
        d, _ = cond
        noise = V * np.eye(3) + S * W @ W.T
        precision = np.eye(2) + (W @ A).T @ np.linalg.solve(noise, W @ A)
        covariance = np.linalg.inv(precision)
        if not self.is_full:
            covariance = np.diag(1 / np.diag(precision))
        loc = np.linalg.inv(precision) @ (W @ A).T @ np.linalg.solve(noise, np.eye(3)) @ d
        scale_tril = jnp.asarray(np.linalg.cholesky(covariance))
        z = multivariate_normal.sample(key, loc, scale_tril)
        return z, multivariate_normal.log_prob(z, loc, scale_tril)


class Square(nnx.Module):
    """A fixed matrix as a part, by its numbers alone."""

    def __init__(self, matrix, scale):
        self.rows, self.scale = tuple(map(tuple, np.asarray(matrix).tolist())), float(scale)

    def _linear(self):
        return Linear(np.array(self.rows), self.scale)

    def parameters(self, cond: Any = None):
        return self._linear().parameters(cond)

    def log_prob(self, x, cond: Any = None):
        return self._linear().log_prob(x, cond)

    def sample(self, key, cond: Any = None):
        return self._linear().sample(key, cond)

    def sample_and_log_prob(self, key, cond: Any = None):
        return self._linear().sample_and_log_prob(key, cond)


def ladder(*, is_full=True, first: Any = None):
    """Two levels; z_1 merges its prior with what x says of it, unless `first` is its posterior."""
    return TopDown(
        [
            Level(
                prior=Square(A, S**0.5),
                posterior=MergedNormal(Evidence(), precision_weighted) if first is None else first,
            ),
            Level(prior=StandardNormal(2), posterior=Exact(is_full)),
        ],
        likelihood=Square(W, V**0.5),
    )


def exact_log_prob(x, covariance):
    return stats.multivariate_normal(np.zeros(len(x)), covariance).logpdf(x)


COVARIANCE = V * np.eye(3) + W @ (S * np.eye(2) + A @ A.T) @ W.T


def weights(model, num, x=X, seed=0):
    one = jax.jit(jax.vmap(lambda key: log_weight(model, key, jnp.asarray(x))))
    return np.asarray(one(jax.random.split(jax.random.key(seed), num)))


def test_a_ladder_with_the_exact_top_has_equal_weights():
    """Each is p(x); of a diagonal top, or of a first level that sees x alone, they differ."""
    with jax.enable_x64(True):
        expected = exact_log_prob(X, COVARIANCE)
        np.testing.assert_allclose(weights(ladder(), 20), expected, rtol=0, atol=1e-9)
        assert np.std(weights(ladder(is_full=False), 20)) > 0.01
        assert np.std(weights(ladder(first=Evidence()), 20)) > 0.01


def noisy(*, upward):
    """Posteriors that are merely good, and h of both latents; what there is of a y is exact."""
    merged = MergedNormal(Evidence(), precision_weighted)
    y = Upward(
        prior=Square(0.5 * np.eye(2), 0.9),
        posterior=Square(np.array([[0.2, 0.1, 0.3], [0.0, 0.4, -0.2]]), 0.8),
        joins=lambda pair: pair[0],
    )
    return TopDown(
        [
            Level(
                prior=Square(A, S**0.5),
                posterior=merged,
                upward=y if upward else None,
                below=(lambda pair: pair[1][0] + 0.5 * pair[1][1]) if upward else None,
            ),
            Level(prior=StandardNormal(2), posterior=Exact(is_full=False)),
        ],
        likelihood=Square(W, V**0.5),
    )


@pytest.mark.parametrize("upward", [False, True])
def test_the_mean_weight_is_the_density(upward):
    """Within 4 standard errors: a false alarm in 16,000 keys."""
    with jax.enable_x64(True):
        covariance = COVARIANCE
        if upward:  # z_1 + y / 2, where y | z_2 ~ N(z_2 / 2, 0.81)
            sum_of = A + 0.25 * np.eye(2)
            inner = (S + 0.25 * 0.81) * np.eye(2) + sum_of @ sum_of.T
            covariance = V * np.eye(3) + W @ inner @ W.T
        ratios = np.exp(weights(noisy(upward=upward), 200_000) - exact_log_prob(X, covariance))
        assert abs(ratios.mean() - 1) < 4 * ratios.std() / np.sqrt(len(ratios)) < 0.1


def fixed(posterior, key, cond):
    """A draw that does not depend on the key."""
    del key
    return posterior.sample_and_log_prob(jax.random.key(7), cond)


def test_one_level_is_the_vae():
    rngs = nnx.Rngs(0)
    likelihood, encoder = Bernoulli(MLP(2, (4,), 3, rngs=rngs)), MLP(3, (4,), 2, rngs=rngs)
    vae = LatentVariableModel(
        prior=StandardNormal(2), likelihood=likelihood, posterior=Normal(encoder)
    )

    class OfX(nnx.Module):
        def __init__(self, part):
            self.part = part

        def sample_and_log_prob(self, key, cond=None):
            return self.part.sample_and_log_prob(key, cond[0])  # pyright: ignore[reportOptionalSubscript]

    one = TopDown([Level(prior=vae.prior, posterior=OfX(vae.posterior))], likelihood=likelihood)
    x = jnp.array([1.0, 0.0, 1.0])
    ours = one.log_weight_terms(jax.random.key(0), x, None, fixed)
    theirs = vae.log_weight_terms(jax.random.key(1), x, None, fixed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)


def networks(kind="ladder", *, latent=(2, 3), size=4):
    """A small one of every kind."""
    rngs = nnx.Rngs(0)
    mlp = lambda a, b: MLP(a, (5,), b, rngs=rngs)
    levels = []
    for i, dim in enumerate(latent):
        above = latent[i + 1] if i + 1 < len(latent) else 0
        upward = None
        if kind == "biva":
            upward = Upward(
                prior=Normal(mlp(2 * above, dim)) if above else StandardNormal(dim),
                posterior=Normal(mlp(6, dim)),
                joins=Joined(mlp(6 + dim, 6)),
            )
        both = (2 if kind == "biva" else 1) * above
        posterior: Any = MergedNormal(Normal(mlp(6, dim)), precision_weighted)
        if not above or kind != "ladder":
            posterior = Normal(Joined(mlp(6 + both, dim)))
        levels.append(
            Level(
                prior=Normal(mlp(both, dim)) if above else StandardNormal(dim),
                posterior=posterior,
                up=mlp(6 if i else size, 6),
                below=Joined(mlp(both + 2 * dim, 2 * dim)) if kind == "biva" else None,
                upward=upward,
            )
        )
    below = (2 if kind == "biva" else 1) * latent[0]
    return TopDown(levels, likelihood=Bernoulli(mlp(below, size)))


@pytest.mark.parametrize("kind", ["ladder", "plain", "biva"])
def test_every_layer_counts_by_itself(kind):
    """One rate a latent, lowest first; the latents are those that the terms are of."""
    model, x = networks(kind), jnp.array([1.0, 0.0, 0.0, 1.0])
    terms = jax.jit(lambda key: model.log_weight_terms(key, x))(jax.random.key(0))
    dims = [2, 2, 3, 3] if kind == "biva" else [2, 3]
    assert terms.rates.shape == (len(dims),)
    latents = model.encode(jax.random.key(0), x)
    assert [z.size for z in jax.tree.leaves(latents)] == dims
    priors = model.latents(jax.random.key(0))
    assert jax.tree.map(jnp.shape, priors) == jax.tree.map(jnp.shape, latents)
    if kind != "biva":
        lowest = model.levels[0].prior.log_prob(latents[0], latents[1])
        np.testing.assert_allclose(terms.log_prior[0], lowest, rtol=1e-5)
    likelihood = model.likelihood.log_prob(x, model._under(latents, None))
    np.testing.assert_allclose(likelihood, terms.log_likelihood, rtol=1e-5)
    assert model.decode(latents).shape == model.sample(jax.random.key(1)).shape == (4,)


def test_training_and_evaluation_take_a_hierarchy():
    model, x = networks("biva"), jnp.array([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    term = objectives.elbo(rate=Rate(beta=0.5, free_nats=0.1))
    loss = lambda m: term(m, jax.random.key(0), x, term.init(m))[0]
    leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(model))
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in leaves)
    assert sum(bool(jnp.any(leaf != 0)) for leaf in leaves) > 0.9 * len(leaves)
    layers = evaluation.active_units(jax.random.key(0), model, x, num_samples=4)
    assert [len(layer) for layer in layers] == [2, 2, 3, 3]
    assert evaluation.elbo(jax.random.key(0), model, x, num_samples=5).rates.shape == (2, 4)


@pytest.mark.parametrize("estimator", [bounds.sticking_the_landing, bounds.doubly_reparameterized])
def test_estimators_that_take_the_density_apart_are_refused(estimator):
    rngs, term = nnx.Rngs(0), objectives.elbo(estimator=estimator)
    likelihood = Bernoulli(MLP(2, (), 4, rngs=rngs))
    merged = MergedNormal(Normal(MLP(4, (), 2, rngs=rngs)), precision_weighted)
    prior = Unconditional(normal.Normal(), 2)
    for model in (
        networks(),
        TopDown([Level(prior=prior, posterior=merged)], likelihood=likelihood),
    ):
        with pytest.raises(TypeError, match="use the reparameterized estimator"):
            term(model, jax.random.key(0), jnp.zeros((1, 4)), term.init(model))


def test_what_cannot_be_a_level_is_refused():
    with pytest.raises(ValueError, match="TopDown needs at least one level"):
        TopDown([], likelihood=StandardNormal(2))
    with pytest.raises(TypeError, match="prior beside a MergedNormal"):
        Level(
            prior=GaussianMixture(2, 2, rngs=nnx.Rngs(0)),
            posterior=MergedNormal(Evidence(), summed),
        )
