"""Parts of codes: classes, uniform numbers, products; and autoencoders without a density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import families
from genmix.families import (
    Autoencoder,
    Deterministic,
    Implicit,
    Independent,
    LatentVariableModel,
    OneHot,
    StandardNormal,
    Uniform,
)
from genmix.nets import MLP, Joined

LOGITS = jnp.array([0.3, -1.0, 2.0])


def test_one_hot_is_categorical():
    part = OneHot(lambda cond: LOGITS, 3)
    p = np.exp(LOGITS) / np.exp(LOGITS).sum()
    log_p = jax.vmap(part.log_prob)(jnp.eye(3))
    np.testing.assert_allclose(np.exp(log_p), p, rtol=1e-6)
    np.testing.assert_allclose(part.mean(), p, rtol=1e-6)
    draws = jax.vmap(part.sample)(jax.random.split(jax.random.key(0), 4000))
    assert jnp.all(jnp.sum(draws, axis=1) == 1)
    # Within 4.5 standard errors of at most 0.008: false alarm 2e-5.
    np.testing.assert_allclose(draws.mean(axis=0), p, atol=0.036)
    # A class that cannot come costs nothing if it is not asked for.
    never = jnp.array([0.0, -jnp.inf])
    given = OneHot(lambda logits: logits, 2).log_prob
    value, slope = jax.value_and_grad(given, argnums=1)(jnp.array([1.0, 0.0]), never)
    assert value == 0
    assert jnp.all(jnp.isfinite(slope))
    with pytest.raises(ValueError, match=r"events of shape \(3,\), got x of \(2,\)"):
        part.log_prob(jnp.ones(2))


def test_uniform_has_its_density():
    part = Uniform(2, low=-1.0, high=3.0)
    x = part.sample(jax.random.key(0))
    np.testing.assert_allclose(part.log_prob(x), -2 * np.log(4.0), rtol=1e-6)
    assert part.log_prob(jnp.array([0.0, 3.5])) == -jnp.inf
    with pytest.raises(ValueError, match="Uniform needs dim >= 1 and low < high, got 0"):
        Uniform(0)
    with pytest.raises(ValueError, match=r"one event of shape \(2,\), got \(3,\)"):
        part.log_prob(jnp.zeros(3))


def test_a_product_is_drawn_and_weighed_part_by_part():
    parts = (StandardNormal(2), Uniform(1))
    both = Independent(parts)
    z, u = both.sample(jax.random.key(0))
    assert (z.shape, u.shape) == ((2,), (1,))
    expected = parts[0].log_prob(z) + parts[1].log_prob(u)
    np.testing.assert_allclose(both.log_prob((z, u)), expected, rtol=1e-6)
    assert np.isfinite(expected)
    with pytest.raises(ValueError, match="has 2 parts, got 1 events"):
        both.log_prob((z,))
    with pytest.raises(ValueError, match="needs at least one part"):
        Independent(())
    with pytest.raises(TypeError, match="object cannot be one of several"):
        Independent((object(),))
    assert not hasattr(Independent((Deterministic(lambda _: z),)), "log_prob")


def test_encoders_without_a_density():
    rngs = nnx.Rngs(0)
    encoders = {
        "deterministic": Deterministic(MLP(3, (4,), 2, rngs=rngs)),
        "universal": Implicit(StandardNormal(5), Joined(MLP(8, (4,), 2, rngs=rngs))),
    }
    likelihood = families.Normal(MLP(2, (4,), 3, rngs=rngs))
    x = jnp.ones(3)
    draws = {}
    for name, encoder in encoders.items():
        parts = {"prior": StandardNormal(2), "likelihood": likelihood, "posterior": encoder}
        with pytest.raises(TypeError, match="cannot be the posterior"):
            LatentVariableModel(**parts)
        model = Autoencoder(**parts)
        encode = jax.vmap(lambda key, model=model: model.encode(key, x))
        draws[name] = encode(jax.random.split(jax.random.key(0), 3))
        assert model.decode(draws[name][0]).shape == model.sample(jax.random.key(1)).shape == (3,)
    assert jnp.all(draws["deterministic"] == draws["deterministic"][:1])
    assert jnp.any(draws["universal"] != draws["universal"][:1])
    with pytest.raises(TypeError, match="object cannot be the posterior: it has no sample"):
        Autoencoder(prior=StandardNormal(2), likelihood=likelihood, posterior=object())
