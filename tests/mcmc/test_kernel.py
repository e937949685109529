"""One chain of any kernel: of all that genmix has, and of another library's."""

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix.families import DeepBoltzmann, RestrictedBoltzmann
from genmix.mcmc import binary_gibbs, gibbs, hmc, kernel, langevin, mala, random_walk


def logdensity(x):
    return -0.5 * jnp.sum(x**2)


def draw(key, x):
    return jax.random.normal(key, x.shape)


KERNELS = {
    "random walk": lambda: random_walk.build(logdensity, 0.5),
    "Langevin": lambda: langevin.build(logdensity, 0.1),
    "MALA": lambda: mala.build(logdensity, 0.1),
    "HMC": lambda: hmc.build(logdensity, 0.1, 2),
    "Gibbs": lambda: gibbs.build([draw]),
    "binary Gibbs": lambda: binary_gibbs.build(jnp.zeros((3, 3)), jnp.ones(3)),
    "RBM": lambda: RestrictedBoltzmann(3, 2, rngs=nnx.Rngs(0)).chain_kernel(),
    "BlackJAX's MALA": lambda: blackjax.mala(logdensity, 0.1),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_chain_is_its_steps_one_by_one(name):
    moves, key, x = KERNELS[name](), jax.random.key(1), jnp.array([0.0, 1.0, 1.0])
    assert isinstance(moves, kernel.Kernel)
    state, rates, has_moved = moves.init(x), [], False
    for i in range(3):
        state, info = moves.step(jax.random.fold_in(key, i), state)
        rates.append(getattr(info, "acceptance_rate", 1.0))
        has_moved |= bool(jnp.any(state.position != x))
    end = kernel.run(key, moves, x, 3)
    np.testing.assert_allclose(end.position, state.position, rtol=1e-6)
    np.testing.assert_allclose(end.acceptance_rate, np.mean(rates), rtol=1e-5)
    assert has_moved


def test_machines_have_kernels_and_networks_do_not():
    rngs = nnx.Rngs(0)
    assert isinstance(RestrictedBoltzmann(3, 2, rngs=rngs), kernel.HasChainKernel)
    assert isinstance(DeepBoltzmann((3, 2, 2), rngs=rngs), kernel.HasChainKernel)
    assert not isinstance(nnx.Linear(2, 2, rngs=rngs), kernel.HasChainKernel)


def test_a_chain_has_a_step():
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        kernel.require_steps(0)
