"""Bounds on log p(x) of a latent-variable model from below, and on simulated data from above."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from genmix.capabilities import ExactDensity, Samples, sample
from genmix.evaluation.elbo import elbo
from genmix.evaluation.likelihood import log_likelihood
from genmix.evaluation.standard_error import standard_error
from genmix.families.latent.latent_variable import LatentVariableModel
from genmix.mcmc import annealed_importance, bridge, hmc
from genmix.nets import state


class Bound(NamedTuple):
    """A bound on log p(x) of each event, in nats; it holds for its expectation."""

    values: np.ndarray  # [n]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def standard_error(self) -> float:
        """Of the mean, over the events."""
        return standard_error(self.values)


class Sandwich(NamedTuple):
    """elbo <= iwae <= log p(x), ais <= log p(x), and log p(x) <= upper, in expectation.

    The gap from `ais` to `upper` bounds the error of both.
    """

    elbo: Bound
    iwae: Bound
    ais: Bound
    upper: Bound | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Annealing:
    """How z is moved from the posterior q(z | x), or the prior, to p(z | x).

    Attributes:
        num_temperatures: bridges between the two, sigmoidally spaced.
        step_size: of Hamiltonian Monte Carlo, in units of z; an acceptance of 0.65 is good.
        num_leapfrog: of each trajectory.
        num_chains: independent paths of each event, averaged inside the logarithm.
        start: "posterior", which must know the density of any z, or "prior".
    """

    num_temperatures: int = 500
    step_size: float = 0.1
    num_leapfrog: int = 10
    num_chains: int = 16
    start: str = "posterior"

    def __post_init__(self):
        for name in ("num_temperatures", "num_leapfrog", "num_chains"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.step_size > 0:
            raise ValueError(f"step_size must be positive, got {self.step_size}.")
        if self.start not in ("posterior", "prior"):
            raise ValueError(f"start must be 'posterior' or 'prior', got {self.start!r}.")


def sandwich(
    key: Key[Array, ""],
    model: Any,
    x: PyTree,
    *,
    num_particles: int = 5000,
    annealing: Annealing | None = None,
) -> Sandwich:
    """Three lower bounds on log p(x): ELBO, importance-weighted, annealed importance sampling.

    If the prior is a LatentVariableModel too, the latents of all layers are annealed together.

    Args:
        model: a LatentVariableModel.
        x: events along the first axis of each array.
        num_particles: of the importance-weighted bound; the ELBO's is averaged over 100.

    Raises:
        TypeError: if the model is none, a prior or likelihood has no exact density, or a posterior
            does not know the density of any z and the annealing starts there.
        ValueError: if there are no events, or num_particles is not positive.

    Source: Wu et al. (2017), arXiv:1611.04273, section 3.
    """
    annealing = annealing or Annealing()
    _require_densities(model, annealing)
    elbo_key, iwae_key, ais_key = jax.random.split(key, 3)
    lower = elbo(elbo_key, model, x)
    iwae = log_likelihood(iwae_key, model, x, num_particles=num_particles)
    x = jax.tree.map(jnp.asarray, x)
    keys = jax.random.split(ais_key, len(iwae.log_px))
    ais = np.asarray(_forward(keys, state.evaluating(model), x, annealing))
    rates = np.sum(lower.rates, axis=1)
    return Sandwich(Bound(lower.log_likelihood - rates), Bound(iwae.log_px), Bound(ais))


def sandwich_of_simulated(
    key: Key[Array, ""],
    model: Any,
    num_events: int,
    *,
    num_particles: int = 5000,
    annealing: Annealing | None = None,
) -> Sandwich:
    """The bounds of `sandwich` on data drawn from the model itself, with an upper bound too.

    Bidirectional Monte Carlo: the z that x was drawn from is an exact draw of p(z | x), from which
    annealing runs backwards. So the upper bound holds for simulated data alone; that on real data
    the annealing is as good, is an extrapolation.

    Raises:
        TypeError: as `sandwich`; also if prior or likelihood cannot be drawn from.
        ValueError: if num_events or num_particles is not positive.

    Source: Grosse, Ghahramani & Adams (2015), arXiv:1511.02543; Wu et al. (2017), arXiv:1611.04273.
    """
    annealing = annealing or Annealing()
    _require_densities(model, annealing)
    for role, part in _parts(model):
        if not isinstance(part, Samples):
            name = type(part).__name__
            raise TypeError(f"{name} has no sample, so no data can be simulated from this {role}.")
    if num_events < 1:
        raise ValueError(f"num_events must be at least 1, got {num_events}.")
    draw_key, lower_key, upper_key = jax.random.split(key, 3)
    quiet = state.evaluating(model)
    z, x = _simulate(jax.random.split(draw_key, num_events), quiet)
    lower = sandwich(lower_key, model, x, num_particles=num_particles, annealing=annealing)
    keys = jax.random.split(upper_key, num_events)
    upper = np.asarray(_backward(keys, quiet, z, x, annealing))
    return lower._replace(upper=Bound(upper))


class _Joint(NamedTuple):
    """p(x, z) of all layers: z is a tuple, the latent nearest the data first."""

    layers: tuple[LatentVariableModel, ...]

    def log_likelihood(self, x: PyTree, zs: tuple[PyTree, ...]) -> Float[Array, ""]:
        return self.layers[0].likelihood.log_prob(x, zs[0])

    def log_prior(self, zs: tuple[PyTree, ...]) -> Float[Array, ""]:
        inner = zip(self.layers[1:], zs[:-1], zs[1:], strict=True)
        top = jnp.asarray(self.layers[-1].prior.log_prob(zs[-1], None))
        return sum((layer.likelihood.log_prob(z, above) for layer, z, above in inner), top)


class _FromPrior(NamedTuple):
    """Base of a path: z of each layer given those above it."""

    joint: _Joint

    def sample(self, key: Key[Array, ""]) -> tuple[PyTree, ...]:
        layers = self.joint.layers
        top_key, *keys = jax.random.split(key, len(layers))
        zs = (sample(layers[-1].prior, top_key, None),)
        for layer_key, layer in zip(keys, layers[:0:-1], strict=True):
            zs = (sample(layer.likelihood, layer_key, zs[0]), *zs)
        return zs

    def log_prob(self, zs: tuple[PyTree, ...]) -> Float[Array, ""]:
        return self.joint.log_prior(zs)


class _FromPosteriors(NamedTuple):
    """Base of a path: z of each layer given those below it."""

    joint: _Joint
    x: PyTree

    def sample(self, key: Key[Array, ""]) -> tuple[PyTree, ...]:
        zs, below = [], self.x
        keys = jax.random.split(key, len(self.joint.layers))
        for layer_key, layer in zip(keys, self.joint.layers, strict=True):
            below = sample(layer.posterior, layer_key, below)
            zs.append(below)
        return tuple(zs)

    def log_prob(self, zs: tuple[PyTree, ...]) -> Float[Array, ""]:
        pairs = zip(self.joint.layers, zs, (self.x, *zs[:-1]), strict=True)
        return sum((layer.posterior.log_prob(z, below) for layer, z, below in pairs), jnp.zeros(()))


def _layers(model: Any) -> tuple[LatentVariableModel, ...]:
    """The model, its prior if that is one too, and so on."""
    layers = []
    while isinstance(model, LatentVariableModel):
        layers.append(model)
        model = model.prior
    return tuple(layers)


def _path(model: Any, x: PyTree, annealing: Annealing) -> tuple[bridge.Geometric, bridge.Schedule]:
    """From the start to p(x, z) of one event, with the schedule."""
    all_of = _Joint(_layers(state.fresh(model)))
    base = _FromPosteriors(all_of, x) if annealing.start == "posterior" else _FromPrior(all_of)
    joint = lambda zs: all_of.log_prior(zs) + all_of.log_likelihood(x, zs)
    kernel = lambda logdensity, beta: hmc.build(
        logdensity, annealing.step_size, annealing.num_leapfrog
    )
    path = bridge.Geometric(base, joint, kernel)
    return path, bridge.sigmoidal(annealing.num_temperatures)


@functools.partial(jax.jit, static_argnames="annealing")
def _forward(keys: Key[Array, " n"], model: Any, x: PyTree, annealing: Annealing) -> Array:
    def one(event):
        key, x = event
        path = lambda key: annealed_importance.run(key, *_path(model, x, annealing)).log_weight
        log_weights = jax.vmap(path)(jax.random.split(key, annealing.num_chains))
        return jax.nn.logsumexp(log_weights) - math.log(annealing.num_chains)

    return jax.lax.map(one, (keys, x), batch_size=_EVENTS_AT_ONCE)


@functools.partial(jax.jit, static_argnames="annealing")
def _backward(
    keys: Key[Array, " n"], model: Any, z: PyTree, x: PyTree, annealing: Annealing
) -> Array:
    def one(event):
        key, z, x = event
        annealed = _path(model, x, annealing)
        path = lambda key: annealed_importance.reverse(key, z, *annealed).log_weight
        log_weights = jax.vmap(path)(jax.random.split(key, annealing.num_chains))
        return math.log(annealing.num_chains) - jax.nn.logsumexp(-log_weights)

    return jax.lax.map(one, (keys, z, x), batch_size=_EVENTS_AT_ONCE)


_EVENTS_AT_ONCE = 32


@jax.jit
def _simulate(keys: Key[Array, " n"], model: Any) -> tuple[PyTree, PyTree]:
    def one(key):
        prior_key, likelihood_key = jax.random.split(key)
        quiet = state.fresh(model)
        zs = _FromPrior(_Joint(_layers(quiet))).sample(prior_key)
        return zs, quiet.likelihood.sample(likelihood_key, zs[0])

    return jax.vmap(one)(keys)


def _parts(model: Any) -> list[tuple[str, Any]]:
    """Every likelihood, and the prior of the last layer, with their roles."""
    if not isinstance(model, LatentVariableModel):
        raise TypeError(
            f"{type(model).__name__} is no LatentVariableModel, so it has no z to be annealed."
        )
    layers = _layers(model)
    return [("prior", layers[-1].prior), *(("likelihood", layer.likelihood) for layer in layers)]


def _require_densities(model: Any, annealing: Annealing) -> None:
    for role, part in _parts(model):
        if not isinstance(part, ExactDensity):
            raise TypeError(
                f"{type(part).__name__} cannot be the {role} of a model whose p(x | z) p(z) is "
                "annealed: it has no log_prob."
            )
    for layer in _layers(model):
        posterior = layer.posterior
        if annealing.start == "posterior" and not isinstance(posterior, ExactDensity):
            raise TypeError(
                f"{type(posterior).__name__} does not know the density of a z that it has not "
                "drawn: anneal from the prior, Annealing(start='prior')."
            )
