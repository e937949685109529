"""Bounds on log p(x) as terms of an objective."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from genmix import bounds, sharding
from genmix.bounds import Bound, Estimator
from genmix.bounds.estimator import require_estimator
from genmix.bounds.log_weight import Estimate, Weigh
from genmix.capabilities import Gradient, require_bounded, require_reparameterized
from genmix.families import weigh as weighing
from genmix.nets import state
from genmix.objectives.term import Metrics, Term, between

Schedule = Callable[[Any], Any]  # step -> number, as in Optax


class Rate(NamedTuple):
    """How the rate, the KL term of the ELBO, counts in training; what is reported is the ELBO.

    Attributes:
        beta: weight of the rate, or a schedule step -> weight (warm-up: `optax.linear_schedule`).
        free_nats: a group's mean rate below this many nats is not pressed further. Groups are the
            stochastic layers, or the dimensions of z where the rate is in closed form.
        free_nats_each: the same of each example's rate, so that none may use less for another's
            sake.
        analytic: use KL(q(z | x) || p(z)) in closed form instead of its sampled estimate.

    Source: Higgins et al. (2017), beta-VAE; Kingma et al. (2016), arXiv:1606.04934, section 4.
    """

    beta: float | Schedule = 1.0
    free_nats: float = 0.0
    free_nats_each: float = 0.0
    analytic: bool = False


@runtime_checkable
class ClosedRate(Protocol):
    """Knows KL(q(z | x) || p(z)) in closed form, in nats, one entry a dimension of z."""

    def closed_rate(self, x: PyTree, cond: PyTree = None) -> Float[Array, " dim"]: ...


def _particle(model: Any, x: PyTree) -> Weigh:
    def weigh(key, draw):
        fresh = state.fresh(model)
        terms = weighing.terms(fresh, key, x, None, draw)
        return terms._replace(state=state.batch_statistics(fresh))

    return weigh


def _particle_of_terms(model: Any, x: PyTree) -> Weigh:
    """A particle whose terms count by themselves, so that each must have its gradient."""
    weigh = _particle(model, x)

    def apart(draw, posterior, key, cond):
        require_reparameterized(posterior, Gradient.DRAWS)
        return draw(posterior, key, cond)

    return lambda key, draw: weigh(key, functools.partial(apart, draw))


def _per_example(
    model: Any, key: Key[Array, ""], batch: PyTree, f: Callable[[Any, Key[Array, ""], PyTree], Any]
) -> Any:
    """f(model, key, x) for each event of a batch; dropout draws anew for each.

    The batch is the axis named "batch", for normalization layers that ask for it.
    """
    size = jax.tree.leaves(batch)[0].shape[0]

    def one(key: Key[Array, ""], x: PyTree) -> Any:
        if not state.is_stochastic(model):
            return f(model, key, x)
        network_key, key = jax.random.split(key)
        return f(state.reseeded(model, network_key), key, x)

    over_batch = jax.vmap(one, axis_name="batch", spmd_axis_name=sharding.spmd_axis("data"))
    return over_batch(jax.random.split(key, size), batch)


def _store_statistics(model: Any, statistics: dict[str, Array]) -> None:
    """Keep the mean over examples and particles in the model's own variables."""
    state.store(model, {path: jnp.mean(value, (0, 1)) for path, value in statistics.items()})


def _summary(name: str, estimates: Estimate) -> Metrics:
    rate = jnp.sum(estimates.terms.rates, axis=-1)
    return {
        name: jnp.mean(estimates.bound),
        "log_likelihood": jnp.mean(estimates.terms.log_likelihood),
        "rate": jnp.mean(rate),
    }


def importance_weighted(
    bound: Bound, num_particles: int, *, estimator: Estimator = bounds.reparameterized
) -> Term:
    """Term for any bound: minus its batch mean, in nats; the metric has the bound's name.

    Args:
        bound: of `genmix.bounds`, or a `Bound` of your own.
        estimator: where its gradient comes from, of `genmix.bounds`.

    Raises:
        ValueError: if num_particles < 1, or the estimator is biased for the bound.
        TypeError: if it is no estimator.
    """
    require_estimator(estimator)
    estimator.require(bound, num_particles)
    baseline = estimator.baseline

    def loss(model, game, key, batch, carry):
        def one(seen, key, x):
            model, game = seen
            options = {} if baseline is None else {"baseline": baseline.predict(game, x, carry)}
            weigh = _particle(model, x)
            return estimator.estimate(key, weigh, bound, num_particles=num_particles, **options)

        seen = (model, None if baseline is None else game)
        estimates = _per_example(seen, key, batch, one)
        _store_statistics(model, estimates.terms.state)
        if baseline is not None:
            carry = baseline.update(carry, jax.lax.stop_gradient(estimates.terms.log_weight))
        return -jnp.mean(estimates.bound), (_summary(bound.name, estimates), carry)

    def init(model, game):
        del game
        require_weighted_model(model)
        if not bound.is_linear:
            weighing.require_weights(model, f"the bound {bound.name!r}")
        return () if baseline is None else baseline.init()

    return between(loss, init, by=lambda game: game)


def require_weighted_model(model: Any) -> None:
    """Check that what is to be bounded has a log-weight, or a bound of its own.

    Raises:
        TypeError: naming the model and the remedy.
    """
    if not isinstance(model, weighing.Layered):
        require_bounded(model, "model of a likelihood bound")


