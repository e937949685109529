"""Deep belief networks: a restricted Boltzmann machine as the prior of directed binary layers.

p(v, h1, ..., hn) = p(v | h1) ... p(h(n-2) | h(n-1)) p(h(n-1), hn), the last factor undirected. As
an expression it is nested latent-variable models, which `weighted` makes: the evaluations of genmix
then give its bound (`evaluation.elbo`) and its likelihood (`evaluation.log_likelihood`).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, Key

from genmix.densities import bernoulli
from genmix.families.energy.restricted_boltzmann import RestrictedBoltzmann
from genmix.families.explicit.conditional import Bernoulli
from genmix.families.explicit.normalized import Normalized
from genmix.families.latent.latent_variable import LatentVariableModel
from genmix.nets import state

Layers = tuple[Array, ...]
"""States of the layers from v to h(n-1), the visible ones of the machine at the top."""


class DeepBelief(nnx.Module):
    """A stack of machines trained one on top of the other, those below the top made directed.

    Downwards p(h_l | h_(l+1)), in `likelihoods`, upwards the approximate posteriors
    q(h_(l+1) | h_l), in `posteriors`: both start as the machines' conditionals and are then
    parameters of their own.

    Source: Hinton, Osindero & Teh (2006), A Fast Learning Algorithm for Deep Belief Nets, Neural
    Computation 18(7).
    """

    def __init__(self, machines: Sequence[RestrictedBoltzmann]):
        """Copies the machines' parameters.

        Raises:
            ValueError: if there are fewer than two, their sizes do not fit, or their visible units
                are not binary.
        """
        if len(machines) < 2:
            raise ValueError(f"a deep belief network needs two machines, got {len(machines)}.")
        for l, machine in enumerate(machines):
            if machine.visible.distribution != bernoulli.Bernoulli():
                raise ValueError(f"machine {l} must have binary visible units.")
            below = machines[l - 1].hidden_bias[...].size
            if l and machine.visible_bias[...].size != below:
                raise ValueError(
                    f"machine {l} must have {below} visible units, as many as there are hidden "
                    f"ones below it; got {machine.visible_bias[...].size}."
                )
        down = [_linear(m.weights[...].T, m.visible_bias[...]) for m in machines[:-1]]
        up = [_linear(m.weights[...], m.hidden_bias[...]) for m in machines[:-1]]
        self.likelihoods = nnx.List([Bernoulli(layer) for layer in down])
        self.posteriors = nnx.List([Bernoulli(layer) for layer in up])
        self.top = state.fresh(machines[-1])

    def infer(self, key: Key[Array, ""], v: Float[Array, " v"]) -> Layers:
        """Draw h1, ..., h(n-1) upwards from the approximate posteriors; v is the first layer."""
        layers = [v]
        for l, posterior in enumerate(self.posteriors):
            layers.append(posterior.sample(jax.random.fold_in(key, l), layers[-1]))
        return tuple(layers)

    def generate(self, key: Key[Array, ""], top: Float[Array, " h"]) -> Layers:
        """Draw downwards from a state of h(n-1), which is the last of the layers."""
        layers = [top]
        for l, likelihood in reversed(list(enumerate(self.likelihoods))):
            layers.append(likelihood.sample(jax.random.fold_in(key, l), layers[-1]))
        return tuple(reversed(layers))

    def weighted(
        self, log_partition: Float[ArrayLike, ""], *, num_steps: int = 1000
    ) -> LatentVariableModel:
        """The model with log-weights, given log Z of the machine at the top, in nats.

        log_weight is log p(v | h1) + ... + log p(h(n-1)) - log q(h | v): its mean is the
        variational bound on log p(v), with the error of log Z in it.

        Args:
            log_partition: by `restricted_boltzmann.log_partition` or `log_partition_ais` of `top`.
            num_steps: of the chain at the top from which the model's `sample` draws.

        Source: Salakhutdinov & Murray (2008), On the Quantitative Analysis of Deep Belief Networks,
        section 5.
        """
        start = jnp.zeros_like(self.top.visible_bias[...])
        prior = Normalized(self.top, log_partition, start=start, num_steps=num_steps)
        pairs = list(zip(self.likelihoods, self.posteriors, strict=True))
        for likelihood, posterior in reversed(pairs):
            prior = LatentVariableModel(prior=prior, likelihood=likelihood, posterior=posterior)
        assert isinstance(prior, LatentVariableModel)
        return prior


def _linear(kernel: Array, bias: Array) -> nnx.Linear:
    layer = nnx.Linear(*kernel.shape, rngs=nnx.Rngs(0))
    layer.kernel[...] = kernel
    assert layer.bias is not None
    layer.bias[...] = bias
    return layer
