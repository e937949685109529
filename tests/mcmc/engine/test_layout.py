import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix import mcmc
from genmix.mcmc.engine import layout


def start(logdensity_fn, dim, make=mcmc.random_walk.build):
    kernel = make(logdensity_fn, 0.1)
    positions = jax.random.normal(jax.random.key(0), (4, dim))
    return mcmc.start(jax.random.key(1), kernel, positions), kernel


MATRIX = np.random.default_rng(0).normal(size=(100, 50)).astype(np.float32)


def regression(x):
    """A product of 100 x 50 with the position, inside a loop."""
    body = lambda total, _: (total - jnp.sum(jnp.tanh(jnp.asarray(MATRIX) @ x)), None)
    return jax.lax.scan(body, jnp.zeros(()), length=2)[0]


@pytest.mark.parametrize("make", [mcmc.random_walk.build, mcmc.mala.build])
def test_products_are_found_and_large_ones_put_chains_first(make):
    chains, kernel = start(regression, 50, make)
    assert layout.extent(kernel, chains.state).product == 5000
    assert layout.chains_last("auto", chains, kernel) == (make is mcmc.mala.build)
    wide = jnp.ones((400, 50))
    chains, kernel = start(lambda x: -jnp.sum((wide @ x) ** 2), 50, make)
    assert layout.extent(kernel, chains.state).product == 20_000
    assert not layout.chains_last("auto", chains, kernel)
    chains, kernel = start(lambda x: -jnp.sum(x**4), 50, make)
    assert layout.extent(kernel, chains.state).product == 0
    assert layout.chains_last("auto", chains, kernel)
    chains, kernel = start(lambda x: -x @ jnp.diag(jnp.arange(1.0, 11.0)) @ x, 10, make)
    assert layout.extent(kernel, chains.state).product == 100
    assert layout.chains_last("auto", chains, kernel)


def test_convolutions_and_factorizations_put_chains_first():
    signal = lambda x: -jnp.sum(jnp.convolve(x, jnp.ones(3)) ** 2)
    factor = lambda x: -jnp.sum(jnp.linalg.cholesky(jnp.eye(3) + jnp.outer(x, x)) ** 2)
    for logdensity_fn in (signal, factor):
        chains, kernel = start(logdensity_fn, 3)
        assert not layout.chains_last("auto", chains, kernel)


def test_other_names_are_refused():
    chains, kernel = start(lambda x: -jnp.sum(x**2), 2)
    with pytest.raises(ValueError, match="layout must be 'auto', 'first' or 'last', got 'middle'"):
        layout.chains_last("middle", chains, kernel)


def test_groups_hold_what_a_cache_holds_and_divide_the_chains():
    """The largest array of a transition is its noise for two steps, 8 bytes a dimension."""
    chains, kernel = start(lambda x: -jnp.sum(x**2), 100)
    assert layout.group_limit(chains, kernel) == 2**18 // 800
    assert layout.group_size(8192, 327) == 256
    assert layout.group_size(1500, 327) == 300
    assert layout.group_size(1009, 327) == 1009  # a prime
    assert layout.group_size(1024, 32) == 1024  # no group of 64 fits
    assert layout.group_size(8192, None) == 8192


def test_groups_of_a_target_with_large_arrays_are_small():
    """A regression with 1,000 examples has 4,000 bytes of logits a chain, not 40 of positions."""
    features = jnp.ones((1000, 5))
    chains, kernel = start(lambda x: -jnp.sum(jnp.tanh(features @ x) ** 2), 5)
    assert layout.group_limit(chains, kernel) == 2**18 // 4000
