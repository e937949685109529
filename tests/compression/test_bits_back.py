"""What is compressed comes back, at the rate of the bound."""

import math
import random
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from genmix import compression, evaluation, families, nets
from genmix.compression import Message

SHAPE, LATENT = (4, 4), 3
RNG = np.random.default_rng(0)


def _vae(rngs, prior=None, likelihood: Any = families.Bernoulli, latent=LATENT, shape=SHAPE):
    return families.LatentVariableModel(
        prior=prior or families.StandardNormal(latent),
        likelihood=likelihood(nets.MLP(latent, (6,), shape, rngs=rngs)),
        posterior=families.Normal(nets.MLP(shape, (6,), latent, rngs=rngs)),
    )


def _binary(rngs):
    return _vae(rngs), 2


def _layered(rngs):
    inner = _vae(rngs, likelihood=families.Normal, latent=2, shape=(LATENT,))
    return _vae(rngs, prior=inner), 2


def _grey(rngs):
    likelihood = lambda net: families.DiscretizedLogistic(net, num_levels=16)
    return _vae(rngs, likelihood=likelihood), 16


@pytest.mark.parametrize("make", [_binary, _layered, _grey])
def test_events_come_back_at_the_rate_of_the_bound(make):
    model, num_levels = make(nnx.Rngs(0))
    x = RNG.integers(num_levels, size=(200, *SHAPE))
    content = compression.compress(model, x, num_levels=num_levels)
    np.testing.assert_array_equal(compression.decompress(model, content, num_levels=num_levels), x)
    first, second = (
        evaluation.elbo(jax.random.key(i), model, x.astype(np.float32), num_samples=1)
        for i in range(2)
    )
    weights = [one.log_likelihood - np.sum(one.rates, axis=1) for one in (first, second)]
    rate = 8 * len(content) - compression.overhead(content)
    bits = -np.sum(weights, axis=1) / math.log(2)
    # Two estimates of a sum of one draw an event, and a head of 33 to 64 bits: 4 standard errors
    # are a false alarm in 16,000.
    error = float(np.std(weights[1] - weights[0])) * math.sqrt(len(x)) / math.log(2)
    assert rate == pytest.approx(bits[0], abs=4 * error + 32)


def test_the_rate_of_known_probabilities():
    """Ten thousand symbols at their entropy, within three words."""
    source, message = random.Random(0), Message()
    frequencies, starts = [1, 10, 100, 65425], [0, 1, 11, 111]
    symbols = source.choices(range(4), frequencies, k=10_000)
    for symbol in symbols:
        message.push(starts[symbol], frequencies[symbol], 16)
    bits = sum(16 - math.log2(frequencies[symbol]) for symbol in symbols)
    assert 32 * len(message.words()) == pytest.approx(bits, abs=96)
    for symbol in reversed(symbols):
        top = message.peek(16)
        found = max(i for i in range(4) if starts[i] <= top)
        assert found == symbol
        message.pop(starts[found], frequencies[found], 16)
    assert message.words() == Message().words()
    assert message.borrowed == 0


def test_extreme_numbers_leave_every_level_some_probability():
    net = nnx.Sequential(nets.MLP(LATENT, (6,), SHAPE, rngs=nnx.Rngs(0)), lambda h: 1e4 * h)
    model = families.LatentVariableModel(
        prior=families.StandardNormal(LATENT),
        likelihood=families.Bernoulli(net),
        posterior=families.Normal(
            nnx.Sequential(nets.MLP(SHAPE, (6,), (LATENT, 2), rngs=nnx.Rngs(1)), lambda h: 50 * h)
        ),
    )
    x = RNG.integers(2, size=(20, *SHAPE))
    content = compression.compress(model, x, num_levels=2)
    np.testing.assert_array_equal(compression.decompress(model, content, num_levels=2), x)


def test_what_cannot_be_compressed_is_refused():
    model, x = _vae(nnx.Rngs(0)), RNG.integers(2, size=(3, *SHAPE))
    with pytest.raises(ValueError, match="whole levels from 0 to 1"):
        compression.compress(model, x + 0.5, num_levels=2)
    with pytest.raises(ValueError, match="whole levels from 0 to 1"):
        compression.compress(model, x * 3, num_levels=2)
    mixture = families.GaussianMixture(2, LATENT, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match="GaussianMixture has no codec here"):
        compression.compress(_vae(nnx.Rngs(0), prior=mixture), x, num_levels=2)


def test_a_foreign_file_or_model_is_noticed():
    model, x = _vae(nnx.Rngs(0)), RNG.integers(2, size=(3, *SHAPE))
    content = compression.compress(model, x, num_levels=2)
    with pytest.raises(ValueError, match="not what compress has written"):
        compression.overhead(b"short")
    for wrong in (b"", b"hello, this is no message at all", content[:-3]):
        with pytest.raises(ValueError, match="not what compress has written"):
            compression.decompress(model, wrong, num_levels=2)
    changed = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    for other, text in ((_vae(nnx.Rngs(1)), content), (model, changed)):
        with pytest.raises(ValueError, match="another model, machine or version"):
            compression.decompress(other, text, num_levels=2)


def test_no_events_are_a_short_file():
    model = _vae(nnx.Rngs(0))
    content = compression.compress(model, np.zeros((0, *SHAPE)), num_levels=2)
    assert len(content) < 40
    assert len(compression.decompress(model, content, num_levels=2)) == 0
