"""Diffusion of levels: bits, grey levels, codes. Noise replaces entries, by others or by a mask."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

States = Float[Array, "*shape states"]
Scalar = Float[Array, ""]


class DiscreteDiffusion(nnx.Module):
    """p(x_0 | x_1) ... p(x_{T-1} | x_T) p(x_T) over levels 0 .. num_levels - 1, entry by entry.

    In a step from s to t an entry stays with probability keep_t / keep_s, and is drawn anew from a
    distribution pi otherwise: uniform over the levels or, if `is_absorbing`, a further state, the
    mask. A network says what each entry of x_0 may have been; Bayes' rule does the rest:

        p(x_s | x_t) = sum over k of q(x_s | x_t, x_0 = k) p(x_0 = k | x_t).

    For bits and pi uniform this is the binomial kernel of Sohl-Dickstein et al.

    Args:
        network: (one-hot x_t [*shape, states], t / T, cond) -> logits of x_0, [*shape, num_levels].
        shape: of an event.
        num_levels: of each entry.
        num_steps: T.
        is_absorbing: whether noise is a mask, the state after the last level.
        keep: the T probabilities that an entry of x_1, ..., x_T is that of x_0; by default 1 - t
            / T, which loses as much in each step as in any other.

    Raises:
        ValueError: if a count is too small, or `keep` does not fall from below 1 to at least 0 (to
            0, if absorbing) in num_steps steps.

    Source: Sohl-Dickstein et al. (2015), arXiv:1503.03585, section 2 and appendix B.2 (binomial);
    Austin et al. (2021), D3PM, arXiv:2107.03006, section 3.
    """

    def __init__(
        self,
        network: Callable[[States, Scalar, PyTree], States],
        *,
        shape: Sequence[int],
        num_levels: int,
        num_steps: int,
        is_absorbing: bool = False,
        keep: Sequence[float] | np.ndarray | None = None,
    ):
        if num_steps < 1 or num_levels < 2:
            raise ValueError(
                "DiscreteDiffusion needs num_steps of at least 1 and num_levels of at least 2, got "
                f"{num_steps} and {num_levels}."
            )
        self.network, self.shape, self.num_levels = network, tuple(shape), num_levels
        self.num_steps, self.is_absorbing = num_steps, is_absorbing
        chosen = 1 - np.arange(1, num_steps + 1) / num_steps if keep is None else np.asarray(keep)
        self.keep = (1.0, *_falling(chosen, num_steps, is_absorbing))

    @property
    def num_states(self) -> int:
        """Levels, and the mask if there is one."""
        return self.num_levels + self.is_absorbing

    def log_weight(
        self, key: Key[Array, ""], x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Scalar:
        """Log of an unbiased estimate of p(x | cond) along one path, in nats.

        log p(x_T) + sum over t of log p(x_s | x_t) - log q(x_t | x_s); -inf where x is no event.
        """
        level, is_event = self._events(x)
        start = jax.nn.one_hot(level, self.num_states)

        def body(x_s: States, i: Array) -> tuple[States, Scalar]:
            forward = self._forward(x_s, i)
            x_t = self._draw(jax.random.fold_in(key, i), forward)
            log_p = _log_at(self._backward(x_t, i, cond), x_s)
            return x_t, log_p - _log_at(forward, x_t)

        end, log_ratios = jax.lax.scan(body, start, jnp.arange(1, self.num_steps + 1))
        value = jnp.sum(log_ratios) + _log_at(jnp.broadcast_to(self._noise(), end.shape), end)
        return jnp.where(is_event, value, -jnp.inf)

    def log_bound(
        self, key: Key[Array, ""], x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Scalar:
        """Unbiased estimate of E log_weight by one step of the chain, in nats."""
        time_key, key = jax.random.split(key)
        return self.log_bound_at(key, jax.random.uniform(time_key), x, cond)

    def log_bound_at(
        self, key: Key[Array, ""], t: Scalar, x: Shaped[Array, "..."], cond: PyTree = None
    ) -> Scalar:
        """`log_bound` by the step that the time t in [0, 1] falls into; NaN outside."""
        level, is_event = self._events(x)
        i = jnp.clip(jnp.ceil(t * self.num_steps), 1, self.num_steps).astype(int)
        one_hot = jax.nn.one_hot(level, self.num_states)
        x_t = self._draw(key, self._marginal(one_hot, self._kept(i)))
        q, p = self._posterior(x_t, one_hot, i), self._backward(x_t, i, cond)
        end = self._marginal(one_hot, self._kept(jnp.asarray(self.num_steps)))
        end_kl = _kl(end, jnp.broadcast_to(self._noise(), end.shape))
        value = -end_kl - self.num_steps * _kl(q, p)
        value = jnp.where(is_event, value, -jnp.inf)
        return jnp.where((t >= 0) & (t <= 1), value, jnp.nan)

    def sample(
        self,
        key: Key[Array, ""],
        cond: PyTree = None,
        known: Shaped[Array, "..."] | None = None,
    ) -> Float[Array, "..."]:
        """Levels, in floats; `known` as in `path`."""
        return self.path(key, cond, known)[0]

    def path(
        self,
        key: Key[Array, ""],
        cond: PyTree = None,
        known: Shaped[Array, "..."] | None = None,
    ) -> Float[Array, "times ..."]:
        """All x_t of a draw, x_T last; the mask is `num_levels`.

        Args:
            known: levels that the event has, negative where it is to be drawn (inpainting): they
                are never masked.

        Raises:
            ValueError: if something is known, and of another shape, or noise is no mask.
        """
        start_key, path_key = jax.random.split(key)
        noise = jnp.broadcast_to(self._noise(), (*self.shape, self.num_states))
        start = self._draw(start_key, noise)
        if known is not None:
            start = self._reveal(start, known)

        def body(x_t: States, i: Array) -> tuple[States, States]:
            x_s = self._draw(jax.random.fold_in(path_key, i), self._backward(x_t, i, cond))
            return x_s, x_s

        _, path = jax.lax.scan(body, start, jnp.arange(1, self.num_steps + 1), reverse=True)
        return jnp.argmax(jnp.concatenate([path, start[None]]), axis=-1).astype(start.dtype)

    def _reveal(self, start: States, known: Shaped[Array, "..."]) -> States:
        if not self.is_absorbing:
            raise ValueError(
                "levels can be known only where noise is a mask, for other noise would change "
                "them: use is_absorbing=True."
            )
        if known.shape != self.shape:
            raise ValueError(f"known must have the event's shape {self.shape}, got {known.shape}.")
        return jnp.where(known[..., None] < 0, start, jax.nn.one_hot(known, self.num_states))

    def _events(self, x: Shaped[Array, "..."]) -> tuple[Int[Array, "..."], Array]:
        """x in integers, and whether it has no entry that is none of the levels."""
        if x.shape != self.shape:
            raise ValueError(
                f"DiscreteDiffusion expects one event of shape {self.shape}, got {x.shape}; for a "
                "batch use jax.vmap."
            )
        is_level = (x >= 0) & (x <= self.num_levels - 1) & (x == jnp.floor(x))
        return jnp.where(is_level, x, 0).astype(int), jnp.all(is_level)

    def _noise(self) -> Float[Array, " states"]:
        """pi, what noise puts in an entry's place."""
        if self.is_absorbing:
            return jax.nn.one_hot(self.num_levels, self.num_states)
        return jnp.full(self.num_levels, 1 / self.num_levels)

    def _kept(self, i: Int[Array, ""]) -> Scalar:
        return jnp.asarray(self.keep)[i]

    def _marginal(self, x: States, keep: Scalar) -> States:
        """Probabilities of an entry that is that of x with probability `keep`, and noise if not."""
        noise = self._noise().reshape((1,) * len(self.shape) + (-1,))
        return keep * x + (1 - keep) * noise

    def _forward(self, x_s: States, i: Int[Array, ""]) -> States:
        """q(x_t | x_s) of step i."""
        return self._marginal(x_s, self._kept(i) / self._kept(i - 1))

    def _posterior(self, x_t: States, weights: States, i: Int[Array, ""]) -> States:
        """Sum over k of weights_k q(x_s | x_t, x_0 = k) of step i, by Bayes' rule."""
        noise = self._noise().reshape((1,) * len(self.shape) + (-1,))
        stays = self._kept(i) / self._kept(i - 1)
        # q(x_t | x_s) as a function of x_s, and q(x_t | x_0) as one of x_0.
        at_noise = jnp.sum(noise * x_t, axis=-1, keepdims=True)
        likelihood = stays * x_t + (1 - stays) * at_noise
        evidence = self._kept(i) * x_t + (1 - self._kept(i)) * at_noise
        share = jnp.where(evidence > 0, weights / jnp.where(evidence > 0, evidence, 1), 0)
        total = jnp.sum(share, axis=-1, keepdims=True)
        before = self._kept(i - 1)
        return likelihood * (before * share + (1 - before) * noise * total)

    def _backward(self, x_t: States, i: Int[Array, ""], cond: PyTree) -> States:
        """p(x_s | x_t) of step i."""
        logits = self.network(x_t, i / self.num_steps, cond)
        if logits.shape != (*self.shape, self.num_levels):
            raise ValueError(
                "DiscreteDiffusion needs a network that gives logits of shape "
                f"{(*self.shape, self.num_levels)}, got {logits.shape}."
            )
        weights = jax.nn.softmax(logits)
        if not self.is_absorbing:
            return self._posterior(x_t, weights, i)
        weights = jnp.pad(weights, [(0, 0)] * len(self.shape) + [(0, 1)])
        # An entry that is no mask was never another, whatever the network says.
        return jnp.where(x_t[..., -1:] > 0, self._posterior(x_t, weights, i), x_t)

    def _draw(self, key: Key[Array, ""], probabilities: States) -> States:
        """One-hot states."""
        index = jax.random.categorical(key, _log(probabilities))
        return jax.nn.one_hot(index, self.num_states, dtype=probabilities.dtype)


def _log(p: States) -> States:
    """log p, -inf with zero gradient at zero."""
    return jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1)), -jnp.inf)


def _log_at(p: States, x: States) -> Scalar:
    """log p of one-hot states, summed over the entries."""
    return jnp.sum(_log(jnp.sum(p * x, axis=-1)))


def _kl(q: States, p: States) -> Scalar:
    """KL(q || p), summed over the entries, with 0 log 0 = 0."""
    is_possible = q > 0
    log_ratio = _log(jnp.where(is_possible, q, 1)) - _log(jnp.where(is_possible, p, 1))
    return jnp.sum(jnp.where(is_possible, q * log_ratio, 0))


def _falling(keep: np.ndarray, num_steps: int, is_absorbing: bool) -> list[float]:
    """The probabilities, if they make sense."""
    values = np.asarray(keep, np.float64)
    falls = values.shape == (num_steps,) and np.all(np.diff(np.append(1.0, values)) < 0)
    if not falls or values[-1] < 0 or (is_absorbing and values[-1] > 0):
        end = "to 0, for all is masked in the end" if is_absorbing else "to at least 0"
        raise ValueError(
            f"keep must be {num_steps} probabilities that fall from below 1 {end}, got {values}."
        )
    return values.tolist()
