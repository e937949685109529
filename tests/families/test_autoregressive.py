"""Autoregressive densities: they sum to one, and draws follow them, for every network."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix import capabilities
from genmix.densities import bernoulli, categorical, discretized_logistic_mixture, normal
from genmix.densities.discretized_logistic_mixture import DiscretizedLogisticMixture
from genmix.densities.multivariate_normal import FullNormal
from genmix.families import Categorical, LatentVariableModel, Normal, StandardNormal
from genmix.families.autoregressive.autoregressive import Autoregressive
from genmix.families.autoregressive.input_dropout import InputDropout
from genmix.nets import MLP
from genmix.nets.made import MADE
from genmix.nets.nade import NADE
from genmix.nets.pixel_cnn import GatedPixelCNN
from genmix.nets.pixel_rnn import DiagonalBiLSTM
from genmix.nets.row_lstm import RowLSTM
from genmix.nets.state import map_variables
from genmix.nets.stepwise_made import StepwiseMADE

COND = jnp.array([0.7, -1.2])


def spread(module):
    """The module with parameters far from their start, where everything is nearly uniform."""
    noise = lambda path, v: v.replace(
        v[...] + 0.5 * jax.random.normal(jax.random.key(len(path)), v.shape, v.dtype)
    )
    return map_variables(noise, module)


def made(dim, levels, **options):
    network = MADE(dim, rngs=nnx.Rngs(0), **{"activation": jnp.tanh, **options})
    return Autoregressive(StepwiseMADE(network), levels)


def nade(dim, levels, **options):
    return Autoregressive(NADE(dim, 5, rngs=nnx.Rngs(0), **options), levels)


def pixel_cnn(shape, levels, num_layers=2, **options):
    sizes = {"kernel_size": 3, "first_kernel_size": 3, "cond_size": 2, **options}
    encoder = sizes.pop("encoder", None)
    network = GatedPixelCNN(shape, 8, num_layers, rngs=nnx.Rngs(0), **sizes)
    return Autoregressive(network, levels, encoder=encoder)


def pixel_rnn(shape, levels, encoder=None, **options):
    network = DiagonalBiLSTM(shape, 5, 2, rngs=nnx.Rngs(0), **options)
    return Autoregressive(network, levels, encoder=encoder)


def row_lstm(shape, levels, encoder=None, **options):
    network = RowLSTM(shape, 5, 2, rngs=nnx.Rngs(0), **options)
    return Autoregressive(network, levels, encoder=encoder)


class Fixed(nnx.Module):
    """A network of a user's own, which cannot be told its sizes."""

    def __init__(self, network):
        self.network, self.shape = network, network.shape
        self.num_features, self.num_outputs = network.num_features, network.num_outputs

    def __call__(self, features, cond=None):
        return self.network(features, cond)

    def generate(self, choose, inputs, cond=None):
        return self.network.generate(choose, inputs, cond)


class FeatureMap(nnx.Module):
    """A decoder from the condition to a map of features."""

    def __init__(self):
        self.network = MLP(2, (4,), (2, 2, 3), rngs=nnx.Rngs(1))

    def __call__(self, cond):
        return self.network(cond)


