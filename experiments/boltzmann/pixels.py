"""A Boltzmann machine of twelve pixels of the digits, few enough to sum over all states."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genmix.data.binarization import binarize_once
from genmix.data.digits import grey_digits
from genmix.densities import moment_matching
from genmix.mcmc import binary_gibbs

NUM_TRAIN = 1_437
"""Images to train on, as in genmix.data.digits; the other 360 are to test on."""
PATCH = np.s_[:, 2:6, 2:5, 0]


def states() -> jax.Array:
    bits = np.arange(2**12)[:, None] >> np.arange(12) & 1
    return jnp.asarray(bits, jnp.float32)


def couplings(raw: jax.Array) -> jax.Array:
    """Symmetric, with a zero diagonal."""
    return raw * (1 - jnp.eye(len(raw)))


def statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x and its products of pairs, averaged: theta is (bias, couplings)."""
    return jnp.mean(x, axis=0), couplings(x.T @ x / len(x)) / 2


def energies(natural: Any, x: jax.Array) -> jax.Array:
    """<theta, T(x)> of each x."""
    bias, weights = natural
    return x @ bias + 0.5 * jnp.sum((x @ weights) * x, axis=1)


def exact_expectation(key: Any, natural: Any, carry: Any) -> Any:
    del key
    x = states()
    p = jax.nn.softmax(energies(natural, x))
    return (p @ x, couplings(x.T @ (p[:, None] * x)) / 2), carry


def gibbs_expectation(key: Any, natural: Any, carry: Any) -> Any:
    kernel = binary_gibbs.build(natural[1], natural[0])
    one = lambda key, x: kernel.step(key, kernel.init(x))[0].position
    x = jax.vmap(one)(jax.random.split(key, len(carry)), carry)
    return statistics(x), x


def pixels() -> tuple[np.ndarray, np.ndarray]:
    """Those of the machine, to train and to test on."""
    bits = binarize_once(grey_digits(), 0)[PATCH].reshape(-1, 12)
    return bits[:NUM_TRAIN], bits[NUM_TRAIN:]


def fit(key: jax.Array, kind: str, *, steps: int, num_chains: int) -> np.ndarray:
    """log p(x) of test pixels, exactly normalized, by a machine fitted with such expectations."""
    train, test = pixels()
    mean = statistics(jnp.asarray(train))
    sizes = jnp.linspace(0.15, 0.0, steps + 1)[:-1]
    chains = jnp.asarray(train[np.arange(num_chains) % NUM_TRAIN])
    start = jnp.zeros(12), jnp.zeros((12, 12))
    expectation, carry = {
        "exact": (exact_expectation, ()),
        "Gibbs chains": (gibbs_expectation, chains),
    }[kind]
    run = jax.jit(
        lambda key, carry: (
            moment_matching.match(key, mean, start, expectation, sizes, carry).natural
        )
    )
    natural = run(key, carry)
    log_z = jax.nn.logsumexp(energies(natural, states()))
    return np.asarray(energies(natural, jnp.asarray(test)) - log_z)
