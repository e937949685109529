"""DRAW against a VAE, and its filters against the image that they cover."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import bounds, evaluation, objectives
from genmix.families import Bernoulli, Draw, LatentVariableModel, Normal, StandardNormal
from genmix.nets import LSTM, MLP, Read, Window, Write
from genmix.nets.attention_window import filters

SHAPE, HIDDEN, LATENT = (4, 5, 1), 6, 3


def model(num_steps=3, window=0, seed=0):
    rngs = nnx.Rngs(seed)
    windows = [Window(HIDDEN, SHAPE, window, rngs=rngs) if window else None for _ in range(2)]
    read = Read(windows[0])
    return Draw(
        likelihood=Bernoulli(lambda canvas: canvas),
        posterior=Normal(MLP(HIDDEN, (), LATENT, rngs=rngs)),
        encoder=LSTM(read.out_size(SHAPE) + HIDDEN, HIDDEN, rngs=rngs),
        decoder=LSTM(LATENT, HIDDEN, rngs=rngs),
        read=read,
        write=Write(HIDDEN, SHAPE, windows[1], rngs=rngs),
        latent=LATENT,
        num_steps=num_steps,
    )


X = jax.random.bernoulli(jax.random.key(3), 0.4, SHAPE).astype(jnp.float32)


@pytest.mark.parametrize("side", [4, 28])
def test_narrow_filters_a_pixel_apart_are_the_image(side):
    with jax.enable_x64(True):
        found = filters(jnp.array((side - 1) / 2), jnp.array(1.0), jnp.array(1e-3), side, side)
        np.testing.assert_allclose(found, np.eye(side), atol=1e-12)


def test_filters_lie_where_they_should_and_are_finite_outside():
    """A wide filter's weighted mean of places is its middle; beyond the border it is the border."""
    found = filters(jnp.array(9.3), jnp.array(0.7), jnp.array(1.0), 3, 28)
    np.testing.assert_allclose(found @ jnp.arange(28.0), 9.3 + (np.arange(3) - 1) * 0.7, rtol=1e-4)
    one = lambda centre, deviation: filters(centre, jnp.array(1.0), deviation, 3, 8)
    for centre, border in ((-1e4, 0), (-60.0, 0), (60.0, 7), (1e6, 7)):
        value = one(jnp.array(centre), jnp.array(0.1))
        np.testing.assert_array_equal(value, np.eye(8)[[border] * 3])
        slope = jax.jacobian(one, (0, 1))(jnp.array(centre), jnp.array(0.1))
        assert all(jnp.all(jnp.isfinite(a)) for a in slope)


def told(window, numbers):
    """A window whose numbers do not depend on what it is told."""
    window.told.kernel[...] = jnp.zeros_like(window.told.kernel[...])
    window.told.bias[...] = jnp.asarray(numbers, jnp.float32)
    return window


def test_a_window_at_zeros_is_the_whole_image():
    """Square images: as many filters as pixels, narrow ones, read and write the image itself."""
    shape, rngs = (6, 6, 2), nnx.Rngs(0)
    x = jax.random.normal(jax.random.key(0), shape)
    # The paper's middle at g = 0 is that of places 1 to A, here less one: (A - 1) / 2.
    window = told(Window(HIDDEN, shape, 6, rngs=rngs), [0.0, 0.0, -12.0, 0.0, 0.0])
    whole, through = Read(), Read(window)
    h = jnp.zeros(HIDDEN)
    np.testing.assert_allclose(through(x, 2 * x, h), whole(x, 2 * x, h), rtol=1e-5)
    write = Write(HIDDEN, shape, window, rngs=rngs)
    patch = write.patch(jnp.ones(HIDDEN)).reshape(shape)
    np.testing.assert_allclose(write(jnp.ones(HIDDEN)), patch, rtol=1e-5)
    # A strength is taken out again by what is written.
    strong = told(Window(HIDDEN, shape, 6, rngs=rngs), [0.0, 0.0, -12.0, 0.0, 1.0])
    np.testing.assert_allclose(Read(strong)(x, x, h), np.e * whole(x, x, h), rtol=1e-5)
    write.window = strong
    np.testing.assert_allclose(write(jnp.ones(HIDDEN)), patch / np.e, rtol=1e-5)


