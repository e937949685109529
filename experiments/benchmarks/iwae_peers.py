"""What experiments.benchmarks.iwae is compared with: JAX and PyTorch by hand, and Pythae."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

PIXELS, HIDDEN, LATENT = 784, 200, 50

Step = Callable[[int], None]
"""Runs that many training steps and waits for the last."""


def images(n: int = 2000) -> np.ndarray:
    return np.random.default_rng(0).random((n, PIXELS), np.float32)


def dense(parameters: list[tuple[jax.Array, jax.Array]], x: jax.Array) -> jax.Array:
    for i, (weight, bias) in enumerate(parameters):
        x = x @ weight + bias.reshape((1,) * (x.ndim - 1) + (-1,))
        x = jnp.tanh(x) if i < len(parameters) - 1 else x
    return x


def dense_parameters(key: jax.Array, sizes: list[int]) -> list[tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(key, len(sizes) - 1)
    glorot = jax.nn.initializers.glorot_uniform()
    pairs = zip(keys, itertools.pairwise(sizes), strict=True)
    return [(glorot(key, (a, b)), jnp.zeros(b)) for key, (a, b) in pairs]


def jax_log_weights(parameters: Any, key: jax.Array, x: jax.Array, k: int) -> jax.Array:
    """Log-weights [batch, k] as one would write them for this one model."""
    encoder, decoder = parameters
    loc, raw = jnp.split(dense(encoder, x), 2, axis=-1)
    scale = 1e-4 + jax.nn.softplus(raw)
    noise = jax.random.normal(key, (len(x), k, LATENT))
    z = loc[:, None] + scale[:, None] * noise
    logits = dense(decoder, z)
    log_likelihood = jnp.sum(x[:, None] * logits - jax.nn.softplus(logits), axis=-1)
    log_prior = -0.5 * jnp.sum(z**2, axis=-1)
    log_posterior = -jnp.sum(0.5 * noise**2 + jnp.log(scale)[:, None], axis=-1)
    return log_likelihood + log_prior - log_posterior


def jax_step(batch_size: int, k: int, num_steps: int) -> Step:
    """One `lax.scan` over steps, written by hand for this model."""
    optimizer = optax.adam(1e-3)
    keys = jax.random.split(jax.random.key(0))
    parameters = (
        dense_parameters(keys[0], [PIXELS, HIDDEN, HIDDEN, 2 * LATENT]),
        dense_parameters(keys[1], [LATENT, HIDDEN, HIDDEN, PIXELS]),
    )

    def loss(parameters, key, x):
        log_weights = jax_log_weights(parameters, key, x, k)
        return -jnp.mean(jax.nn.logsumexp(log_weights, axis=1) - math.log(k))

    def one(carry, inputs):
        (parameters, state), (key, index), x = carry[:2], inputs, carry[2]
        bit_key, noise_key = jax.random.split(key)
        probabilities = x[index]
        batch = (jax.random.uniform(bit_key, probabilities.shape) < probabilities) * 1.0
        value, gradient = jax.value_and_grad(loss)(parameters, noise_key, batch)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(parameters, updates), state, x), value

    def many(carry, key, x):
        order_key, step_key = jax.random.split(key)
        epochs = -(-num_steps * batch_size // len(x)) + 1
        order = jax.vmap(lambda key: jax.random.permutation(key, len(x)))(
            jax.random.split(order_key, epochs)
        ).reshape(-1)[: num_steps * batch_size]
        index = order.reshape(num_steps, batch_size)
        step_keys = jax.random.split(step_key, num_steps)
        (parameters, state, _), values = jax.lax.scan(one, (*carry, x), (step_keys, index))
        return (parameters, state), values

    x = jnp.asarray(images())
    carry = (parameters, optimizer.init(parameters))
    compiled = jax.jit(many, donate_argnums=0).lower(carry, jax.random.key(1), x).compile()
    held = [carry, 0]

    def step(calls: int) -> None:
        for _ in range(calls):
            held[1] += 1
            held[0], _ = compiled(held[0], jax.random.key(held[1]), x)
        jax.block_until_ready(held[0])

    return step


def torch_networks() -> tuple[Any, Any]:
    import torch

    def mlp(sizes):
        layers = []
        for a, b in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(a, b), torch.nn.Tanh()]
        return torch.nn.Sequential(*layers[:-1])

    return mlp([PIXELS, HIDDEN, HIDDEN, 2 * LATENT]), mlp([LATENT, HIDDEN, HIDDEN, PIXELS])


def torch_log_weights(encoder: Any, decoder: Any, x: Any, k: int) -> Any:
    import torch

    loc, raw = encoder(x).chunk(2, dim=-1)
    scale = 1e-4 + torch.nn.functional.softplus(raw)
    noise = torch.randn(len(x), k, LATENT)
    z = loc[:, None] + scale[:, None] * noise
    logits = decoder(z)
    log_likelihood = (x[:, None] * logits - torch.nn.functional.softplus(logits)).sum(-1)
    log_posterior = -(0.5 * noise**2 + scale.log()[:, None]).sum(-1)
    return log_likelihood - 0.5 * (z**2).sum(-1) - log_posterior


def torch_step(batch_size: int, k: int, num_steps: int) -> Step:
    import torch

    encoder, decoder = torch_networks()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3)
    x = torch.from_numpy(images())

    def step(calls: int) -> None:
        order = torch.randint(len(x), (calls * num_steps, batch_size))
        for index in order:
            batch = torch.bernoulli(x[index])
            log_weights = torch_log_weights(encoder, decoder, batch, k)
            loss = -(torch.logsumexp(log_weights, 1) - math.log(k)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def pythae_model(k: int) -> Any:
    import torch
    from pythae.models import IWAE, IWAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    networks = torch_networks()

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.network = networks[0]

        def forward(self, x):
            embedding, log_covariance = self.network(x).chunk(2, dim=-1)
            return ModelOutput(embedding=embedding, log_covariance=log_covariance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.network = networks[1]

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    config = IWAEConfig(
        input_dim=(PIXELS,), latent_dim=LATENT, number_samples=k, reconstruction_loss="bce"
    )
    return IWAE(config, encoder=Encoder(), decoder=Decoder())


def pythae_step(batch_size: int, k: int, num_steps: int) -> Step:
    import torch

    model = pythae_model(k)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x = torch.from_numpy(images())

    def step(calls: int) -> None:
        order = torch.randint(len(x), (calls * num_steps, batch_size))
        for index in order:
            output = model({"data": torch.bernoulli(x[index])})
            optimizer.zero_grad()
            output.loss.backward()
            optimizer.step()

    return step


def torch_nll(num_images: int, num_particles: int) -> Step:
    """Chunks of 500 particles of 20 images with a running logsumexp."""
    import torch

    encoder, decoder = torch_networks()
    x = (torch.from_numpy(images(num_images)) > 0.5).float()

    def run(calls: int) -> None:
        with torch.no_grad():
            for _ in range(calls):
                for batch in x.split(20):
                    total = torch.full((len(batch),), -math.inf)
                    for _ in range(num_particles // 500):
                        log_weights = torch_log_weights(encoder, decoder, batch, 500)
                        total = torch.logaddexp(total, torch.logsumexp(log_weights, 1))

    return run


def pythae_nll(num_images: int, num_particles: int) -> Step:
    """Pythae's own estimator, image by image."""
    import torch

    model = pythae_model(1)
    x = (torch.from_numpy(images(num_images)) > 0.5).float()

    def run(calls: int) -> None:
        import contextlib
        import io

        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            for _ in range(calls):
                model.get_nll(x, n_samples=num_particles, batch_size=500)

    return run
