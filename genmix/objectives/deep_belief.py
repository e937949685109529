"""Fine-tuning of a deep belief network, all layers at once: contrastive wake-sleep."""

from typing import Any

import jax
import jax.numpy as jnp

from genmix.families.energy.deep_belief import DeepBelief
from genmix.mcmc import kernel
from genmix.objectives.term import Term


def up_down(num_steps: int) -> Term:
    """The up-down algorithm; layers are drawn and held constant, so that each learns its own part.

    Wake: layers are inferred upwards from the data, and the likelihoods learn to generate them. At
    the top num_steps of Gibbs sampling go on from there, for contrastive divergence. Sleep: what
    they end in generates downwards, and the posteriors learn to infer it.

    The loss is no bound: its three parts have disjoint parameters and one sum.

    Raises:
        ValueError: if num_steps < 1.

    Source: Hinton, Osindero & Teh (2006), Neural Computation 18(7), section 5 and appendix B.
    """
    kernel.require_steps(num_steps)

    def loss(model, key, batch, carry):
        constant = jax.tree.map(jax.lax.stop_gradient, model)

        def one(key, v):
            up_key, chain_key, down_key = jax.random.split(key, 3)
            awake = constant.infer(up_key, v)
            end = kernel.run(chain_key, constant.top.chain_kernel(), awake[-1], num_steps)
            asleep = constant.generate(down_key, end.position)
            return _parts(model, awake, asleep)

        parts = jax.vmap(one)(jax.random.split(key, len(batch)), batch)
        means = {name: jnp.mean(value) for name, value in parts.items()}
        return -(means["wake"] + means["sleep"] + means["top"]), (means, carry)

    return Term(loss, _require_deep_belief)


def _parts(model: DeepBelief, awake: Any, asleep: Any) -> dict[str, jax.Array]:
    """What each set of parameters maximises, for one event, in nats."""
    wake = sum(
        likelihood.log_prob(awake[l], awake[l + 1])
        for l, likelihood in enumerate(model.likelihoods)
    )
    sleep = sum(
        posterior.log_prob(asleep[l + 1], asleep[l]) for l, posterior in enumerate(model.posteriors)
    )
    top = model.top.log_unnormalized(awake[-1]) - model.top.log_unnormalized(asleep[-1])
    return {"wake": jnp.asarray(wake), "sleep": jnp.asarray(sleep), "top": top}


def _require_deep_belief(model: Any) -> tuple[()]:
    if not isinstance(model, DeepBelief):
        raise TypeError(f"up_down trains a DeepBelief, got {type(model).__name__}.")
    return ()
