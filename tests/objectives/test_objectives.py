import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import bounds, objectives
from genmix.bounds.estimators import score_function, sticking_the_landing
from genmix.densities import normal
from genmix.families import Bernoulli, LatentVariableModel, Normal, StandardNormal
from genmix.nets import MLP, state
from genmix.objectives import Rate, Term
from genmix.training import Game, Player, compile_rounds, start
from tests import linear_gaussian

X = jnp.tile(jnp.asarray(linear_gaussian.X, jnp.float32), (64, 1))


def vae(seed=0):
    rngs = nnx.Rngs(seed)
    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=Bernoulli(MLP(2, (8,), (4,), rngs=rngs)),
        posterior=Normal(MLP(4, (8,), 2, rngs=rngs)),
    )


BITS = jnp.asarray(jax.random.bernoulli(jax.random.key(1), 0.4, (2000, 4)), jnp.float32)


def evaluate(term, model, batch, seed=0):
    loss, (metrics, _) = term(model, jax.random.key(seed), batch, term.init(model))
    return float(loss), {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize(
    "term",
    [
        objectives.elbo(2),
        objectives.iwae(3),
        objectives.renyi(0.5, 3),
        objectives.vr_max(3),
        objectives.vimco(3),
        objectives.iwae(3, estimator=bounds.doubly_reparameterized),
        objectives.iwae(3, estimator=bounds.weighted),
        objectives.iwae(3, estimator=bounds.resampled),
    ],
)
def test_the_loss_is_minus_the_reported_bound(term):
    loss, metrics = evaluate(term, linear_gaussian.one_layer(), X)
    name = next(iter(metrics))
    assert loss == -metrics[name]
    np.testing.assert_allclose(
        metrics["log_likelihood"] - metrics["rate"],
        evaluate(objectives.elbo(3), linear_gaussian.one_layer(), X)[1]["elbo"],
        atol=1.0,
    )


def test_both_forms_of_the_elbo_agree():
    """Sampled and closed rate, over 2,000 events and 20 samples: within 0.02 nats."""
    sampled = evaluate(objectives.elbo(20), vae(), BITS)[1]
    closed = evaluate(objectives.elbo(20, rate=Rate(analytic=True)), vae(), BITS)[1]
    np.testing.assert_allclose(closed["elbo"], sampled["elbo"], atol=0.02)
    np.testing.assert_allclose(closed["rate"], sampled["rate"], atol=0.02)


def test_the_reported_elbo_does_not_depend_on_how_the_rate_counts():
    plain = evaluate(objectives.elbo(5, rate=Rate(analytic=True)), vae(), BITS)
    for rate in (Rate(beta=4.0, analytic=True), Rate(free_nats=2.0, analytic=True)):
        loss, metrics = evaluate(objectives.elbo(5, rate=rate), vae(), BITS)
        assert metrics["elbo"] == plain[1]["elbo"]
        assert loss > plain[0] + 0.01


def test_free_nats_are_a_floor_for_the_batch_mean_of_each_group():
    """Below the floor a dimension's rate has no gradient; the loss counts the floor itself."""
    model = vae()
    rates = jnp.mean(jax.vmap(model.closed_rate)(BITS), axis=0)
    floor = float(jnp.mean(rates))  # between the two dimensions
    loss, metrics = evaluate(
        objectives.elbo(5, rate=Rate(free_nats=floor, analytic=True)), model, BITS
    )
    np.testing.assert_allclose(
        loss,
        -metrics["log_likelihood"] + float(jnp.sum(jnp.maximum(rates, floor))),
        rtol=1e-5,
    )
    assert min(rates) < floor < max(rates)


def test_beta_follows_its_schedule():
    term = objectives.elbo(rate=Rate(beta=optax.linear_schedule(0.0, 1.0, 4)))
    player = Player(loss=term, optimizer=optax.adam(1e-3))
    game = start(jax.random.key(0), vae(), [player])
    _, metrics = compile_rounds([player], batch_size=50, num_rounds=6)(game, BITS)
    np.testing.assert_allclose(metrics["beta"], [0.0, 0.25, 0.5, 0.75, 1.0, 1.0])


class AtPoints(linear_gaussian.Affine):
    """Affine normal of pairs (c, e) that draws loc(c) + scale * e: e says what is drawn."""

    def mean(self, cond=None):
        assert cond is not None
        return super().mean(cond[0])

    def sample(self, key, cond=None):
        assert cond is not None
        return self.mean(cond) + self.scale * cond[1]

    def kl(self, prior, cond=None, prior_cond=None):
        return normal.kl(self.mean(cond), self.scale[...], *prior.parameters())


class OfTheFirst(linear_gaussian.Affine):
    """Affine normal of the first of two events."""

    def log_prob(self, x, cond=None):
        return super().log_prob(x[0], cond)


class Rotated:
    """Data in 4-D with their principal axes, and linear VAEs of noise 0.6 along those axes.

    Batches pair every x with points e whose means of quadratics are those of N(0, I), so that the
    mean of a batch is the exact expectation over a posterior.
    """

    def __init__(self, beta):
        rng = np.random.default_rng(0)
        x = (
            rng.normal(size=(12, 4))
            * [2.5, 1.6, 0.9, 0.5]
            @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
        )
        self.offset, self.beta, self.noise = x.mean(axis=0), beta, beta * 0.6**2
        eigenvalues, axes = np.linalg.eigh(np.cov(x.T, bias=True))
        self.eigenvalues, self.axes = eigenvalues[::-1], axes[:, ::-1]
        e = np.sqrt(3) * np.concatenate([np.eye(3), -np.eye(3)])
        batch = jnp.asarray(np.repeat(x, 6, axis=0)), jnp.asarray(np.tile(e, (12, 1)))
        term = objectives.elbo(rate=Rate(beta=beta, analytic=True))

        def loss(own):
            model = state.with_variables(self.model(np.ones(3)), own)
            return term(model, jax.random.key(0), batch, jnp.zeros((), jnp.int32))[0]

        self.value_and_slopes = jax.jit(jax.value_and_grad(loss))

    def lengths(self):
        """Of the columns of W, for probabilistic PCA with noise beta sigma^2."""
        return np.sqrt(np.maximum(self.eigenvalues[:3] - self.noise, 0.0))

    def model(self, lengths):
        """Columns of W along the axes, and the posterior that is best for them."""
        weight, precision = self.axes[:, :3] * lengths, lengths**2 + self.noise
        inverse = weight.T / precision[:, None]
        return LatentVariableModel(
            prior=StandardNormal(3),
            likelihood=OfTheFirst(weight, self.offset, np.full(4, 0.6)),
            posterior=AtPoints(inverse, -inverse @ self.offset, np.sqrt(self.noise / precision)),
        )

    def maximum(self):
        """Of the beta-ELBO: beta times PCA's log p(x) at this noise, and what the scale leaves."""
        kept = np.log(self.eigenvalues[:3]) + 1
        lost = np.log(self.noise) + self.eigenvalues / self.noise
        lost[:3] = np.where(self.eigenvalues[:3] > self.noise, kept, lost[:3])
        pca = -0.5 * np.sum(np.log(2 * np.pi) + lost)
        constant = 2 * (self.beta * np.log(2 * np.pi * self.noise) - np.log(2 * np.pi * 0.36))
        return self.beta * pca + constant

    def loss(self, lengths):
        """The loss of the model, and its slopes in all but the noise."""
        value, slopes = self.value_and_slopes(state.variables(self.model(lengths), nnx.Param))
        del slopes["likelihood.scale"]
        return value, np.concatenate([slope.ravel() for slope in slopes.values()])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("beta", "num_active"), [(0.5, 3), (3.0, 2), (6.0, 1)])
