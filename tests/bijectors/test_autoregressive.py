"""Masked and inverse autoregressive flows: fixed points, their gradients, transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import bijectors as bij
from genmix.bijectors import deep_sigmoid
from genmix.nets import MLP
from genmix.nets.made import MADE
from tests.bijectors.table import made, perturbed

ORDER = (2, 0, 3, 1)
X = np.array([0.3, -1.2, 0.8, 2.0])


def strong(num_outputs=2):
    """A network whose outputs depend steeply on its inputs."""
    return perturbed(made(num_outputs, order=ORDER, cond_size=2), 2.0)


def sequential(network, transformer, x, cond):
    """y_i = f(x_i; network(y_<i)), one entry after the other."""
    y = jnp.zeros_like(x)
    for i in ORDER:
        value, _ = transformer.forward_and_log_slope(x, network(y, cond))
        y = y.at[i].set(value[i])
    return y


def test_sweeps_give_what_one_entry_at_a_time_gives_with_its_gradients(x64):
    transformer = bij.ShiftScale()
    weights = jnp.array([1.0, -0.5, 2.0, 0.3])

    @jax.jit
    def compare(x, cond):
        network = strong()
        by_sweeps = lambda network, x, cond: bij.masked_autoregressive(
            network, transformer
        ).forward_and_log_det(x, cond)[0]
        by_entries = lambda network, x, cond: sequential(network, transformer, x, cond)
        results = []
        for draw in (by_sweeps, by_entries):
            loss = lambda *args, draw=draw: jnp.sum(weights * jnp.sin(draw(*args)))
            results.append((draw(network, x, cond), jax.grad(loss, (0, 1, 2))(network, x, cond)))
        return results

    (y, gradient), (expected, expected_gradient) = compare(X, jnp.array([0.5, -0.4]))
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    got, want = jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient)
    assert len(got) > 5
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_overflow_on_the_way_to_the_fixed_point_does_no_harm():
    # While the first entry is still taken as 0, the second one's scale is exp(200): infinite.
    class Steep(nnx.Module):
        def given(self, cond):
            matrix = jnp.array([[0.0, 0, 0], [400, 0, 0], [0, 400, 0]])
            offset = jnp.array([0.0, 200, 0])
            return lambda y: jnp.stack([jnp.zeros(3), matrix @ y + offset], axis=-1)

    maf = bij.masked_autoregressive(Steep(), bij.ShiftScale(bij.exponential_scale))
    y, log_det = maf.forward_and_log_det(jnp.array([-0.6, 1.0, 1.0]))
    np.testing.assert_allclose(y, [-0.6, np.exp(-40.0), 1.0], rtol=1e-4)
    np.testing.assert_allclose(log_det, -40.0, rtol=1e-5)


def test_nan_stays_nan():
    maf = bij.masked_autoregressive(made(2), bij.ShiftScale())
    y, log_det = maf.forward_and_log_det(jnp.array([0.1, jnp.nan, 0.2, 0.3]))
    assert jnp.all(jnp.isnan(y[1:]))
    assert jnp.isnan(log_det)


def test_gates_start_open_by_the_papers_amount(x64):
    zeros = jnp.zeros((4, 2))
    _, log_slope = bij.Gate().forward_and_log_slope(jnp.asarray(X), zeros)
    np.testing.assert_allclose(log_slope, np.log(0.8807970779778823), rtol=1e-12)
    np.testing.assert_allclose(log_slope, -0.127, atol=1e-3)


@pytest.mark.parametrize(
    "transformer",
    [bij.Shift(), bij.ShiftScale(), bij.RationalQuadratic(), bij.DeepSigmoid(num_units=3)],
)
def test_transformers_are_the_identity_at_zero(x64, transformer):
    x = jnp.asarray(X)
    y, log_slope = transformer.forward_and_log_slope(x, jnp.zeros((4, transformer.num_parameters)))
    np.testing.assert_allclose(y, x, rtol=1e-12)
    np.testing.assert_allclose(log_slope, 0, atol=1e-12)


@pytest.mark.parametrize("raw", [-1e4, 1e4])
@pytest.mark.parametrize("transformer", [bij.ShiftScale(), bij.ShiftScale(bij.bounded_scale)])
def test_scales_stay_finite_for_any_network_output(raw, transformer):
    f = lambda raw: transformer.forward_and_log_slope(jnp.ones(1), jnp.full((1, 2), raw))
    (y, log_slope), gradient = f(raw), jax.grad(lambda raw: f(raw)[1][0])(raw)
    assert jnp.all(jnp.isfinite(jnp.stack([y, log_slope])))
    assert jnp.isfinite(gradient)


def test_deep_sigmoid_matches_its_formula_and_lives_in_its_tails(x64):
    rng = np.random.default_rng(0)
    logits, log_steepness, offsets = jnp.asarray(rng.normal(size=(3, 5)))
    log_weights = jax.nn.log_softmax(logits)
    f = lambda x: deep_sigmoid.forward_and_log_slope(x, log_weights, log_steepness, offsets)
    p = np.exp(log_weights) @ (1 / (1 + np.exp(-(np.exp(log_steepness) * 0.7 + offsets))))
    y, log_slope = f(jnp.array(0.7))
    np.testing.assert_allclose(y, np.log(p / (1 - p)), rtol=1e-12)
    np.testing.assert_allclose(log_slope, np.log(jax.grad(lambda x: f(x)[0])(0.7)), rtol=1e-10)
    tails = jnp.array([-1e6, 1e6])
    y, log_slope = jax.vmap(f)(tails)
    slope = np.exp(log_steepness.min())
    np.testing.assert_allclose(y, slope * tails, rtol=1e-4)
    np.testing.assert_allclose(log_slope, np.log(slope), rtol=1e-9)
    assert jnp.all(jnp.isfinite(jax.vmap(jax.grad(lambda x: f(x)[1]))(tails)))


def test_a_transformer_without_inverse_makes_a_flow_of_one_direction():
    iaf = bij.inverse_autoregressive(made(9), bij.DeepSigmoid(num_units=3))
    assert isinstance(iaf, bij.HasForward)
    assert not isinstance(iaf, bij.HasInverse)
    density = bij.inverse(iaf)
    assert isinstance(density, bij.HasInverse)
    assert not isinstance(density, bij.HasForward)
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_array_equal(density.inverse_and_log_det(x)[0], iaf.forward_and_log_det(x)[0])


class Untold(nnx.Module):
    """A network of a user's own."""

    def __init__(self, network):
        self.network = network

    def given(self, cond):
        return self.network.given(cond)


