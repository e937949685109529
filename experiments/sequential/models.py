"""A variational recurrent network, and deep Markov models, of the same widths."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.sequential.config import Config
from genmix import bijectors as bij
from genmix.data.ragged import RaggedDataset
from genmix.densities import normal
from genmix.families import (
    Bernoulli,
    Combiner,
    FromTheEnd,
    MergedNormal,
    Normal,
    StateSpaceModel,
    Unconditional,
    VariationalRNN,
    transformed,
)
from genmix.families.posteriors import merged_normal
from genmix.nets import GRU, LSTM, MADE, MLP, GatedTransition, Joined

Steps: TypeAlias = VariationalRNN | StateSpaceModel


def build(config: Config, dataset: RaggedDataset, name: str) -> Steps:
    """The keys' means are where the networks start."""
    mean = np.clip(np.concatenate(dataset.train).mean(0), 1e-4, 1 - 1e-4)
    rngs = nnx.Rngs(config.seed)
    if name == "vrnn":
        return variational_rnn(config, mean, rngs)
    return deep_markov(config, mean, rngs, flows=config.flows if name == "deep-markov-iaf" else 0)


def variational_rnn(config: Config, mean: np.ndarray, rngs: nnx.Rngs) -> VariationalRNN:
    """Prior, generation, recurrence and inference."""
    width, latent = config.hidden, config.latent
    network = lambda size, out: MLP(size, (width,), out, activation=jax.nn.relu, rngs=rngs)
    keys = network(latent + width, mean.size)
    likelihood = Bernoulli(Joined(keys))
    start_at(keys, mean)
    evidence = Normal(Joined(network(2 * width, latent)))
    return VariationalRNN(
        prior=Normal(network(width, latent)),
        likelihood=likelihood,
        posterior=MergedNormal(evidence, merged_normal.shifted),
        cell=LSTM(width + latent, width, rngs=rngs),
        encoder=network(mean.size, width),
    )


def deep_markov(config: Config, mean: np.ndarray, rngs: nnx.Rngs, *, flows: int) -> StateSpaceModel:
    """All that the past says goes through z_t-1; the posterior reads x from its end."""
    width, latent = config.hidden, config.latent
    keys = MLP(latent, (width, width), mean.size, activation=jax.nn.relu, rngs=rngs)
    emission = Bernoulli(keys)
    start_at(keys, mean)

    def layer() -> Any:
        gate = bij.Gate(bias=1.0)
        made = MADE(latent, (max(width, latent),), gate.num_parameters, cond_size=width, rngs=rngs)
        return bij.chain([bij.inverse_autoregressive(made, gate), bij.Reverse()])

    nothing = bij.Permutation(range(latent))
    flow = bij.repeated([layer() for _ in range(flows)]) if flows else nothing
    return StateSpaceModel(
        initial=Unconditional(normal.Normal(), latent),
        transition=Normal(GatedTransition(latent, width, rngs=rngs)),
        emission=emission,
        proposal=transformed(
            Normal(MLP(width, (), latent, rngs=rngs)),
            flow,
            encoder=Combiner(latent, width, rngs=rngs),
        ),
        encoder=FromTheEnd(GRU(mean.size, width, rngs=rngs)),
    )


def start_at(keys: MLP, mean: np.ndarray) -> None:
    keys.out.bias = nnx.Param(jnp.asarray(np.log(mean / (1 - mean))))


def one_step(
    model: Steps, key: jax.Array, carry: Any, inputs: Any
) -> tuple[Any, tuple[jax.Array, jax.Array]]:
    """The carry, and means of the keys given z_t from the posterior and from the prior."""
    posterior_key, prior_key = jax.random.split(key)
    new, z, _ = model.step(posterior_key, carry, inputs)
    if isinstance(model, VariationalRNN):
        h = model.cell.output(carry[0])
        expected = model.prior.sample(prior_key, h)
        return new, (model.likelihood.mean((z, h)), model.likelihood.mean((expected, h)))
    chain = StateSpaceModel(
        initial=model.initial, transition=model.transition, emission=model.emission
    )
    _, expected, _ = chain.step(prior_key, carry, inputs)
    return new, (model.emission.mean(z), model.emission.mean(expected))