def test_the_weighed_elbo_of_a_linear_model_is_pca_with_more_noise(beta, num_active):
    """Noise beta sigma^2: the slopes vanish there, and the maximum is that of the closed form.

    Directions of less variance are not used: a short column makes the loss larger.
    """
    linear = Rotated(beta)
    best = linear.lengths()
    assert np.count_nonzero(best) == num_active
    value, slopes = linear.loss(best)
    np.testing.assert_allclose(value, -linear.maximum(), rtol=1e-12)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-12)
    of_plain, slopes = linear.loss(Rotated(1.0).lengths())
    assert of_plain > value + 0.01
    assert np.max(np.abs(slopes)) > 0.1
    for i in range(3):
        unused, short = best.copy(), best.copy()
        unused[i], short[i] = 0.0, 0.1
        gain = linear.loss(unused)[0] - linear.loss(short)[0]
        assert abs(gain) > 1e-5
        assert (gain > 0) == (i < num_active)


def test_a_beta_of_zero_leaves_the_likelihood():
    loss, metrics = evaluate(objectives.elbo(rate=Rate(beta=0.0)), vae(), BITS)
    np.testing.assert_allclose(loss, -metrics["log_likelihood"], rtol=1e-6)


def test_terms_add_and_scale():
    penalty = Term(
        lambda model, key, batch, carry: (
            jnp.asarray(3.0),
            ({"penalty": jnp.asarray(3.0)}, carry + 1),
        ),
        lambda model: jnp.zeros((), jnp.int32),
    )
    both = objectives.elbo() + 10.0 * penalty
    model = vae()
    loss, (metrics, carry) = both(model, jax.random.key(0), BITS, both.init(model))
    np.testing.assert_allclose(loss, 30.0 - metrics["elbo"], rtol=1e-6)
    assert metrics["penalty"] == 3.0
    assert carry[1] == 1
    with pytest.raises(ValueError, match="both report elbo, log_likelihood, rate"):
        evaluate(objectives.elbo() + objectives.elbo(), model, BITS)
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = objectives.elbo() + 1.0  # pyright: ignore[reportOperatorIssue]