CODES = categorical.Categorical(num_levels=3, one_hot=True)
MIXTURE = DiscretizedLogisticMixture(num_components=2, num_levels=4, min_scale=0.1)
COLOUR = DiscretizedLogisticMixture(num_components=2, num_channels=2, num_levels=3, min_scale=0.1)
MODELS = {
    "made, binary": lambda: made(
        6, bernoulli.Bernoulli(), hidden=(8, 7), cond_size=2, order=(3, 5, 0, 4, 1, 2)
    ),
    "made, categorical, direct": lambda: made(
        4, categorical.Categorical(num_levels=4), hidden=(2,), direct=True
    ),
    "made, logistic, linear": lambda: made(4, MIXTURE, hidden=(), cond_size=2),
    "nade, binary": lambda: nade(6, bernoulli.Bernoulli(), cond_size=2),
    "nade, codes": lambda: nade(4, categorical.Categorical(num_levels=4, one_hot=True)),
    "pixel cnn, binary": lambda: pixel_cnn((3, 3), bernoulli.Bernoulli()),
    "pixel cnn, codes": lambda: pixel_cnn(
        (2, 3),
        categorical.Categorical(num_levels=3, one_hot=True),
        first_kernel_size=5,
        cond_size=0,
    ),
    "pixel rnn, binary": lambda: pixel_rnn((3, 3), bernoulli.Bernoulli(), cond_size=2),
    "pixel rnn, codes": lambda: pixel_rnn(
        (2, 3), categorical.Categorical(num_levels=3, one_hot=True)
    ),
    "row lstm, binary": lambda: row_lstm((3, 3), bernoulli.Bernoulli(), cond_size=2),
    "pixel rnn, map": lambda: pixel_rnn((2, 2), MIXTURE, cond_size=3, encoder=FeatureMap()),
    "row lstm, map": lambda: row_lstm((2, 2), MIXTURE, cond_size=3, encoder=FeatureMap()),
    "pixel cnn, colour": lambda: pixel_cnn((2, 2), COLOUR, cond_size=3, encoder=FeatureMap()),
}
# What a log_prob makes of outputs is the same for every network: some are slow tests of that.
REPEATED = ("pixel rnn, codes", "pixel rnn, map", "row lstm, map", "pixel cnn, codes")
BY_LEVELS = [
    pytest.param(name, marks=pytest.mark.slow) if name in REPEATED else name for name in MODELS
]


def events(part):
    """Every event that there is."""
    levels = part.distribution
    integer = isinstance(levels, categorical.Categorical)
    num_levels = getattr(levels, "num_levels", 2)
    size = int(np.prod(part.shape))
    every = np.array(list(itertools.product(range(num_levels), repeat=size)))
    return jnp.asarray(every.reshape(-1, *part.shape), int if integer else float)


@pytest.mark.parametrize("name", BY_LEVELS)
def test_probabilities_sum_to_one_and_draws_follow_them(name):
    """Chi-square over all events, rare ones pooled; the false alarm is 1e-4 for each model."""
    part = spread(MODELS[name]())
    every = events(part)

    @jax.jit
    def run(part, keys):
        log_prob = jax.vmap(lambda x: part.log_prob(x, COND))(every)
        return log_prob, jax.vmap(lambda key: part.sample(key, COND))(keys)

    log_prob, draws = run(part, jax.random.split(jax.random.key(0), 20_000))
    mass = np.exp(np.asarray(log_prob, float))
    np.testing.assert_allclose(mass.sum(), 1.0, rtol=2e-5)
    assert draws.dtype == every.dtype
    base = getattr(part.distribution, "num_levels", 2)
    digits = np.asarray(draws, int).reshape(len(draws), -1)
    index = digits @ base ** np.arange(digits.shape[1])[::-1]
    counts = np.bincount(index, minlength=len(mass))
    expected = mass / mass.sum() * len(draws)
    rare = expected < 10
    pool = lambda a: np.append(a[~rare], a[rare].sum()) if rare.any() else a
    assert np.sum(~rare) > 10
    assert stats.chisquare(pool(counts), pool(expected)).pvalue > 1e-4
    # The test would see a sampler that ignores what it drew: the product of marginals is far off.
    marginals = [
        np.bincount(digits[:, i], minlength=base) / len(digits) for i in range(len(digits[0]))
    ]
    product = marginals[0]
    for marginal in marginals[1:]:
        product = np.outer(product, marginal).reshape(-1)
    assert stats.chisquare(pool(counts), pool(product * len(draws))).pvalue < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_entry_by_entry_the_outputs_are_those_of_one_pass(name, x64):
    part = spread(MODELS[name]())
    network = part.network
    features = jax.random.normal(jax.random.key(1), (*network.shape, network.num_features))

    @jax.jit
    def run(part):
        cond = part._given(COND)
        network = part.network
        steps = network.generate(lambda features, out: (out, features), features, cond)
        return network(features, cond), steps

    full, steps = run(part)
    np.testing.assert_allclose(steps, full, rtol=0, atol=1e-5)
    assert full.std() > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_outputs_depend_on_all_entries_before_and_no_others(name, x64):
    part = spread(MODELS[name]())
    network = part.network
    features = jax.random.normal(jax.random.key(1), (*network.shape, network.num_features))
    jacobian = jax.jit(jax.jacobian(lambda f: network(f, part._given(COND))))(features)
    size = int(np.prod(network.shape))
    by_entry = np.asarray(jacobian).reshape(size, network.num_outputs, size, network.num_features)
    position = np.arange(size)
    if isinstance(network, StepwiseMADE):
        position = np.argsort(network.made.order)
    allowed = position[:, None] > position
    np.testing.assert_array_equal(np.all(by_entry != 0, (1, 3)), allowed)
    np.testing.assert_array_equal(np.any(by_entry != 0, (1, 3)), allowed)


