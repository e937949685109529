import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import objectives
from genmix.divergences import gan
from genmix.families import Implicit, StandardNormal
from genmix.nets import MLP, DCGANCritic, SpectralNorm, spectrally_normalized, state
from genmix.training import Game, Plan, Player, Run, fit


def iterated(network, num_steps=100):
    def step(network, _):
        copy = state.fresh(network)
        copy(jnp.ones(6))
        return copy, None

    return jax.jit(lambda network: jax.lax.scan(step, network, length=num_steps)[0])(network)


def test_the_largest_singular_value_is_one_and_stays_in_evaluation():
    layer = nnx.Linear(6, 4, rngs=nnx.Rngs(1))
    network = iterated(SpectralNorm(layer, rngs=nnx.Rngs(0)))
    frozen = state.evaluating(network)
    before = frozen.direction[...]
    kernel = np.asarray(layer.kernel[...])
    expected = jnp.ones(6) @ (kernel / np.linalg.norm(kernel, 2))
    np.testing.assert_allclose(frozen(jnp.ones(6)), expected, rtol=1e-3)
    np.testing.assert_array_equal(frozen.direction[...], before)


def test_there_is_no_gradient_along_the_kernel():
    """The output does not depend on the kernel's scale."""
    network = iterated(SpectralNorm(nnx.Linear(6, 4, rngs=nnx.Rngs(1)), rngs=nnx.Rngs(0)))
    kernel = network.layer.kernel[...]

    @jax.jit
    @jax.grad
    def slope(kernel):
        return jnp.sum(state.with_variables(network, {"layer.kernel": kernel})(jnp.ones(6)) ** 2)

    assert jnp.any(jnp.abs(slope(kernel)) > 1e-3)
    np.testing.assert_allclose(jnp.vdot(slope(kernel), kernel), 0.0, atol=1e-4)
    assert jnp.all(jnp.isfinite(slope(jnp.zeros_like(kernel))))


@pytest.mark.parametrize(
    ("network", "num_layers"),
    [
        (MLP(6, (5, 4), 1, rngs=nnx.Rngs(0)), 3),
        (DCGANCritic((8, 8, 1), (3, 4), batch_norm=False, rngs=nnx.Rngs(0)), 3),
    ],
)
def test_every_layer_of_a_network_is_normalized(network, num_layers):
    normalized = spectrally_normalized(network, rngs=nnx.Rngs(0))
    assert len(state.batch_statistics(normalized)) == num_layers
    assert not state.batch_statistics(network)
    kernels = [path for path in state.variables(normalized, nnx.Param) if "kernel" in path]
    assert all(path.endswith("layer.kernel") for path in kernels)
    shape = (6,) if isinstance(network, MLP) else (8, 8, 1)
    jax.eval_shape(state.evaluating(normalized), jnp.zeros(shape))


@pytest.mark.slow
def test_the_iteration_survives_checkpoint_and_resume(tmp_path):
    """Bit for bit, and the directions do move."""
    critic = spectrally_normalized(MLP(2, (8,), 1, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1))
    game = Game(generator=Implicit(StandardNormal(2), lambda z: z), critic=critic)
    loss = objectives.critic(objectives.data, gan.hinge).of("generator")
    player = Player(name="critic", loss=loss, optimizer=optax.adam(1e-2))
    x = 3 + jax.random.normal(jax.random.key(0), (32, 2))

    def run(num_rounds, name, **options):
        plan = Plan(num_rounds=num_rounds, batch_size=8)
        logged = Run(directory=tmp_path / name, label=None, **options)
        fitted = fit(jax.random.key(0), game, [player], x, plan, logged)
        return state.batch_statistics(fitted.model)

    whole = run(4, "whole")
    half = run(2, "parts")
    resumed = run(4, "parts", resume=True)
    for path, value in whole.items():
        np.testing.assert_array_equal(value, resumed[path])
        assert half[path].shape == (1,) or not np.array_equal(value, half[path])


def test_what_has_no_kernel_is_refused():
    with pytest.raises(TypeError, match="SpectralNorm needs a layer with a kernel, got Dropout"):
        SpectralNorm(nnx.Dropout(0.5), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Dropout has no layers with a kernel"):
        spectrally_normalized(nnx.Dropout(0.5), rngs=nnx.Rngs(0))