class DroppedOut(nnx.Module):
    """A network with dropout and batch normalization, as the user would write it."""

    def __init__(self, d_in, out_shape, rngs):
        self.shape = out_shape
        self.first = nnx.Linear(d_in, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.5, axis_name="batch", rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.Linear(16, math.prod(out_shape), rngs=rngs)

    def __call__(self, x):
        return self.second(self.dropout(nnx.relu(self.norm(self.first(x))))).reshape(self.shape)


def stateful_vae():
    rngs = nnx.Rngs(0)
    return LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=Bernoulli(DroppedOut(2, (4,), rngs)),
        posterior=Normal(DroppedOut(4, (2, 2), rngs)),
    )


@pytest.mark.parametrize(
    "estimator",
    [
        bounds.reparameterized,
        dataclasses.replace(bounds.sticking_the_landing, needs_linear=False),
        bounds.doubly_reparameterized,
        bounds.resampled,
        bounds.vimco,
    ],
)
def test_networks_with_dropout_and_normalization_train(estimator):
    """Statistics follow the data, parameters stay finite, and the bound improves."""
    player = Player(loss=objectives.iwae(3, estimator=estimator), optimizer=optax.adam(1e-2))
    game = start(jax.random.key(0), stateful_vae(), [player])
    game, metrics = compile_rounds([player], batch_size=100, num_rounds=60)(game, BITS)
    norm, first = game.model.posterior.network.norm, game.model.posterior.network.first
    mean = jnp.mean(jax.vmap(first)(BITS), axis=0)
    np.testing.assert_allclose(norm.mean[...], mean, atol=0.35)
    assert all(jnp.all(jnp.isfinite(v)) for v in state.variables(game.model, nnx.Param).values())
    assert np.mean(metrics["iwae"][-10:]) > np.mean(metrics["iwae"][:5])


def test_dropout_draws_the_same_network_for_a_sample_and_its_density():
    """With another mask for the density, the sampled rate would be off by nats."""
    rngs = nnx.Rngs(0)
    layers = (
        nnx.Linear(4, 50, rngs=rngs),
        nnx.Dropout(0.5, rngs=rngs),
        nnx.Linear(50, 4, rngs=rngs),
        lambda h: h.reshape(2, 2),
    )
    posterior = Normal(nnx.Sequential(*layers))
    x = jnp.ones(4)
    for draw in (sticking_the_landing.draw, score_function.draw):
        network = state.reseeded(posterior, jax.random.key(3))
        z, log_q = draw(state.fresh(network), jax.random.key(4), x)
        expected = state.fresh(network).log_prob(z, x)
        np.testing.assert_allclose(log_q, expected, rtol=1e-6)
        assert state.reseeded(posterior, jax.random.key(5)).log_prob(z, x) != expected


