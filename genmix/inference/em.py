"""Expectation-maximization for mixtures: of Gaussians, or of any exponential family.

The E-step averages the statistics of each component's events, the M-step maximizes given these
averages. A component for which there is no finite maximum, as one that lost all its events, keeps
its parameters; so the likelihood never falls, and nothing becomes NaN.

Source: Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39(1); Bishop (2006), Pattern Recognition
and Machine Learning, section 9.3.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from genmix.densities import mixture


class Mixture(NamedTuple):
    """Logits of the weights [k] and the parameters of k components."""

    logits: Float[Array, " k"]
    components: Any


class Summary(NamedTuple):
    """What the M-step needs: each component's share of the events and its average statistics."""

    shares: Float[Array, " k"]
    averages: Any


@runtime_checkable
class Components(Protocol):
    """A kind of components; see `em_components`."""

    def log_probs(self, parameters: PyTree, x: Array) -> Float[Array, " k"]:
        """Log-density of one event under each component, in nats."""
        ...

    def log_prior(self, parameters: PyTree) -> Float[Array, ""]:
        """What is added to the mean log-likelihood of an event, in nats."""
        ...

    def averages(self, x: Array, shares: Float[Array, "n k"]) -> PyTree:
        """Statistics of events [n, ...], averaged for each component with weights [n, k].

        The weights of a component sum to 1, or are all 0.
        """
        ...

    def combine(self, old: PyTree, new: PyTree, fraction: Float[Array, " k"]) -> PyTree:
        """Averages over two sets of events, of which `fraction` are in the new set."""
        ...

    def maximize(self, summary: Summary, previous: PyTree) -> PyTree:
        """Parameters of greatest likelihood plus prior; `previous` where there are none."""
        ...

    def expected(self, parameters: PyTree) -> PyTree:
        """The averages of an infinite number of draws."""
        ...


class Fit(NamedTuple):
    """Where EM ended.

    Attributes:
        objective: mean log-likelihood of an event plus the components' log-prior, in nats.
        num_steps: that were taken.
        converged: whether a step raised the objective by less than the tolerance.
        history: the objective before each step; NaN from num_steps on.
    """

    mixture: Mixture
    objective: Float[Array, ""]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]
    history: Float[Array, " max_steps"]


def log_prob(mixture_: Mixture, components: Components, x: Array) -> Float[Array, ""]:
    """Log-density of one event, in nats."""
    return mixture.log_prob(components.log_probs(mixture_.components, x), mixture_.logits)


def responsibilities(mixture_: Mixture, components: Components, x: Array) -> Float[Array, " k"]:
    """Posterior probability of each component given one event."""
    return mixture.responsibilities(components.log_probs(mixture_.components, x), mixture_.logits)


def fit(
    start: Mixture,
    components: Components,
    x: Float[Array, "n ..."],
    *,
    max_steps: int = 200,
    tolerance: float = 1e-5,
) -> Fit:
    """EM on all events at every step, until a step raises the objective by less than `tolerance`.

    One `lax.while_loop`, to be put under `jax.jit`. An event that no component can explain, or a
    NaN in x, makes the objective infinite or NaN, and ends the loop.

    Raises:
        ValueError: if x has no events or max_steps < 1.
    """
    _check_events(x)
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}.")

    def unfinished(loop):
        _, _, _, count, gain = loop
        return (gain >= tolerance) & (count < max_steps)

    def improve(loop):
        current, summary, objective, count, _ = loop
        history = summary[1].at[count].set(objective)
        new = _maximize(summary[0], components, current)
        new_summary, new_objective = _expect(new, components, x)
        return new, (new_summary, history), new_objective, count + 1, new_objective - objective

    summary, objective = _expect(start, components, x)
    history = jnp.full(max_steps, jnp.nan, objective.dtype)
    gain = jnp.where(jnp.isfinite(objective), jnp.inf, jnp.nan).astype(objective.dtype)
    loop = start, (summary, history), objective, jnp.zeros((), jnp.int32), gain
    current, (_, history), objective, count, gain = lax.while_loop(unfinished, improve, loop)
    return Fit(current, objective, count, gain < tolerance, history)