TOLD = {
    "made": lambda num_features=1, **sizes: StepwiseMADE(MADE(4, (5,), direct=True, **sizes)),
    "nade": lambda **sizes: NADE(4, 3, **sizes),
    "pixel cnn": lambda **sizes: GatedPixelCNN((2, 2), 3, 2, **sizes),
    "pixel rnn": lambda **sizes: DiagonalBiLSTM((2, 2), 3, 2, **sizes),
    "row lstm": lambda **sizes: RowLSTM((2, 2), 3, 2, **sizes),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_network_told_its_sizes_is_the_one_made_with_them(name):
    levels = categorical.Categorical(num_levels=3, one_hot=name != "made")
    make = lambda **sizes: TOLD[name](cond_size=2, rngs=nnx.Rngs(3), **sizes)
    network = make()
    told = Autoregressive(network, levels).network
    known = make(num_features=levels.num_features, num_outputs=3)
    assert jax.tree.structure(told) == jax.tree.structure(known)
    jax.tree.map(np.testing.assert_array_equal, told, known)
    assert (network.num_features, network.num_outputs) == (1, 1)  # stays as it is
    assert Autoregressive(told, levels).network is told
    assert Autoregressive(network, bernoulli.Bernoulli()).network is network


def test_real_numbers_one_after_the_other(x64):
    """A linear MADE of normals is a Gaussian: the density is that of its exact covariance."""
    part = spread(made(3, normal.Normal(scale=0.7), hidden=(), order=(1, 2, 0)))
    network: Any = part.network
    bias = network.made(jnp.zeros(3))[:, 0]
    weights = jax.jacobian(lambda x: network.made(x)[:, 0])(jnp.zeros(3))
    mixing = np.linalg.inv(np.eye(3) - weights)
    x = jnp.array([0.3, -1.1, 0.8])
    exact = stats.multivariate_normal(mixing @ bias, 0.49 * mixing @ mixing.T).logpdf(x)
    np.testing.assert_allclose(part.log_prob(x), exact, rtol=1e-10)
    draws = jax.jit(jax.vmap(part.sample))(jax.random.split(jax.random.key(0), 4000))
    # Mahalanobis distances of exact draws are chi-square; false alarm 1e-4.
    white = (draws - (mixing @ bias)[None]) @ np.linalg.inv(mixing).T / 0.7
    assert stats.kstest(np.sum(white**2, 1), stats.chi2(3).cdf).pvalue > 1e-4


def test_a_limited_reach_hides_what_is_far(x64):
    shape = (6, 9)
    part = spread(pixel_cnn(shape, bernoulli.Bernoulli(), cond_size=0))
    network: Any = part.network
    assert network.reach == 2
    features = jax.random.normal(jax.random.key(1), (*shape, 1))
    jacobian = jax.jit(jax.jacobian(network))(features)[:, :, 0, :, :, 0]
    rows, columns = np.indices(shape)
    down = rows[:, :, None, None] - rows
    right = columns[:, :, None, None] - columns
    above = (down >= 1) & (down <= 3) & (np.abs(right) <= 2)
    beside = (down == 0) & (right >= 1) & (right <= 3)
    np.testing.assert_array_equal(np.asarray(jacobian) != 0, above | beside)


@pytest.mark.parametrize(("r", "first"), [(1, 2), (2, 1)])
def test_a_row_lstm_sees_a_triangle(r, first, x64):
    """The columns that the docstring names, with two layers, and no others."""
    shape = (5, 11)
    sizes = {"kernel_size": 2 * r + 1, "first_kernel_size": 2 * first + 1}
    network: Any = spread(row_lstm(shape, bernoulli.Bernoulli(), **sizes)).network
    # At three inputs, for at one of them all hidden units of a pixel may be dead.
    features = jax.random.normal(jax.random.key(1), (3, *shape, 1))
    jacobians = jax.jit(jax.vmap(jax.jacobian(network)))(features)
    seen = np.any(np.asarray(jacobians)[:, :, :, 0, :, :, 0] != 0, axis=0)
    rows, columns = np.indices(shape)
    down = rows[:, :, None, None] - rows
    right = columns - columns[:, :, None, None]
    left_end = -(first + (2 + down) * r)
    right_end = np.maximum(first + (down - 1) * r, down * r - 1)
    beside = (down == 0) & (right < 0) & (right >= left_end)
    above = (down > 0) & (right >= left_end) & (right <= right_end)
    np.testing.assert_array_equal(seen, above | beside)
    before = (down > 0) | ((down == 0) & (right < 0))
    assert np.any(before & ~above & ~beside)  # unlike the other networks, it misses some


def test_every_pixel_sees_the_condition():
    part = spread(pixel_cnn((3, 3), bernoulli.Bernoulli()))
    by_vector = jax.jacobian(lambda c: part.network(jnp.zeros((3, 3, 1)), c))(COND)
    assert jnp.all(by_vector != 0)
    same = part.network(jnp.zeros((3, 3, 1)), jnp.broadcast_to(COND, (3, 3, 2)))
    np.testing.assert_allclose(same, part.network(jnp.zeros((3, 3, 1)), COND), atol=1e-6)


def test_a_condition_moves_both_biases_of_nade(x64):
    network: Any = spread(nade(3, bernoulli.Bernoulli(), cond_size=2)).network
    shift, out_shift = jnp.split(network.context(COND), [5])
    h = jax.nn.sigmoid(network.bias[...] + shift)
    expected = h @ network.out_kernel[0] + network.out_bias[0] + out_shift[:1]
    np.testing.assert_allclose(network(jnp.ones((3, 1)), COND)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["made, binary", "nade, binary"])
def test_dropped_inputs_make_a_mixture_that_sums_to_one(name):
    """Mean weights against the average over masks; 5 standard errors, false alarm 4e-5 a model."""
    part = spread(MODELS[name]())
    dropout = InputDropout(part, 0.4)
    every = events(part)
    masks = every  # of 0 and 1 too
    weights = jnp.prod(jnp.where(masks == 1, 0.6, 0.4), axis=1)

    @jax.jit
    def run(part, dropout, keys):
        masked = lambda x: jax.vmap(lambda m: part.log_prob(x, COND, m))(masks)
        drawn = lambda x: jax.vmap(lambda key: dropout.log_weight(key, x, COND))(keys)
        return jnp.exp(jax.vmap(masked)(every)), jnp.exp(jax.vmap(drawn)(every))

    by_mask, drawn = run(part, dropout, jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(by_mask.sum(0), 1.0, rtol=1e-5)
    error = drawn.std(1) / np.sqrt(drawn.shape[1])
    assert np.all(np.abs(drawn.mean(1) - by_mask @ weights) < 5 * error + 1e-7)
    # With everything hidden, no entry sees another.
    hidden = part.numbers(every[0], COND, masks[0])
    np.testing.assert_array_equal(hidden, part.numbers(every[-1], COND, masks[0]))


def test_draws_with_dropped_inputs_are_those_of_the_mask():
    part = spread(MODELS["pixel cnn, binary"]())
    dropout = InputDropout(part, 0.5)
    keep_key, draw_key = jax.random.split(jax.random.key(1))
    keep = dropout._keep(keep_key)
    drawn = dropout.sample(jax.random.key(1), COND)
    np.testing.assert_array_equal(drawn, part.sample(draw_key, COND, keep))
    shown = part.numbers(drawn, COND, keep)

    def choose(inputs, outputs):
        x, kept = inputs
        return outputs, part.distribution.features(x) * kept

    steps = part.network.generate(choose, (part._entries(drawn), keep), COND)
    np.testing.assert_allclose(steps, shown, rtol=0, atol=1e-5)


def finite_gradients(model, x):
    value, gradient = jax.jit(jax.value_and_grad(lambda m: m.log_weight(jax.random.key(0), x)))(
        model
    )
    assert jnp.isfinite(value)
    for leaf in jax.tree.leaves(nnx.state(gradient, nnx.Param)):
        assert jnp.all(jnp.isfinite(leaf))
        assert jnp.any(leaf != 0)


@pytest.mark.parametrize(
    "name",
    ["made, binary", "nade, binary", "pixel cnn, colour", "pixel rnn, binary", "row lstm, binary"],
)
def test_as_a_likelihood(name):
    likelihood = spread(MODELS[name]())
    x = jnp.ones(likelihood.shape)
    posterior = Normal(MLP(likelihood.shape, (3,), 2, rngs=nnx.Rngs(2)))
    model = LatentVariableModel(prior=StandardNormal(2), likelihood=likelihood, posterior=posterior)
    finite_gradients(model, x)


@pytest.mark.parametrize("name", ["made, categorical, direct", "nade, codes", "pixel cnn, codes"])
def test_as_a_prior_of_codes(name):
    prior = spread(MODELS[name]())
    num_levels = prior.distribution.num_parameters

    class Embedded(nnx.Module):
        def __init__(self):
            self.network = MLP((*prior.shape, num_levels), (4,), 3, rngs=nnx.Rngs(3))

        def __call__(self, codes):
            return self.network(jax.nn.one_hot(codes, num_levels))

    posterior = Categorical(MLP(3, (4,), prior.shape, rngs=nnx.Rngs(2)), num_levels=num_levels)
    model = LatentVariableModel(prior=prior, likelihood=Normal(Embedded()), posterior=posterior)
    finite_gradients(model, jnp.array([0.1, -0.4, 1.0]))
    assert model.sample(jax.random.key(1)).shape == (3,)


@pytest.mark.parametrize("name", BY_LEVELS)
def test_what_is_no_level_has_probability_zero_and_finite_gradients(name):
    part = spread(MODELS[name]())
    x = events(part)[-1].reshape(-1).at[0].set(7).reshape(part.shape)
    value, gradient = jax.jit(jax.value_and_grad(lambda part: part.log_prob(x, COND)))(part)
    assert value == -jnp.inf
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(nnx.state(gradient)))


def test_parts_that_do_not_fit_are_refused():
    mlp: Any = MLP(3, (2,), 3, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"entry by entry .*which MLP is not: use StepwiseMADE"):
        Autoregressive(mlp, bernoulli.Bernoulli())
    network = Fixed(NADE(4, 3, 2, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"Bernoulli gives 1 features and needs 1 outputs .*2"):
        Autoregressive(network, bernoulli.Bernoulli())
    with pytest.raises(ValueError, match=r"takes an entry as one number, not as 3: use NADE"):
        made(4, CODES, hidden=(4,))
    unseen: Any = FullNormal(2)
    with pytest.raises(TypeError, match=r"how an entry enters the network .*; got FullNormal"):
        Autoregressive(NADE(4, 3, rngs=nnx.Rngs(0)), unseen)
    with pytest.raises(ValueError, match=r"shape \(3, 3\) do not fill the network's \(4,\)"):
        Autoregressive(NADE(4, 3, rngs=nnx.Rngs(0)), bernoulli.Bernoulli(), shape=(3, 3))
    image = GatedPixelCNN((2, 3), 2, 1, rngs=nnx.Rngs(0))
    for shape in ((3, 2), (1, 2, 3), (6,)):
        with pytest.raises(ValueError, match=r"do not fill .*\(2, 3\): an image keeps its height"):
            Autoregressive(image, bernoulli.Bernoulli(), shape=shape)
    part = Autoregressive(image, bernoulli.Bernoulli(), shape=(2, 3, 1))
    with pytest.raises(ValueError, match=r"keep must have the .* shape \(2, 3\), got \(3, 2\)"):
        part.log_prob(jnp.ones((2, 3, 1)), keep=jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"keep must have the .* shape \(2, 3\), got \(3, 2\)"):
        part.sample(jax.random.key(0), keep=jnp.ones((3, 2)))
    with pytest.raises(TypeError, match=r"can hide entries .*StandardNormal's cannot: wrap the Au"):
        InputDropout(StandardNormal(3), 0.5)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\], got 1.5"):
        InputDropout(nade(3, bernoulli.Bernoulli()), 1.5)
    part = Autoregressive(NADE(4, 3, rngs=nnx.Rngs(0)), bernoulli.Bernoulli(), shape=(2, 2))
    assert part.sample(jax.random.key(0)).shape == (2, 2)
    with pytest.raises(ValueError, match=r"one event of shape \(2, 2\), got \(5, 2, 2\).*vmap"):
        part.log_prob(jnp.ones((5, 2, 2)))
    codes = nade(3, categorical.Categorical(num_levels=4, one_hot=True))
    with pytest.raises(TypeError, match=r"Categorical is of integers, got x of float32"):
        codes.log_prob(jnp.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NADE(0, 3, rngs=nnx.Rngs(0)), "NADE needs positive sizes, got dim 0"),
        (
            lambda: NADE(3, 2, cond_size=2, rngs=nnx.Rngs(0))(jnp.ones((3, 1)), jnp.ones(3)),
            r"NADE needs a cond of shape \(2,\), got shape \(3,\)",
        ),
        (
            lambda: NADE(3, 2, cond_size=2, rngs=nnx.Rngs(0))(jnp.ones((3, 1))),
            r"NADE needs a cond of shape \(2,\), got NoneType",
        ),
        (
            lambda: GatedPixelCNN((4,), 2, 1, rngs=nnx.Rngs(0)),
            r"a height, a width and positive sizes, got shape \(4,\)",
        ),
        (
            lambda: GatedPixelCNN((4, 4), 2, 1, first_kernel_size=4, rngs=nnx.Rngs(0)),
            "odd kernel sizes .* first_kernel_size 4",
        ),
        (
            lambda: GatedPixelCNN((4, 4), 2, 1, rngs=nnx.Rngs(0))(jnp.ones((4, 3, 1))),
            r"one image of shape \(4, 4, 1\), got \(4, 3, 1\)",
        ),
        (
            lambda: GatedPixelCNN((4, 4), 2, 1, cond_size=3, rngs=nnx.Rngs(0))(
                jnp.ones((4, 4, 1)), jnp.ones((2, 2, 3))
            ),
            r"cond of shape \(3,\) or \(4, 4, 3\), got shape \(2, 2, 3\)",
        ),
        (
            lambda: DiagonalBiLSTM((4, 4), 2, 0, rngs=nnx.Rngs(0)),
            "DiagonalBiLSTM needs .* num_layers 0",
        ),
        (
            lambda: DiagonalBiLSTM((4, 4), 2, 1, rngs=nnx.Rngs(0))(jnp.ones((4, 3, 1))),
            r"one image of shape \(4, 4, 1\), got \(4, 3, 1\)",
        ),
        (
            lambda: DiagonalBiLSTM((4, 4), 2, 1, cond_size=3, rngs=nnx.Rngs(0))(
                jnp.ones((4, 4, 1)), jnp.ones((2, 2, 3))
            ),
            r"cond of shape \(3,\) or \(4, 4, 3\), got shape \(2, 2, 3\)",
        ),
        (
            lambda: RowLSTM((4, 4), 2, 0, rngs=nnx.Rngs(0)),
            "RowLSTM needs .* num_layers 0",
        ),
        (
            lambda: RowLSTM((4, 4), 2, 1, kernel_size=2, rngs=nnx.Rngs(0)),
            "RowLSTM needs odd kernel sizes .* kernel_size 2",
        ),
        (
            lambda: RowLSTM((4, 4), 2, 1, first_kernel_size=1, rngs=nnx.Rngs(0)),
            "first_kernel_size of at least 3, got 1",
        ),
        (
            lambda: RowLSTM((4, 4), 2, 1, rngs=nnx.Rngs(0))(jnp.ones((4, 3, 1))),
            r"RowLSTM expects one image of shape \(4, 4, 1\), got \(4, 3, 1\)",
        ),
        (lambda: categorical.Categorical(num_levels=1), "num_levels must be at least 2, got 1"),
        (lambda: DiscretizedLogisticMixture(num_components=0), "must be positive, got 0 and 1"),
        (lambda: DiscretizedLogisticMixture(min_scale=0.0), "min_scale must be positive, got 0.0"),
    ],
)
def test_networks_and_levels_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_capabilities():
    part = nade(3, bernoulli.Bernoulli())
    assert isinstance(part, capabilities.ExactDensity)
    assert isinstance(part, capabilities.Samples)
    assert not isinstance(part, capabilities.Reparameterized)
    assert isinstance(InputDropout(part, 0.1), capabilities.Weighted)