def elbo(
    num_particles: int = 1,
    *,
    estimator: Estimator = bounds.reparameterized,
    rate: Rate | None = None,
    name: str = "elbo",
) -> Term:
    """Evidence lower bound, the mean of k log-weights.

    With `rate`, the loss is the ELBO with the rate counted otherwise, and the metric `name` is
    still the ELBO.

    Raises:
        ValueError: as `importance_weighted`; or if `rate` is used with another estimator than
            reparameterized or sticking_the_landing.

    Source: Kingma & Welling (2014), arXiv:1312.6114, equation 2 (sampled) and 3 (analytic).
    """
    bound = dataclasses.replace(bounds.elbo.bound, name=name)
    if rate is None:
        return importance_weighted(bound, num_particles, estimator=estimator)
    require_estimator(estimator)
    estimator.require(bound, num_particles)
    if not estimator.reaches_terms:
        raise ValueError(
            "rate needs gradients through the terms of the ELBO: use the reparameterized or the "
            "sticking_the_landing estimator."
        )
    if rate.free_nats_each < 0:
        raise ValueError(f"free_nats_each must not be negative, got {rate.free_nats_each}.")
    if rate.free_nats < 0 or (isinstance(rate.beta, (int, float)) and rate.beta < 0):
        raise ValueError(
            f"beta and free_nats must not be negative, got {rate.beta} and {rate.free_nats}."
        )

    def init(model: Any) -> Int[Array, ""]:
        require_weighted_model(model)
        if rate.analytic:
            require_closed_rate(model)
        return jnp.zeros((), jnp.int32)

    return Term(functools.partial(_rated_elbo, bound, num_particles, estimator, rate), init)


def require_closed_rate(model: Any) -> None:
    """Check that a model may know its rate in closed form.

    Raises:
        TypeError: naming the model and the remedy.
    """
    if not isinstance(model, ClosedRate):
        raise TypeError(
            f"{type(model).__name__} has no closed_rate: use the sampled rate (analytic=False), or "
            "a LatentVariableModel."
        )


def _rated_elbo(
    bound: Bound,
    num_particles: int,
    estimator: Estimator,
    rate: Rate,
    model: Any,
    key: Key[Array, ""],
    batch: PyTree,
    step: Any,
) -> tuple[Float[Array, ""], tuple[Metrics, PyTree]]:
    def one(model, key, x):
        weigh = _particle_of_terms(model, x)
        estimate = estimator.estimate(key, weigh, bound, num_particles=num_particles)
        if rate.analytic:
            return estimate, state.fresh(model).closed_rate(x)
        return estimate, jnp.mean(estimate.terms.rates, axis=0)

    estimates, rates = _per_example(model, key, batch, one)
    _store_statistics(model, estimates.terms.state)
    log_likelihood = jnp.mean(estimates.terms.log_likelihood)
    group_rates = jnp.mean(rates, axis=0)
    beta: Any = rate.beta(step) if callable(rate.beta) else rate.beta
    # The batch mean is inside the outer maximum: there, a group's use is bounded on average.
    pressed = group_rates
    if rate.free_nats_each:  # an estimate of an example's rate may be negative
        pressed = jnp.mean(jnp.maximum(rates, rate.free_nats_each), axis=0)
    if rate.free_nats:  # without, an estimate below 0 counts as it is: of some priors all are
        pressed = jnp.maximum(pressed, rate.free_nats)
    loss = -log_likelihood + beta * jnp.sum(pressed)
    metrics = {
        bound.name: log_likelihood - jnp.sum(group_rates),
        "log_likelihood": log_likelihood,
        "rate": jnp.sum(group_rates),
        "beta": jnp.asarray(beta, loss.dtype),
    }
    return loss, (metrics, step + 1)


def iwae(num_particles: int, *, estimator: Estimator = bounds.reparameterized) -> Term:
    """Importance-weighted bound L_k.

    Raises:
        ValueError: as `importance_weighted`.

    Source: Burda, Grosse & Salakhutdinov (2016), arXiv:1509.00519.
    """
    return importance_weighted(bounds.iwae.bound, num_particles, estimator=estimator)


def renyi(
    alpha: float, num_particles: int, *, estimator: Estimator = bounds.reparameterized
) -> Term:
    """Variational Rényi bound of order alpha.

    Raises:
        ValueError: as `importance_weighted`; or if alpha is not finite.

    Source: Li & Turner (2016), arXiv:1602.02311.
    """
    return importance_weighted(bounds.renyi.of_order(alpha), num_particles, estimator=estimator)


def vr_max(num_particles: int, *, estimator: Estimator = bounds.reparameterized) -> Term:
    """Largest of k log-weights.

    Raises:
        ValueError: as `importance_weighted`.

    Source: Li & Turner (2016), arXiv:1602.02311, section 4.2.
    """
    return importance_weighted(bounds.vr_max.bound, num_particles, estimator=estimator)


def vimco(num_particles: int) -> Term:
    """Importance-weighted bound by score functions with leave-one-out baselines.

    Raises:
        ValueError: if num_particles < 2.

    Source: Mnih & Rezende (2016), arXiv:1602.06725.
    """
    return iwae(num_particles, estimator=bounds.vimco)
