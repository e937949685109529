"""Deep Boltzmann machines: binary layers, each coupled to the next, none directed.

p(x0, ..., xn) = exp(sum_l b_l.x_l + sum_l x_l.W_l x_(l+1)) / Z, with v = x0. No two layers of even
number are coupled, and no two of odd number: given the one half, all units of the other are
independent, and the whole is a restricted Boltzmann machine between the halves (`restricted`).
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, Key, PyTree

from genmix.densities import bernoulli
from genmix.densities.logistic import softplus
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.mcmc import gibbs

Layers = tuple[Array, ...]


class DeepBoltzmann(nnx.Module):
    """Density of all layers, known up to its normalizer, with mean-field posteriors given v.

    Source: Salakhutdinov & Hinton (2009), Deep Boltzmann Machines, AISTATS.
    """

    def __init__(self, sizes: Sequence[int], *, rngs: nnx.Rngs):
        """Small weights, no biases.

        Args:
            sizes: units of each layer, from the visible one on.

        Raises:
            ValueError: if there are fewer than three layers, or one is empty.
        """
        if len(sizes) < 3 or min(sizes) < 1:
            raise ValueError(
                "sizes must name the units of three layers or more, at least 1 each, got "
                f"{tuple(sizes)}."
            )
        weights = [
            nnx.Param(0.01 * jax.random.normal(rngs.params(), shape))
            for shape in itertools.pairwise(sizes)
        ]
        self.weights = nnx.List(weights)
        self.biases = nnx.List([nnx.Param(jnp.zeros(size)) for size in sizes])

    def log_unnormalized(self, layers: Layers, cond: PyTree = None) -> Float[Array, ""]:
        """Minus the energy of a state of all layers, in nats.

        It is linear in each layer: at means of independent units, its own mean.

        Raises:
            ValueError: if the layers have other shapes.
        """
        del cond
        shapes, expected = [x.shape for x in layers], [b[...].shape for b in self.biases]
        if shapes != expected:
            raise ValueError(
                f"DeepBoltzmann expects one state of layers {expected}, got {shapes}; for a batch "
                "use jax.vmap."
            )
        value = sum(x @ bias[...] for x, bias in zip(layers, self.biases, strict=True))
        for (below, above), weights in zip(itertools.pairwise(layers), self.weights, strict=True):
            value += below @ weights[...] @ above
        return jnp.asarray(value)

    def field(self, layers: Sequence[Array], l: int) -> Float[Array, " units"]:
        """Logits of layer l given its neighbours."""
        value = self.biases[l][...]
        if l > 0:
            value += layers[l - 1] @ self.weights[l - 1][...]
        if l + 1 < len(layers):
            value += self.weights[l][...] @ layers[l + 1]
        return value

    def chain_kernel(self) -> gibbs.Kernel:
        """Block Gibbs sampling of all layers: the odd ones, then the even ones."""
        return gibbs.build([self._draw_odd, self._draw_even])

    def _draw_odd(self, key: Key[Array, ""], layers: Layers) -> Layers:
        return self._drawn(key, layers, range(1, len(layers), 2))

    def _draw_even(self, key: Key[Array, ""], layers: Layers) -> Layers:
        return self._drawn(key, layers, range(0, len(layers), 2))

    def _drawn(self, key: Key[Array, ""], layers: Layers, of: Sequence[int]) -> Layers:
        """With some layers, no two of them neighbours, drawn given the others."""
        states = list(layers)
        for l in of:
            states[l] = bernoulli.sample(jax.random.fold_in(key, l), self.field(layers, l))
        return tuple(states)

    def posterior(self, v: Float[Array, " v"], num_steps: int) -> Layers:
        """Logits of the hidden layers under q(h | v), of independent units, nearest to p(h | v).

        Coordinate ascent of the bound: no step lowers it. It starts from a pass upwards, which
        doubles what comes from below where nothing has come from above yet.

        Source: Salakhutdinov & Hinton (2009), section 3.
        """
        num_layers = len(self.biases)
        logits, below = [], v
        for l in range(1, num_layers):
            weight = 1.0 if l + 1 == num_layers else 2.0
            logits.append(self.biases[l][...] + weight * (below @ self.weights[l - 1][...]))
            below = jax.nn.sigmoid(logits[-1])

        def sweep(_, logits):
            logits = list(logits)
            means = [v, *map(jax.nn.sigmoid, logits)]
            for l in self._odd_then_even(1):
                logits[l - 1] = self.field(means, l)
                means[l] = jax.nn.sigmoid(logits[l - 1])
            return tuple(logits)

        return jax.lax.fori_loop(0, num_steps, sweep, tuple(logits))

    def mean_field(self, v: Float[Array, " v"], num_steps: int) -> Layers:
        """v, and the means of the hidden layers under `posterior`."""
        return (v, *map(jax.nn.sigmoid, self.posterior(v, num_steps)))

    def bound(self, v: Float[Array, " v"], num_steps: int) -> Float[Array, ""]:
        """Lower bound on log p(v) + log Z, in nats: the mean of minus the energy, plus entropy."""
        logits = self.posterior(v, num_steps)
        entropy = sum(jnp.sum(bernoulli.entropy(l)) for l in logits)
        return self.log_unnormalized((v, *map(jax.nn.sigmoid, logits))) + entropy

    def log_unnormalized_weight(
        self, key: Key[Array, ""], v: Float[Array, " v"], num_steps: int
    ) -> Float[Array, ""]:
        """Log of an unbiased estimate of p(v) Z, in nats, with one draw of `posterior`.

        The odd layers are drawn, and the even ones summed over: the mean is above `bound`.
        """
        logits = self.posterior(v, num_steps)
        states = [v, *logits]  # the even ones are not looked at
        value = v @ self.biases[0][...]
        for l in range(1, len(states), 2):
            states[l] = bernoulli.sample(jax.random.fold_in(key, l), logits[l - 1])
            log_q = jnp.sum(bernoulli.log_prob(states[l], logits[l - 1]))
            value += states[l] @ self.biases[l][...] - log_q
        value += v @ self.weights[0][...] @ states[1]
        for l in range(2, len(states), 2):
            value += jnp.sum(softplus(self.field(states, l)))
        return value

    def weighted(self, log_partition: Float[ArrayLike, ""], num_steps: int) -> "Weighted":
        """The density of v as a part with log-weights, given log Z, in nats.

        Args:
            log_partition: by `restricted_boltzmann.log_partition` or `log_partition_ais` of
                `restricted()`.
            num_steps: of the ascent to the posterior.
        """
        return Weighted(self, log_partition, num_steps)

    def restricted(self) -> RestrictedBoltzmann:
        """The same distribution, with the even layers, v first, as visible units, odd as hidden.

        For `restricted_boltzmann.log_partition` and `log_partition_ais`.
        """
        even = range(0, len(self.biases), 2)
        odd = range(1, len(self.biases), 2)
        join = lambda layers: jnp.concatenate([self.biases[l][...] for l in layers])
        visible, hidden = join(even), join(odd)
        machine = RestrictedBoltzmann(visible.size, hidden.size, rngs=nnx.Rngs(0))
        rows = [jnp.concatenate([self._block(a, b) for b in odd], axis=1) for a in even]
        machine.weights[...] = jnp.concatenate(rows)
        machine.visible_bias[...] = visible
        machine.hidden_bias[...] = hidden
        return machine

    def _block(self, a: int, b: int) -> Array:
        """Weights between an even and an odd layer."""
        if b == a + 1:
            return self.weights[a][...]
        if a == b + 1:
            return self.weights[b][...].T
        return jnp.zeros((self.biases[a][...].size, self.biases[b][...].size))

    def _odd_then_even(self, first: int) -> list[int]:
        layers = range(first, len(self.biases))
        return sorted(layers, key=lambda l: l % 2 == 0)


def composed(machines: Sequence[RestrictedBoltzmann]) -> DeepBoltzmann:
    """A deep machine of several trained one on top of the other, as training's start.

    In training the first must have had two copies of its visible units and the last two of its
    hidden ones (`RestrictedBoltzmann.copied`), each layer being without the half of its neighbours
    then. A layer between two machines has the mean of the fields that these gave it.

    Raises:
        ValueError: if there are fewer than two, or their sizes do not fit.

    Source: Salakhutdinov & Hinton (2009), section 3.1.
    """
    above = [m.visible_bias[...].size for m in machines[1:]]
    hidden = [m.hidden_bias[...].size for m in machines]
    if len(machines) < 2 or hidden[:-1] != above:
        raise ValueError(
            "machines must be two or more, each with as many visible units as the one below has "
            f"hidden ones; got hidden {hidden} and, above the first, visible {above}."
        )
    model = DeepBoltzmann((machines[0].visible_bias[...].size, *hidden), rngs=nnx.Rngs(0))
    last = len(machines) - 1
    for l, machine in enumerate(machines):
        between = 0 < l < last
        model.weights[l][...] = (0.5 if between else 1.0) * machine.weights[...]
    model.biases[0][...] = machines[0].visible_bias[...]
    for l, (below, machine) in enumerate(itertools.pairwise(machines), start=1):
        model.biases[l][...] = 0.5 * (below.hidden_bias[...] + machine.visible_bias[...])
    model.biases[last + 1][...] = machines[last].hidden_bias[...]
    return model


class Weighted(nnx.Module):
    """See `DeepBoltzmann.weighted`."""

    def __init__(self, machine: DeepBoltzmann, log_partition: ArrayLike, num_steps: int):
        self.machine, self.num_steps = machine, num_steps
        self.log_partition = nnx.Variable(jnp.asarray(log_partition))

    def log_weight(
        self, key: Key[Array, ""], x: Float[Array, " v"], cond: PyTree = None
    ) -> Float[Array, ""]:
        """Log of an estimate of p(x), in nats: unbiased, but for the error of log Z."""
        del cond
        weight = self.machine.log_unnormalized_weight(key, x, self.num_steps)
        return weight - self.log_partition[...]
