"""Codes: exact values by enumeration, gradients against the paper's, codebooks against averages."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import evaluation, objectives
from genmix.densities import bernoulli
from genmix.families import (
    Autoregressive,
    Bernoulli,
    Codebook,
    CodesOfBits,
    EnumeratedBoltzmann,
    Normal,
    RestrictedBoltzmann,
    StandardNormal,
    UniformCodes,
    VectorQuantized,
)
from genmix.families.latent import vector_quantized
from genmix.nets import MADE, MLP, StepwiseMADE
from genmix.training import Player, by_path, compile_rounds, start

DIM, PLACES, CODES = 2, 3, 4
X = jnp.asarray(np.random.default_rng(0).integers(0, 2, (16, 5)), jnp.float32)


def model(prior: Any = None, likelihood: Any = None) -> VectorQuantized:
    rngs = nnx.Rngs(0)
    return VectorQuantized(
        prior=prior or UniformCodes((PLACES,), CODES),
        likelihood=likelihood or Bernoulli(MLP((PLACES, DIM), (6,), 5, rngs=rngs)),
        encoder=MLP(5, (6,), (PLACES, DIM), rngs=rngs),
        codebook=Codebook(CODES, DIM, rngs=rngs),
    )


def made(rngs: nnx.Rngs) -> CodesOfBits:
    network = StepwiseMADE(MADE(2 * PLACES, (12,), rngs=rngs))
    return CodesOfBits(Autoregressive(network, bernoulli.Bernoulli()), (PLACES,), CODES)


def boltzmann(rngs: nnx.Rngs) -> CodesOfBits:
    machine = RestrictedBoltzmann(2 * PLACES, 3, rngs=rngs)
    machine.weights[...] = jax.random.normal(rngs.params(), (2 * PLACES, 3))
    machine.hidden_bias[...] = jnp.array([0.3, -1.0, 0.5])
    return CodesOfBits(EnumeratedBoltzmann(machine), (PLACES,), CODES)


EVERY_CODE = jnp.asarray(list(itertools.product(range(CODES), repeat=PLACES)), jnp.int32)


@pytest.mark.parametrize("prior", [UniformCodes((PLACES,), CODES), made, boltzmann])
def test_the_log_weight_is_the_joint_at_the_nearest_codes_and_bounds_the_sum(prior):
    part = prior if isinstance(prior, UniformCodes) else prior(nnx.Rngs(1))
    whole = model(part)
    log_prior = lambda k: vector_quantized.weigh.log_weight(part, jax.random.key(0), k)
    log_prior = jax.vmap(log_prior)(EVERY_CODE)
    np.testing.assert_allclose(jax.nn.logsumexp(log_prior), 0, atol=2e-6)

    def joint(x):
        likelihood = lambda k: whole.likelihood.log_prob(x, whole.codebook(k))
        return jax.vmap(likelihood)(EVERY_CODE) + log_prior

    table = jax.vmap(joint)(X)
    got = evaluation.log_likelihood(jax.random.key(0), whole, X, num_particles=2).log_px
    distance = lambda z: jnp.sum((z[:, None] - whole.codebook.vectors[...][None]) ** 2, axis=-1)
    nearest = jnp.argmin(jax.vmap(distance)(jax.vmap(whole.encoder)(X)), axis=-1)
    index = nearest @ CODES ** jnp.arange(PLACES)[::-1]
    np.testing.assert_allclose(got, table[jnp.arange(len(X)), index], rtol=1e-5)
    assert np.all(got < jax.nn.logsumexp(table, axis=1))


@pytest.mark.parametrize("prior", [made, boltzmann])
def test_codes_of_bits_are_drawn_with_their_probabilities(prior):
    """Chi-squared over 64 codes with 20,000 draws: false alarm 1e-4; the key is fixed."""
    part = prior(nnx.Rngs(1))
    codes = jax.vmap(part.sample)(jax.random.split(jax.random.key(2), 20_000))
    counts = np.bincount(codes @ CODES ** np.arange(PLACES)[::-1], minlength=len(EVERY_CODE))
    log_p = jax.vmap(lambda k: part.log_weight(jax.random.key(0), k))(EVERY_CODE)
    expected = 20_000 * np.exp(np.asarray(log_p, float))
    assert np.sum((counts - expected) ** 2 / expected) < 117.3  # of 63 degrees of freedom


def test_the_gradient_of_the_likelihood_goes_straight_through_to_the_encoder():
    whole, x = model(made(nnx.Rngs(1))), X[0]
    slope = jax.jit(jax.grad(lambda m: m.log_weight(jax.random.key(0), x)))(whole)
    assert jnp.all(slope.codebook.vectors[...] == 0)
    _, codes, vectors = whole.quantized(x)
    of_vectors = jax.grad(lambda z: whole.likelihood.log_prob(x, z))(vectors)
    expected = jax.jit(jax.grad(lambda encoder: jnp.vdot(encoder(x), of_vectors)))(whole.encoder)
    for a, b in zip(jax.tree.leaves(slope.encoder), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    of_prior = jax.jit(jax.grad(lambda prior: prior.log_weight(jax.random.key(0), codes)))(
        whole.prior
    )
    for a, b in zip(jax.tree.leaves(slope.prior), jax.tree.leaves(of_prior), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_codebook_and_commitment_each_move_their_side_of_the_distance():
    whole = model()
    quantized = jax.vmap(whole.quantized)(X)
    distance = np.sum((quantized.encoded - quantized.vectors) ** 2) / len(X)
    for term, moved, still in (
        (objectives.codebook(), "codebook", "encoder"),
        (objectives.commitment(), "encoder", "codebook"),
    ):
        value, slope = jax.jit(
            jax.value_and_grad(lambda m, t=term: t(m, jax.random.key(0), X, ())[0])
        )(whole)
        np.testing.assert_allclose(value, distance, rtol=1e-6)
        assert any(jnp.any(a != 0) for a in jax.tree.leaves(getattr(slope, moved)))
        assert all(jnp.all(a == 0) for a in jax.tree.leaves(getattr(slope, still)))


def moved(term: objectives.Term, whole: VectorQuantized, carry: Any = None) -> tuple[Any, Any]:
    """Codebook and carry after one step of the game's own."""
    player = Player(loss=term, optimizer=by_path(optax.set_to_zero(), codebook=optax.sgd(1.0)))
    state = start(jax.random.key(0), whole, [player])
    if carry is not None:
        state = state._replace(carries={"model": carry})
    state, metrics = compile_rounds([player], batch_size=len(X), num_rounds=1)(state, X)
    return state.model.codebook.vectors[...], (state.carries["model"], metrics)