def test_a_constant_image_reads_constant():
    window = told(Window(HIDDEN, (8, 8, 1), 3, rngs=nnx.Rngs(0)), [0.1, -0.2, 0.5, -1.0, 0.0])
    patch = Read(window)(jnp.ones((8, 8, 1)), jnp.zeros((8, 8, 1)), jnp.zeros(HIDDEN))
    np.testing.assert_allclose(patch.reshape(3, 3, 2)[..., 0], 1, rtol=1e-5)


class Encoder(nnx.Module):
    def __init__(self, part):
        self.part = part

    def sample_and_log_prob(self, key, cond=None):
        part, blank = self.part, jnp.zeros(SHAPE)
        before = part.decoder.output(part.decoder.initial())
        patch = part.read(cond, cond - jax.nn.sigmoid(blank), before)  # pyright: ignore[reportOptionalOperand]
        state = part.encoder(part.encoder.initial(), (patch, before))
        return part.posterior.sample_and_log_prob(key, part.encoder.output(state))


class Decoder(nnx.Module):
    def __init__(self, part):
        self.part = part

    def __call__(self, z):
        part = self.part
        return part.write(part.decoder.output(part.decoder(part.decoder.initial(), z)))


def fixed(posterior, key, cond):
    """A draw that does not depend on the key."""
    del key
    return posterior.sample_and_log_prob(jax.random.key(7), cond)


def test_one_step_without_a_window_is_the_vae():
    part = model(num_steps=1)
    vae = LatentVariableModel(
        prior=StandardNormal(LATENT),
        likelihood=Bernoulli(Decoder(part)),
        posterior=Encoder(part),
    )
    ours = part.log_weight_terms(jax.random.key(0), X, None, fixed)
    theirs = vae.log_weight_terms(jax.random.key(0), X, None, fixed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, theirs)


@pytest.mark.parametrize("window", [0, 2])
def test_steps_count_by_themselves_and_reach_every_parameter(window):
    part = model(window=window)
    terms = jax.jit(part.log_weight_terms)(jax.random.key(0), X)
    assert terms.rates.shape == (3,)
    loss = lambda part: -part.log_weight(jax.random.key(0), X)
    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(part)):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0)


def test_weights_are_unbiased():
    """The mean of weights is p(x) by draws of the prior, within 5 standard errors of both."""
    part = model(window=2, seed=1)
    keys = jax.random.split(jax.random.key(0), 20_000)
    weights = np.exp(np.asarray(jax.jit(jax.vmap(lambda k: part.log_weight(k, X)))(keys), float))
    keys = jax.random.split(jax.random.key(1), 20_000)

    def likelihood(key):
        mean = part.decode(part.latents(key))
        return jnp.prod(jnp.where(X == 1, mean, 1 - mean))

    given = np.asarray(jax.jit(jax.vmap(likelihood))(keys), float)
    error = np.hypot(weights.std(), given.std()) / np.sqrt(20_000)
    assert abs(weights.mean() - given.mean()) < 5 * error
    assert error < 0.1 * given.mean()


def test_canvases_samples_and_latents():
    part = model()
    z = part.encode(jax.random.key(0), X)
    assert z.shape == part.latents(jax.random.key(0)).shape == (3, LATENT)
    film = part.canvases(z)
    assert film.shape == (3, *SHAPE)
    np.testing.assert_array_equal(part.decode(z), film[-1])
    assert part.sample(jax.random.key(1)).shape == SHAPE
    (layer,) = evaluation.active_units(jax.random.key(0), part, X[None], num_samples=3)
    assert layer.shape == (3 * LATENT,)
    assert evaluation.elbo(jax.random.key(0), part, X[None], num_samples=2).rates.shape == (1, 3)


def test_what_makes_no_sense_is_refused():
    part, term = model(), objectives.elbo(estimator=bounds.sticking_the_landing)
    with pytest.raises(TypeError, match="use the reparameterized estimator"):
        term(part, jax.random.key(0), X[None], term.init(part))
    with pytest.raises(ValueError, match="latent and num_steps must be at least 1, got 3 and 0"):
        model(num_steps=0)
    with pytest.raises(ValueError, match=r"at least 2 filters an axis, got .* size 1"):
        Window(3, SHAPE, 1, rngs=nnx.Rngs(0))