@pytest.mark.parametrize("make", [bij.masked_autoregressive, bij.inverse_autoregressive])
def test_networks_are_told_how_many_numbers_an_entry_needs(make):
    for transformer in (bij.Shift(), bij.ShiftScale(), bij.RationalQuadratic(num_bins=2)):
        told, known = (
            make(made(1), transformer),
            make(made(transformer.num_parameters), transformer),
        )
        assert jax.tree.structure(told) == jax.tree.structure(known)
        jax.tree.map(np.testing.assert_array_equal, told, known)
    with pytest.raises(ValueError, match="no longer those that it was drawn with"):
        make(perturbed(made(1), 1.0), bij.ShiftScale())


def test_networks_of_couplings_are_told_too():
    x = jnp.array([0.3, -1.0, 0.5])
    mlp = lambda shape, **options: MLP(1, (4,), shape, rngs=nnx.Rngs(0), **options)
    told = bij.coupling_layer(mlp(2), bij.ShiftScale(), split=1)
    known = bij.coupling_layer(mlp(2, num_outputs=2), bij.ShiftScale(), split=1)
    own = bij.coupling_layer(mlp((2, 2)), bij.ShiftScale(), split=1)  # has the axis already
    for layer in (known, own):
        y, _ = layer.forward_and_log_det(x)
        assert y.shape == told.forward_and_log_det(x)[0].shape
    np.testing.assert_array_equal(told.forward_and_log_det(x)[0], known.forward_and_log_det(x)[0])


def test_bad_networks_are_refused():
    for make in (bij.masked_autoregressive, bij.inverse_autoregressive):
        with pytest.raises(TypeError, match=r"needs an autoregressive network.*MADE; MLP is none"):
            make(MLP(4, (3,), (4, 2), rngs=nnx.Rngs(0)), bij.ShiftScale())
        with pytest.raises(TypeError, match=rf"{make.__name__} needs a transformer.*NoneType is"):
            make(made(2), None)
    with pytest.raises(TypeError, match=r"coupling needs a transformer, .* ShiftScale\(\); MLP is"):
        bij.coupling_layer(jnp.sin, MLP(4, (3,), 2, rngs=nnx.Rngs(0)), split=2)
    iaf = bij.inverse_autoregressive(Untold(made(3)), bij.ShiftScale())
    with pytest.raises(ValueError, match=r"ShiftScale 2 numbers .* \(4, 2\), got \(4, 3\)"):
        iaf.forward_and_log_det(jnp.ones(4))
    with pytest.raises(ValueError, match="num_units must be at least 1, got 0"):
        bij.DeepSigmoid(num_units=0)
    conditional = bij.masked_autoregressive(
        MADE(4, (5,), 2, cond_size=3, rngs=nnx.Rngs(0)), bij.Gate()
    )
    with pytest.raises(ValueError, match=r"cond of shape \(3,\), got shape \(2,\)"):
        conditional.inverse_and_log_det(jnp.ones(4), jnp.ones(2))
