"""Bijectors made of bijectors: chains, repetition, amortization, initialization from data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import bijectors as bij
from genmix.bijectors import planar
from tests.bijectors.table import coupling, maf, perturbed

X = jnp.array([0.3, -1.2, 0.8, 2.0])
PLANAR = bij.Planar(4, rngs=nnx.Rngs(0))
RADIAL = bij.Radial(4, rngs=nnx.Rngs(2))
ONLY_DENSITY = bij.inverse(bij.Planar(4, rngs=nnx.Rngs(1)))


def test_a_chain_runs_from_base_to_data():
    twice, shifted = bij.Affine(1), bij.Affine(1)
    twice.log_scale[...] = jnp.log(jnp.full(1, 2.0))
    shifted.loc[...] = jnp.ones(1)
    flow = bij.chain([twice, shifted])
    np.testing.assert_allclose(flow.forward_and_log_det(jnp.array([3.0]))[0], [7.0])
    np.testing.assert_allclose(flow.inverse_and_log_det(jnp.array([7.0]))[0], [3.0])


@pytest.mark.parametrize(
    ("bijector", "forward", "inverse"),
    [
        (bij.chain([PLANAR, bij.Reverse()]), True, False),
        (bij.chain([ONLY_DENSITY, bij.Reverse()]), False, True),
        (bij.chain([bij.Reverse(), bij.Reverse()]), True, True),
        (bij.inverse(bij.chain([PLANAR])), False, True),
        (bij.inverse(bij.inverse(bij.chain([PLANAR]))), True, False),
        (bij.repeated([PLANAR, PLANAR]), True, False),
        (bij.repeated([ONLY_DENSITY] * 2), False, True),
        (bij.on_channels(PLANAR, 4), True, False),
        (bij.amortized(PLANAR, lambda c: jnp.zeros(9)), True, False),
        (bij.coupling_layer(jnp.sin, bij.DeepSigmoid(), split=1), True, False),
    ],
)
def test_the_whole_has_the_directions_of_all_its_parts(bijector, forward, inverse):
    assert isinstance(bijector, bij.HasForward) == forward
    assert isinstance(bijector, bij.HasInverse) == inverse
    assert hasattr(bijector, "forward_and_log_det") == forward
    assert hasattr(bijector, "inverse_and_log_det") == inverse


def test_what_is_no_bijector_is_refused():
    with pytest.raises(TypeError, match="chain is made of bijectors, but dict has neither"):
        bij.chain([{}])
    with pytest.raises(TypeError, match=r"Chain has no direction: .* Turn some around"):
        bij.chain([PLANAR, ONLY_DENSITY])
    with pytest.raises(ValueError, match="chain needs at least one bijector, got none"):
        bij.chain([])
    with pytest.raises(TypeError, match=r"initialize .* but Planar has no closed inverse"):
        bij.initialize(bij.chain([PLANAR]).bijector.parts[0], jnp.ones((3, 4)))
    with pytest.raises(TypeError, match=r"initialize .* but Chain has no closed inverse"):
        bij.initialize(bij.chain([PLANAR, bij.ActNorm(4)]), jnp.ones((3, 4)))


@pytest.mark.parametrize("unroll", [None, 1, 3])
def test_repeated_layers_are_a_chain(unroll):
    layers = [perturbed(maf(), scale) for scale in (0.1, 0.3, 0.4, 0.5, 0.7, 0.9)]
    stacked, chained = bij.repeated(layers, unroll=unroll), bij.chain(layers)
    for direction in ("forward_and_log_det", "inverse_and_log_det"):
        got = jax.jit(getattr(stacked, direction))(X)
        want = jax.jit(getattr(chained, direction))(X)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=1e-5)


def test_a_step_has_a_divisor_of_the_number_of_layers():
    for count, unroll, expected in [(8, None, 8), (32, None, 4), (11, None, 1), (9, 4, 3)]:
        assert len(bij.repeated([bij.Affine(2)] * count, unroll=unroll).steps) == expected


def test_layers_of_other_structures_are_refused():
    with pytest.raises(ValueError, match=r"layer 1 differs from layer 0 .* use chain"):
        bij.repeated([bij.Permutation((0, 1)), bij.Permutation((1, 0))])
    with pytest.raises(ValueError, match="layer 2 differs from layer 0"):
        bij.repeated([bij.Affine(2), bij.Affine(2), bij.Affine(3)])
    with pytest.raises(ValueError, match="unroll must be at least 1, got 0"):
        bij.repeated([bij.Affine(2)], unroll=0)


def test_amortized_parameters_are_the_start_plus_the_networks_output():
    template = bij.chain([PLANAR, bij.Planar(4, rngs=nnx.Rngs(1))])
    size = bij.num_parameters(template)
    assert size == 18
    network = nnx.Linear(3, size, rngs=nnx.Rngs(2))
    flow = bij.amortized(template, network)
    cond = jnp.array([0.5, -1.0, 2.0])

    def by_hand(network):
        y, total = X, 0.0
        raw = network(cond).reshape(2, 9)
        for part, p in zip(template.bijector.parts, raw, strict=True):
            # Leaves are in the order of their names: b, u, w.
            u, w = part.u[...] + p[1:5], part.w[...] + p[5:]
            y, log_det = planar.forward_and_log_det(y, u, w, part.b[...] + p[0])
            total = total + log_det
        return y, total

    got, want = flow.forward_and_log_det(X, cond), by_hand(network)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=1e-6)

    loss = lambda flow: sum(jnp.sum(out**2) for out in flow.forward_and_log_det(X, cond))
    gradient = jax.jit(jax.grad(loss))(flow).bijector.network
    assert jnp.all(gradient.bias[...] != 0)
    assert jnp.all(gradient.kernel[...] != 0)


def test_only_parameters_are_amortized_and_the_start_is_not_trained():
    convolution = bij.InvertibleConvolution(3, rngs=nnx.Rngs(0))
    assert bij.num_parameters(convolution) == 9 + 9 + 3
    flow = bij.amortized(convolution, lambda c: jnp.zeros(21))
    x = jnp.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(
        flow.forward_and_log_det(x)[0], convolution.forward_and_log_det(x)[0], rtol=1e-6
    )
    parameters = nnx.state(flow, nnx.Param)
    assert not jax.tree.leaves(parameters)
    with pytest.raises(ValueError, match=r"each of the 21 parameters .* got shape \(20,\)"):
        bij.amortized(convolution, lambda c: jnp.zeros(20)).forward_and_log_det(x)
    with pytest.raises(ValueError, match="amortized needs parameters, but Reverse has none"):
        bij.amortized(bij.Reverse(), lambda c: jnp.zeros(0))


def batch(shape, seed=0):
    rng = np.random.default_rng(seed)
    offset, scale = np.array([3.0, -1.0, 0.5, 10.0]), np.array([0.1, 2.0, 5.0, 1.0])
    return jnp.asarray(offset + scale * rng.normal(size=(*shape, 4)), jnp.float32)


@pytest.mark.parametrize("compose", [bij.chain, lambda parts: bij.repeated(parts[1:])])
def test_initialize_standardizes_what_each_actnorm_gives(compose):
    layers = [bij.chain([perturbed(coupling(bij.ShiftScale())), bij.ActNorm(4)]) for _ in range(3)]
    data = batch((200, 2))[:, 0]
    flow = bij.initialize(compose(layers), data)
    base, _ = jax.vmap(flow.inverse_and_log_det)(data)
    # The last inverse is a coupling's, so entries that it keeps are standardized.
    np.testing.assert_allclose(base[:, :2].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(base[:, :2].std(0), 1, rtol=1e-4)
    again = bij.initialize(flow, data)
    for a, b in zip(jax.tree.leaves(flow), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("unroll", [1, 2])
def test_repeated_layers_are_initialized_as_in_a_chain(unroll):
    layers = [
        bij.chain([perturbed(coupling(bij.ShiftScale()), scale), bij.Reverse(), bij.ActNorm(4)])
        for scale in (0.3, 0.6, 0.9, 1.2)
    ]
    data = batch((50,))
    stacked = bij.initialize(bij.repeated(layers, unroll=unroll), data)
    chained = bij.initialize(bij.chain(layers), data)
    for direction in ("forward_and_log_det", "inverse_and_log_det"):
        got, want = (jax.jit(getattr(flow, direction))(X) for flow in (stacked, chained))
        np.testing.assert_allclose(got[0], want[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-3, atol=1e-4)


def test_initialize_reaches_flows_that_only_have_a_density():
    flow, data = bij.chain([ONLY_DENSITY, bij.ActNorm(4)]), batch((50,))
    started = bij.initialize(flow, data)
    assert not isinstance(started, bij.HasForward)
    standard = (data - data.mean(0, keepdims=True)) / data.std(0, keepdims=True)
    got, want = (
        jax.jit(jax.vmap(flow.inverse_and_log_det))(x)[0]
        for flow, x in ((started, data), (ONLY_DENSITY, standard))
    )
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
    amortized = bij.amortized(bij.ActNorm(4), lambda cond: jnp.zeros(8))
    assert bij.initialize(amortized, data) is amortized


def test_initialize_reaches_every_scale_of_images():
    levels = [bij.ActNorm(4), bij.ActNorm(8)]
    data = batch((30, 4, 4))[..., :1]
    flow = bij.initialize(bij.multiscale(levels, 1), data)
    base, _ = jax.vmap(flow.inverse_and_log_det)(data)
    np.testing.assert_allclose(base.mean(), 0, atol=1e-4)
    np.testing.assert_allclose(base.std(), 1, rtol=1e-4)


def test_initialize_leaves_the_original_alone_and_survives_constant_channels():
    actnorm = bij.ActNorm(4)
    data = batch((50,)).at[:, 1].set(7.0)
    started = bij.initialize(actnorm, data)
    np.testing.assert_array_equal(actnorm.loc[...], 0)
    base, log_det = jax.vmap(started.inverse_and_log_det)(data)
    np.testing.assert_array_equal(base[:, 1], 0)
    assert jnp.all(jnp.isfinite(log_det))
    assert bij.initialize(RADIAL, data) is RADIAL


def test_a_channel_is_constant_also_where_its_mean_and_spread_are_rounded():
    """0.1 is not a float; in the third channel every other row has the float next to it."""
    data = jnp.full((1000, 4), jnp.array([0.1, 1e6, 0.1, 0.1]))
    data = data.at[::2, 2].set(jnp.nextafter(jnp.float32(0.1), 1.0)).at[::2, 3].set(0.1001)
    started = bij.initialize(bij.ActNorm(4), data)
    np.testing.assert_array_equal(started.log_scale[:3], 0)
    np.testing.assert_array_equal(started.loc[:2], data[0, :2])
    np.testing.assert_allclose(started.log_scale[3], np.log(0.5e-4), rtol=1e-4)


def test_a_channel_with_a_nan_is_not_taken_for_constant():
    started = bij.initialize(bij.ActNorm(2), jnp.ones((3, 2)).at[1, 0].set(jnp.nan))
    np.testing.assert_array_equal(jnp.isnan(started.loc[...]), [True, False])
    np.testing.assert_array_equal(jnp.isnan(started.log_scale[...]), [True, False])


def test_an_amortized_bijector_is_given_the_condition_too():
    layer = bij.chain(
        [
            bij.Affine(3),
            bij.coupling_layer(condition_as_shift, bij.Shift(), split=1, cond_size=1),
        ]
    )
    flow = bij.amortized(layer, lambda cond: jnp.zeros(6))
    x, cond = jnp.array([0.1, 0.2, 0.3]), jnp.array([5.0])
    for direction in ("forward_and_log_det", "inverse_and_log_det"):
        got, want = (getattr(b, direction)(x, cond)[0] for b in (flow, layer))
        np.testing.assert_array_equal(got, want)


def condition_as_shift(inputs):
    return inputs[-1] * jnp.ones((2, 1))


def test_initialize_gives_each_event_its_condition():
    layer = bij.coupling_layer(condition_as_shift, bij.Shift(), split=2, cond_size=1)
    flow = bij.chain([bij.ActNorm(4), layer])
    data, conds = batch((100,)), jnp.linspace(0.0, 50.0, 100)[:, None]
    flow = bij.initialize(flow, data, conds)
    base, _ = jax.vmap(flow.inverse_and_log_det)(data, conds)
    np.testing.assert_allclose(base.std(0), 1, rtol=1e-4)
