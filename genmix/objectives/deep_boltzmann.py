"""Likelihood training of densities with hidden layers: mean-field posteriors, persistent chains."""

import jax
from jaxtyping import PyTree

from genmix.families.energy.deep_boltzmann import DeepBoltzmann
from genmix.objectives.term import Term
from genmix.objectives.unnormalized import persistent_contrastive_divergence


def mean_field_contrastive_divergence(
    chains: PyTree, num_steps: int, *, mean_field_steps: int
) -> Term:
    """Gradient of the variational bound of a deep Boltzmann machine, with chains for log Z.

    The hidden layers of the data are replaced by their means under q(h | v), held constant.

    Args:
        chains: states of all layers, along the first axis of each array; they travel in the carry.
        num_steps: of each chain in a step of training.
        mean_field_steps: of the ascent to q.

    Raises:
        ValueError: if a number of steps is < 1 or there are no chains.

    Source: Salakhutdinov & Hinton (2009), Deep Boltzmann Machines, AISTATS, algorithm 1.
    """
    if mean_field_steps < 1:
        raise ValueError(f"mean_field_steps must be at least 1, got {mean_field_steps}.")
    contrast = persistent_contrastive_divergence(chains, num_steps)

    def loss(model, key, batch, carry):
        constant = jax.tree.map(jax.lax.stop_gradient, model)
        layers = jax.vmap(lambda v: constant.mean_field(v, mean_field_steps))(batch)
        return contrast(model, key, layers, carry)

    def init(model):
        if not isinstance(model, DeepBoltzmann):
            raise TypeError(
                "mean_field_contrastive_divergence trains a DeepBoltzmann, got "
                f"{type(model).__name__}."
            )
        return contrast.init(model)

    return Term(loss, init)