def fit_batches(
    key: Key[Array, ""],
    start: Mixture,
    components: Components,
    x: Float[Array, "n ..."],
    *,
    batch_size: int,
    num_steps: int,
    decay: float = 0.7,
) -> Fit:
    """Stepwise EM: each step moves the averages by (t + 2)^-decay towards those of a batch.

    The batches are drawn with replacement; the averages start at those that `start` expects. For
    averages that forget no data and converge, decay is in (0.5, 1]. The history is that of the
    batches, each before its step, and the objective that of all events.

    Raises:
        ValueError: if x has no events, decay is outside (0.5, 1] or a number is below 1.

    Source: Cappé & Moulines (2009), arXiv:0712.4273; Liang & Klein (2009), Online EM for
    Unsupervised Models, for the rate.
    """
    _check_events(x)
    if batch_size < 1 or num_steps < 1:
        raise ValueError(
            f"batch_size and num_steps must be at least 1, got {batch_size} and {num_steps}."
        )
    if not 0.5 < decay <= 1:
        raise ValueError(f"decay must be above 0.5 and at most 1, got {decay}.")

    def step(loop, inputs):
        current, summary = loop
        key, number = inputs
        chosen = jax.random.randint(key, (batch_size,), 0, len(x))
        new, objective = _expect(current, components, x[chosen])
        summary = _combine(summary, new, (number + 2) ** -decay, components)
        return (_maximize(summary, components, current), summary), objective

    summary = Summary(jax.nn.softmax(start.logits), components.expected(start.components))
    inputs = jax.random.split(key, num_steps), jnp.arange(num_steps, dtype=start.logits.dtype)
    (current, _), history = lax.scan(step, (start, summary), inputs)
    _, objective = _expect(current, components, x)
    return Fit(current, objective, jnp.array(num_steps, jnp.int32), jnp.array(False), history)


def start_at(
    centers: Float[Array, "k ..."],
    components: Components,
    initial: PyTree,
    x: Float[Array, "n ..."],
    *,
    blur: float = 0.1,
) -> Mixture:
    """The M-step for events that belong to their nearest center, such as `plus_plus` finds.

    Args:
        initial: parameters of k components, for those without a maximum; only their shapes count
            for the others.
        blur: the share of each event that is spread over all components, so that a center alone
            with its event does not make a degenerate component.

    Raises:
        ValueError: if x has no events, or centers are not events.
    """
    _check_events(x)
    if centers.shape[1:] != x.shape[1:]:
        raise ValueError(f"centers must be events of shape {x.shape[1:]}, got {centers.shape[1:]}.")
    nearest = jax.vmap(lambda event: jnp.argmin(_square_distances(event, centers)))(x)
    k = len(centers)
    belongs = (1 - blur) * jax.nn.one_hot(nearest, k, dtype=x.dtype) + blur / k
    uniform = Mixture(jnp.zeros(k, x.dtype), initial)
    return _maximize(_summarize(x, belongs, components), components, uniform)


def plus_plus(
    key: Key[Array, ""], x: Float[Array, "n ..."], num_centers: int
) -> Float[Array, "k ..."]:
    """k-means++: events drawn with probability proportional to the squared distance to the chosen.

    Where all events coincide with chosen ones, the next is drawn uniformly.

    Raises:
        ValueError: if num_centers is not between 1 and the number of events.

    Source: Arthur & Vassilvitskii (2007), k-means++: The Advantages of Careful
    Seeding, section 2.2.
    """
    if not 1 <= num_centers <= len(x):
        raise ValueError(f"num_centers must be between 1 and {len(x)}, got {num_centers}.")

    def choose(distances, key):
        logits = jnp.where(jnp.any(distances > 0), jnp.log(distances), 0.0)
        center = x[jax.random.categorical(key, logits)]
        return jnp.minimum(distances, _square_distances(center, x)), center

    infinite = jnp.full(len(x), jnp.finfo(x.dtype).max, x.dtype)
    _, centers = lax.scan(choose, infinite, jax.random.split(key, num_centers))
    return centers


def _square_distances(event: Array, others: Array) -> Array:
    return jnp.sum(((others - event[None]) ** 2).reshape(len(others), -1), axis=1)


def _expect(current: Mixture, components: Components, x: Array) -> tuple[Summary, Array]:
    """E-step: the summary, and the objective of the current mixture."""

    def one(x):
        log_probs = components.log_probs(current.components, x)
        value = mixture.log_prob(log_probs, current.logits)
        return value, mixture.responsibilities(log_probs, current.logits)

    log_probs, belongs = jax.vmap(one)(x)
    objective = jnp.mean(log_probs) + components.log_prior(current.components)
    return _summarize(x, belongs, components), objective


def _summarize(x: Array, belongs: Float[Array, "n k"], components: Components) -> Summary:
    totals = jnp.sum(belongs, axis=0)
    shares = belongs / jnp.where(totals > 0, totals, 1.0)[None]
    return Summary(totals / len(x), components.averages(x, shares))


def _combine(old: Summary, new: Summary, rate: Array, components: Components) -> Summary:
    shares = (1 - rate) * old.shares + rate * new.shares
    fraction = rate * new.shares / jnp.where(shares > 0, shares, 1.0)
    return Summary(shares, components.combine(old.averages, new.averages, fraction))


def _maximize(summary: Summary, components: Components, previous: Mixture) -> Mixture:
    """M-step."""
    parameters = components.maximize(summary, previous.components)
    return Mixture(jnp.log(summary.shares), parameters)


def _check_events(x: Array) -> None:
    if x.ndim == 0 or not len(x):
        raise ValueError(f"x must hold events along its first axis, got shape {x.shape}.")