def test_the_moving_codebook_is_a_running_mean_and_a_gradient_step_at_a_rate_of_each_code(x64):
    whole = jax.tree.map(lambda a: a.astype(float), model())
    x = X.astype(float)
    decay, carry = 0.9, (jnp.array([2.0, 0.5, 1.0, 3.0]),)
    term, e = objectives.moving_codebook(decay), whole.codebook.vectors[...]
    slope, (_, (counts,)) = jax.jit(
        jax.grad(lambda m: term(m, jax.random.key(0), x, carry), has_aux=True)
    )(whole)
    after = e - slope.codebook.vectors[...]
    z, codes, _ = jax.vmap(whole.quantized)(x)
    one_hot = np.eye(CODES)[codes.reshape(-1)]
    n, sums = one_hot.sum(0), one_hot.T @ z.reshape(-1, DIM)
    # The running sums and counts of the paper.
    N = decay * carry[0] + (1 - decay) * n
    m = decay * carry[0][:, None] * e + (1 - decay) * sums
    np.testing.assert_allclose(counts, N, rtol=1e-12)
    np.testing.assert_allclose(after, m / N[:, None], rtol=1e-12)
    # The summed codebook loss, by (1 - decay) / (2 N).
    slope = jax.jit(
        jax.grad(lambda m: len(x) * objectives.codebook()(m, jax.random.key(0), x, ())[0])
    )
    sgd = e - ((1 - decay) / (2 * N))[:, None] * slope(whole).codebook.vectors[...]
    np.testing.assert_allclose(after, sgd, rtol=1e-12)


def test_a_step_of_training_moves_the_codebook_so_and_without_memory_is_lloyds():
    whole = model()
    z, codes, _ = jax.vmap(whole.quantized)(X)
    flat, used = z.reshape(-1, DIM), np.bincount(codes.reshape(-1), minlength=CODES) > 0
    after, ((counts,), metrics) = moved(objectives.moving_codebook(0.0), whole)
    e = whole.codebook.vectors[...]
    means = [flat[codes.reshape(-1) == k].mean(0) if used[k] else e[k] for k in range(CODES)]
    np.testing.assert_allclose(after, jnp.stack(means), rtol=1e-5, atol=1e-6)
    p = np.asarray(counts) / np.sum(counts)
    perplexity = np.exp(-np.sum(p[used] * np.log(p[used])))
    np.testing.assert_allclose(metrics["perplexity"], [perplexity], rtol=1e-5)


def test_codes_out_of_use_are_revived_at_an_encoding_and_the_others_are_not_touched():
    whole = model()
    whole.codebook.vectors[...] = whole.codebook.vectors[...].at[2].set(1e3)
    plain, _ = moved(objectives.moving_codebook(0.9), whole)
    assert jnp.all(plain[2] == 1e3)  # never nearest, never moved
    term = objectives.moving_codebook(0.9, revive_below=0.95)
    after, ((counts,), metrics) = moved(term, whole)
    z = jax.vmap(whole.encoder)(X).reshape(-1, DIM)
    assert jnp.min(jnp.sum(jnp.abs(z - after[2:3]), axis=1)) < 1e-3
    alive = [k for k in range(CODES) if counts[k] > 0.95]
    assert 2 not in alive
    assert counts[2] == jnp.float32(0.95)
    assert metrics["revived"] == CODES - len(alive)
    np.testing.assert_array_equal(after[jnp.array(alive)], plain[jnp.array(alive)])