def test_one_channel_is_the_mixture_of_discretized_logistics(x64):
    levels = DiscretizedLogisticMixture(num_components=3, num_levels=6)
    numbers = jax.random.normal(jax.random.key(0), (levels.num_parameters,))
    logits, loc, raw = jnp.split(numbers, 3)
    scale = 1e-3 + jax.nn.softplus(raw)
    for x in range(6):
        expected = discretized_logistic_mixture.log_prob(x, logits, loc, scale, num_levels=6)
        np.testing.assert_allclose(levels.log_prob(jnp.array(x), numbers), expected, rtol=1e-10)


@pytest.mark.parametrize(("x64", "rtol"), [(False, 1e-5), (True, 1e-12)])
def test_extreme_parameters_of_the_logistic_mixture(x64, rtol):
    """Tiny and huge scales, means far away and on the edge of a bin, all levels of two channels."""
    levels = DiscretizedLogisticMixture(num_components=2, num_channels=2, num_levels=3)
    every = jnp.array(list(itertools.product(range(3), repeat=2)), float)
    choices = ((0.0, 1e4), (-1e6, -0.5, 0.0, 1.0, 1e6), (-1e4, -20.0, 0.0, 1e4), (-1e4, 0.5))
    parameters = [
        [a, -a, *[loc, 0.3] * 2, *[raw] * 3, 0.0, c, -c]
        for a, loc, raw, c in itertools.product(*choices)
    ]
    with jax.enable_x64(x64):
        value_and_grad = jax.value_and_grad(lambda p, x: levels.log_prob(x, p))
        over_events = jax.vmap(value_and_grad, (None, 0))
        dtype = jnp.float64 if x64 else jnp.float32
        value, gradient = jax.jit(jax.vmap(over_events, (0, None)))(
            jnp.array(parameters, dtype), every.astype(dtype)
        )
        assert value.dtype == dtype
        np.testing.assert_allclose(np.exp(value).sum(1), np.ones(len(value)), rtol=rtol)
        assert np.all(np.isfinite(value))
        assert np.all(np.isfinite(gradient))