def test_every_example_has_a_dropout_mask_of_its_own():
    rngs = nnx.Rngs(0)

    class Masked(nnx.Module):
        def __init__(self):
            self.weight = nnx.Param(jnp.ones(()))
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def log_prob(self, x, cond=None):
            return jnp.sum(self.dropout(self.weight * jnp.ones(100)))

    term = objectives.elbo()
    values = [evaluate(term, Masked(), BITS[:1], seed=i)[1]["elbo"] for i in range(5)]
    assert len(set(values)) >= 3
    many = evaluate(term, Masked(), BITS[:1000])[1]["elbo"]
    np.testing.assert_allclose(many, 100.0, atol=2.0)  # the masks' mean, 5 standard errors


def test_an_exact_density_is_a_model_too():
    class Independent(nnx.Module):
        def __init__(self):
            self.logits = nnx.Param(jnp.zeros(4))

        def log_prob(self, x, cond=None):
            return jnp.sum(x * self.logits - jax.nn.softplus(self.logits[...]))

    player = Player(loss=objectives.elbo(), optimizer=optax.adam(3e-2))
    game = start(jax.random.key(0), Independent(), [player])
    game, _ = compile_rounds([player], batch_size=200, num_rounds=300)(game, BITS)
    mean = np.asarray(jnp.mean(BITS, axis=0))
    np.testing.assert_allclose(game.model.logits[...], np.log(mean / (1 - mean)), atol=0.1)


def test_the_running_mean_follows_the_log_weights():
    term = objectives.elbo(2, estimator=bounds.score_function(bounds.baselines.running_mean(0.5)))
    model, carry = linear_gaussian.one_layer(), term.init(linear_gaussian.one_layer())
    seen = []
    for key in jax.random.split(jax.random.key(0), 3):
        _, (metrics, carry) = term(model, key, X, carry)
        seen.append(float(metrics["elbo"]))
    expected = (0.25 * seen[0] + 0.5 * seen[1] + seen[2]) / 1.75
    np.testing.assert_allclose(carry.total / carry.weight, expected, rtol=1e-5)


def test_a_baseline_network_learns_to_predict_the_bound():
    term = objectives.elbo(
        estimator=bounds.score_function(bounds.baselines.input_dependent("baseline"))
    ).of("vae")
    player = Player(name="baseline", loss=term, optimizer=optax.adam(1e-2))
    both = Game(vae=vae(), baseline=MLP(4, (16,), 1, rngs=nnx.Rngs(1)))
    game = start(jax.random.key(0), both, [player])
    game, metrics = compile_rounds([player], batch_size=200, num_rounds=300)(game, BITS)
    predicted = jnp.mean(jax.vmap(game.model.baseline)(BITS))
    np.testing.assert_allclose(predicted, np.mean(metrics["elbo"]), atol=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: objectives.elbo(0), "num_particles must be at least 1, got 0"),
        (lambda: objectives.iwae(-3), "num_particles must be at least 1, got -3"),
        (lambda: objectives.vimco(1), "num_particles must be at least 2 for VIMCO, got 1"),
        (lambda: objectives.renyi(float("inf"), 2), "alpha must be finite, got inf"),
        (
            lambda: objectives.vr_max(2, estimator=bounds.doubly_reparameterized),
            "vr_max is not twice differentiable",
        ),
        (
            lambda: objectives.iwae(2, estimator=bounds.sticking_the_landing),
            "its gradient of iwae is biased: use the doubly reparameterized estimator",
        ),
        (
            lambda: objectives.elbo(rate=Rate(beta=2.0), estimator=bounds.doubly_reparameterized),
            "rate needs gradients through the terms of the ELBO",
        ),
        (lambda: objectives.elbo(rate=Rate(beta=-1.0)), "beta and free_nats must not be negative"),
        (lambda: bounds.baselines.running_mean(1.0), r"decay must be in \[0, 1\), got 1.0"),
    ],
)
def test_objectives_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_without_a_density_is_refused_before_training():
    class Generator(nnx.Module):
        def __init__(self):
            self.loc = nnx.Param(jnp.zeros(2))

        def sample(self, key, cond=None):
            return self.loc + jax.random.normal(key, (2,))

    player = Player(loss=objectives.elbo(), optimizer=optax.adam(1e-3))
    with pytest.raises(TypeError, match="Generator cannot be the model of a likelihood"):
        start(jax.random.key(0), Generator(), [player])
