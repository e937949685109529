"""The decomposition of the ELBO, by enumeration of three x and four z."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix.divergences import mutual_information

RNG = np.random.default_rng(0)
Q = RNG.dirichlet(np.ones(4), size=3)  # q(z | x_i)
PRIOR = RNG.dirichlet(np.ones(4))
LIKELIHOOD = RNG.dirichlet(np.ones(3), size=4)  # p(x | z)


def enumerated(f):
    """Mean over i and z ~ q(z | x_i) of each term."""
    terms = [[f(i, z) for z in range(4)] for i in range(3)]
    mean = lambda *v: jnp.sum(Q * jnp.reshape(jnp.stack(v), (3, 4))) / 3
    return jax.tree.map(mean, *[t for row in terms for t in row])


def test_enumeration():
    log_q, log_p = jnp.log(jnp.asarray(Q)), jnp.log(jnp.asarray(PRIOR))
    log_px = jnp.log(jnp.asarray(LIKELIHOOD))
    decompose = jax.jit(mutual_information.decompose)
    got = enumerated(lambda i, z: decompose(log_px[z, i], log_p[z], log_q[:, z], i))

    marginal = Q.mean(axis=0)
    joint = Q / 3
    information = np.sum(joint * np.log(joint / (marginal[None] * joint.sum(1, keepdims=True))))
    elbo = np.mean(np.sum(Q * (np.log(LIKELIHOOD.T) + np.log(PRIOR) - np.log(Q)), axis=1))
    np.testing.assert_allclose(got.information, information, atol=1e-5)
    np.testing.assert_allclose(
        got.marginal_kl, np.sum(marginal * np.log(marginal / PRIOR)), atol=1e-5
    )
    np.testing.assert_allclose(got.reconstruction, np.sum(joint * np.log(LIKELIHOOD.T)), atol=1e-5)
    np.testing.assert_allclose(got.rate, np.mean(np.sum(Q * np.log(Q / PRIOR), 1)), atol=1e-5)
    np.testing.assert_allclose(got.elbo, elbo, atol=1e-5)


def test_one_posterior_for_all_carries_no_information():
    log_q = jnp.full(5, -1.7)
    got = mutual_information.decompose(jnp.array(-3.0), jnp.array(-2.0), log_q, 2)
    np.testing.assert_allclose(got.information, 0.0, atol=1e-6)
    np.testing.assert_allclose(got.marginal_kl, 0.3, atol=1e-6)


def test_separate_posteriors_carry_the_log_of_their_number():
    log_q = jnp.full(5, -jnp.inf).at[2].set(0.4)
    got = mutual_information.decompose(jnp.array(-3.0), jnp.array(-2.0), log_q, 2)
    np.testing.assert_allclose(got.information, np.log(5), rtol=1e-6)
    np.testing.assert_allclose(got.elbo, -3.0 - 2.0 - 0.4, rtol=1e-6)


def test_barber_agakov_by_enumeration():
    """Reached by the true posterior of c, missed by every other by the mean KL."""
    joint = RNG.dirichlet(np.ones(12)).reshape(3, 4)  # of c and x
    p_c, p_x = joint.sum(1), joint.sum(0)
    entropy = -np.sum(p_c * np.log(p_c))
    information = np.sum(joint * np.log(joint / np.outer(p_c, p_x)))
    other = RNG.dirichlet(np.ones(3), size=4).T

    def bound(q):
        each = lambda c, x: mutual_information.barber_agakov(jnp.log(q[c, x])[None], entropy)
        return sum(joint[c, x] * each(c, x) for c in range(3) for x in range(4))

    truth = jnp.asarray(joint / p_x)
    np.testing.assert_allclose(bound(truth), information, atol=1e-5)
    kl = np.sum(joint * np.log(joint / p_x / other))
    np.testing.assert_allclose(bound(jnp.asarray(other)), information - kl, atol=1e-5)


@pytest.mark.parametrize("entropy", [0.0, 2.0])
def test_barber_agakov_is_the_mean(entropy):
    np.testing.assert_allclose(
        mutual_information.barber_agakov(jnp.array([-1.0, -3.0]), entropy), entropy - 2
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_info_nce_by_enumeration(size):
    """All batches of pairs of a joint of 2 x 3 values, scored by log p(y | x) and a shift by y."""
    joint = RNG.dirichlet(np.ones(6)).reshape(2, 3)  # of x and y
    p_x, p_y = joint.sum(1), joint.sum(0)
    information = np.sum(joint * np.log(joint / np.outer(p_x, p_y)))
    scores = np.log(joint / p_x[:, None]) + np.array([0.3, -2.0, 1.0])
    bound = jax.jit(mutual_information.info_nce)
    pairs = list(itertools.product(range(2), range(3)))
    total, expected = 0.0, 0.0
    for batch in itertools.product(pairs, repeat=size):
        p = np.prod([joint[pair] for pair in batch])
        total += p * bound(jnp.array([[scores[x, y] for x, _ in batch] for _, y in batch]))
        ratio = [[joint[x, y] / p_x[x] for x, _ in batch] for _, y in batch]
        expected += p * np.mean([np.log(r[i] / np.mean(r)) for i, r in enumerate(ratio)])
    np.testing.assert_allclose(total, expected, atol=1e-5)
    assert total <= min(information, np.log(size)) + 1e-6
    assert size == 1 or total > 0.3 * information