def two_levels() -> VectorQuantized:
    rngs = nnx.Rngs(2)

    class Indicators(nnx.Module):
        def __init__(self, network):
            self.network = network

        def __call__(self, codes):
            return self.network(jax.nn.one_hot(codes, CODES))

    class OfCodes(nnx.Module):
        def __init__(self, network):
            self.network = network

        def log_prob(self, x, cond=None):
            log_p = jax.nn.log_softmax(self.network(cond))
            return jnp.sum(jnp.take_along_axis(log_p, x[:, None], axis=1))

        def sample(self, key, cond=None):
            return jax.random.categorical(key, self.network(cond))

    top = VectorQuantized(
        prior=UniformCodes((2,), 3),
        likelihood=OfCodes(MLP((2, DIM), (6,), (PLACES, CODES), rngs=rngs)),
        encoder=Indicators(MLP((PLACES, CODES), (6,), (2, DIM), rngs=rngs)),
        codebook=Codebook(3, DIM, rngs=rngs),
    )
    return model(top)


def test_two_levels_of_codes_are_one_density_and_both_codebooks_move():
    whole = two_levels()
    top, x = whole.prior, X[0]
    k = whole.encode(jax.random.key(0), x)
    j = top.encode(jax.random.key(0), k)
    expected = whole.likelihood.log_prob(x, whole.codebook(k))
    expected += top.likelihood.log_prob(k, top.codebook(j)) - 2 * np.log(3)
    np.testing.assert_allclose(whole.log_weight(jax.random.key(0), x), expected, rtol=1e-6)
    terms = whole.log_weight_terms(jax.random.key(0), x)
    assert terms.log_prior.shape == (2,)
    for term in (objectives.codebook(), objectives.moving_codebook(0.5)):
        slope = jax.jit(jax.grad(lambda m, t=term: t(m, jax.random.key(0), X, t.init(m))[0]))(whole)
        assert jnp.any(slope.codebook.vectors[...] != 0)
        assert jnp.any(slope.prior.codebook.vectors[...] != 0)
    begun = vector_quantized.started(jax.random.key(0), whole, X)
    encoded = jax.vmap(begun.prior.encoder)(jax.vmap(begun.quantized)(X).codes).reshape(-1, DIM)
    for e in begun.prior.codebook.vectors[...]:
        assert jnp.min(jnp.sum(jnp.abs(encoded - e[None]), axis=1)) < 1e-6
    assert whole.sample(jax.random.key(1)).shape == (5,)


def test_a_codebook_starts_at_distinct_encodings_of_a_batch():
    whole = vector_quantized.started(jax.random.key(0), model(), X)
    z = jax.vmap(whole.encoder)(X).reshape(-1, DIM)
    distances = jnp.abs(whole.codebook.vectors[...][:, None] - z[None]).sum(-1)
    assert jnp.all(jnp.min(distances, axis=1) == 0)
    assert len(np.unique(np.argmin(distances, axis=1))) == CODES


def test_bad_input_is_refused_in_words():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match="4 codes, more than the 3 vectors that the encoder gives"):
        vector_quantized.started(jax.random.key(0), model(), X[:1])
    term = objectives.moving_codebook(revive_below=0.1)
    with pytest.raises(ValueError, match="4 codes, more than the 3 vectors"):
        term(model(), jax.random.key(0), X[:1], term.init(model()))
    with pytest.raises(ValueError, match="num_codes >= 2 and dim >= 1, got 1 and 3"):
        Codebook(1, 3, rngs=rngs)
    with pytest.raises(ValueError, match="vectors of 2 entries, on the last axis"):
        model().codebook.nearest(jnp.zeros((3, 5)))
    with pytest.raises(TypeError, match=r"RestrictedBoltzmann cannot be the prior: .* normalized"):
        model(RestrictedBoltzmann(6, 2, rngs=rngs))
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1"):
        objectives.moving_codebook(1.0)
    with pytest.raises(ValueError, match="revive_below must not be negative, got -1"):
        objectives.moving_codebook(revive_below=-1.0)
    with pytest.raises(TypeError, match="Normal has no codebook: this term is for a Vector"):
        objectives.codebook().init(Normal(MLP(1, (2,), 1, rngs=rngs)))
    with pytest.raises(ValueError, match=r"a power of two of codes, .* got num_codes 6"):
        CodesOfBits(StandardNormal(3), (1,), 6)
    with pytest.raises(ValueError, match=r"sums over 2\^15 states, and at most 14"):
        EnumeratedBoltzmann(RestrictedBoltzmann(3, 15, rngs=rngs))
    with pytest.raises(ValueError, match="num_codes >= 1 and positive sides, got 0"):
        UniformCodes((2,), 0)
    with pytest.raises(ValueError, match=r"UniformCodes expects one event of shape \(2,\)"):
        UniformCodes((2,), 3).log_prob(jnp.zeros(3, int))
    with pytest.raises(ValueError, match=r"CodesOfBits expects one event of shape \(3,\)"):
        made(rngs).log_weight(jax.random.key(0), jnp.zeros(2, int))
    assert UniformCodes((2,), 3).log_prob(jnp.array([0, 3])) == -jnp.inf
    assert made(rngs).log_weight(jax.random.key(0), jnp.array([0, 4, 0])) == -jnp.inf
