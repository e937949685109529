"""The linear-Gaussian state-space model, with all that is exact about it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from genmix.densities import multivariate_normal
from genmix.families.sequence import padded

Vector = Float[Array, " dim"]
Matrix = Float[Array, "dim dim"]


class Gaussian(NamedTuple):
    """Means and covariances, one for each step."""

    mean: Float[Array, "steps dim"]
    covariance: Float[Array, "steps dim dim"]


class Filtering(NamedTuple):
    """What the Kalman filter knows of z_t from x_1..x_t, and before it has seen x_t."""

    filtered: Gaussian
    predicted: Gaussian
    log_likelihood: Float[Array, " steps"]  # log p(x_t | x_1..x_t-1), in nats


class Ahead(NamedTuple):
    """log p(x_t+1..x_T | z_t) = constant + shift z - z precision z / 2, one for each step."""

    precision: Float[Array, "steps dim dim"]
    shift: Float[Array, "steps dim"]
    constant: Float[Array, " steps"]


class LinearGaussian(NamedTuple):
    """z_1 ~ N(mean, covariance), z_t = transition z_t-1 + noise, x_t = emission z_t + noise.

    An exact density of sequences x [steps, event], with or without padding. Noises are given by
    their covariances. A covariance that is not positive definite makes the density NaN.

    Source: Kalman (1960), Journal of Basic Engineering 82(1); Särkkä (2013), Bayesian filtering and
    smoothing, theorems 4.2 and 8.2.
    """

    mean: Vector
    covariance: Matrix
    transition: Matrix
    transition_covariance: Matrix
    emission: Float[Array, "event dim"]
    emission_covariance: Float[Array, "event event"]

    def log_prob(self, x: PyTree, cond: None = None) -> Float[Array, ""]:
        """log p(x_1..x_T), in nats."""
        del cond
        return jnp.sum(self.filter(x).log_likelihood)

    def sample_path(self, key: Key[Array, ""], num_steps: int) -> tuple[Array, Array]:
        """Draw (z, x), each with the steps along the first axis."""
        start_key, run_key = jax.random.split(key)
        chol = jnp.linalg.cholesky
        z = multivariate_normal.sample(start_key, self.mean, chol(self.covariance))

        def visit(z: Array, t: Array) -> tuple[Array, tuple[Array, Array]]:
            emission_key, next_key = jax.random.split(jax.random.fold_in(run_key, t))
            x = multivariate_normal.sample(
                emission_key, self.emission @ z, chol(self.emission_covariance)
            )
            later = multivariate_normal.sample(
                next_key, self.transition @ z, chol(self.transition_covariance)
            )
            return later, (z, x)

        return jax.lax.scan(visit, z, jnp.arange(num_steps))[1]

    def filter(self, x: PyTree) -> Filtering:
        """The Kalman filter; behind the end of x it predicts, with log-likelihoods of 0."""
        x = padded.one(x)

        def visit(predicted: tuple, step: tuple) -> tuple[tuple, Filtering]:
            (mean, cov), (x, is_data) = predicted, step
            innovation_cov = self.emission @ cov @ self.emission.T + self.emission_covariance
            factor = jnp.linalg.cholesky(innovation_cov)
            innovation = x - self.emission @ mean
            log_likelihood = multivariate_normal.log_prob(
                innovation, jnp.zeros_like(innovation), factor
            )
            gain = jax.scipy.linalg.cho_solve((factor, True), self.emission @ cov).T
            # Joseph's form stays symmetric and positive where the short one rounds to neither.
            rest = jnp.eye(mean.size) - gain @ self.emission
            seen_cov = rest @ cov @ rest.T + gain @ self.emission_covariance @ gain.T
            seen = (mean + gain @ innovation, seen_cov)
            seen = jax.tree.map(lambda a, b: jnp.where(is_data, a, b), seen, predicted)
            record = Filtering(
                Gaussian(*seen), Gaussian(mean, cov), jnp.where(is_data, log_likelihood, 0.0)
            )
            return self._predict(*seen), record

        return jax.lax.scan(visit, (self.mean, self.covariance), (x.values, x.mask()))[1]

    def smooth(self, x: PyTree) -> Gaussian:
        """What all of x says of each z_t (Rauch, Tung & Striebel)."""
        known = self.filter(x)

        def visit(later: tuple, step: tuple) -> tuple[tuple, tuple]:
            (later_mean, later_cov), (filtered, predicted) = later, step
            factor = jax.scipy.linalg.cho_factor(predicted.covariance, lower=True)
            gain = jax.scipy.linalg.cho_solve(factor, self.transition @ filtered.covariance).T
            mean = filtered.mean + gain @ (later_mean - predicted.mean)
            cov = filtered.covariance + gain @ (later_cov - predicted.covariance) @ gain.T
            return (mean, cov), (mean, cov)

        last = jax.tree.map(lambda a: a[-1], known.filtered)
        before = jax.tree.map(lambda a: a[:-1], known.filtered)
        after = jax.tree.map(lambda a: a[1:], known.predicted)
        _, smoothed = jax.lax.scan(visit, tuple(last), (before, after), reverse=True)
        append = lambda a, b: jnp.concatenate([a, b[None]])
        return Gaussian(*jax.tree.map(append, smoothed, tuple(last)))

    def ahead(self, x: PyTree) -> Ahead:
        """What z_t says of the observations behind it: the exact twist of a particle filter."""
        x = padded.one(x)
        dim = self.mean.size
        nothing = Ahead(jnp.zeros((dim, dim)), jnp.zeros(dim), jnp.zeros(()))

        def visit(after: Ahead, step: tuple) -> tuple[Ahead, Ahead]:
            seen = self._with_observation(after, *step)
            return self._one_step_before(seen), after

        return jax.lax.scan(visit, nothing, (x.values, x.mask()), reverse=True)[1]

    def best_proposal(self, x: PyTree) -> tuple[Array, Array, Array]:
        """p(z_t | z_t-1, x_t..x_T) = N(matrix_t z_t-1 + offset_t, covariance_t) for all t.

        The matrix of the first step is zero, and its offset has the initial mean in it.
        """
        x = padded.one(x)
        ahead = self.ahead(x)
        seen = jax.vmap(self._with_observation)(ahead, x.values, x.mask())
        inverse = jnp.linalg.inv
        is_first = (jnp.arange(x.mask().size) == 0)[:, None, None]
        prior = inverse(jnp.where(is_first, self.covariance, self.transition_covariance))
        covariance = inverse(prior + seen.precision)
        matrix = jnp.where(is_first, 0.0, covariance @ prior @ self.transition)
        mean = jnp.where(is_first[..., 0], self.mean, 0.0)
        shift = seen.shift + jnp.einsum("tij,tj->ti", prior, mean)
        return matrix, jnp.einsum("tij,tj->ti", covariance, shift), covariance

    def _predict(self, mean: Vector, cov: Matrix) -> tuple[Vector, Matrix]:
        step = self.transition
        return step @ mean, step @ cov @ step.T + self.transition_covariance

    def _with_observation(self, after: Ahead, x: Array, is_data: Array) -> Ahead:
        """log p(x_t..x_T | z_t) from log p(x_t+1..x_T | z_t)."""
        factor = jnp.linalg.cholesky(self.emission_covariance)
        weighted = jax.scipy.linalg.cho_solve((factor, True), self.emission)
        constant = multivariate_normal.log_prob(x, jnp.zeros_like(x), factor)
        seen = Ahead(
            after.precision + self.emission.T @ weighted,
            after.shift + weighted.T @ x,
            after.constant + constant,
        )
        return jax.tree.map(lambda a, b: jnp.where(is_data, a, b), seen, after)

    def _one_step_before(self, seen: Ahead) -> Ahead:
        """log p(x_t..x_T | z_t-1): the normal noise of the transition integrated out."""
        eye = jnp.eye(self.mean.size)
        # N(z; m, Q) exp(s z - z P z / 2) integrates to a function of m with these coefficients.
        spread = eye + self.transition_covariance @ seen.precision
        precision = jnp.linalg.solve(spread.T, seen.precision.T).T
        shift = jnp.linalg.solve(spread.T, seen.shift)
        inner = jnp.linalg.solve(spread, self.transition_covariance @ seen.shift)
        constant = seen.constant + 0.5 * seen.shift @ inner - 0.5 * jnp.linalg.slogdet(spread)[1]
        step = self.transition
        return Ahead(step.T @ precision @ step, step.T @ shift, constant)
