"""Wake and sleep on a net of a few bits, where every expectation is a sum."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import bounds, objectives
from genmix.bounds.estimators import wake as wake_phase
from genmix.densities import bernoulli
from genmix.families import (
    Bernoulli,
    LatentVariableModel,
    Normal,
    Optimized,
    StandardNormal,
    Unconditional,
)
from genmix.nets import MLP
from genmix.objectives import sleep, wake
from genmix.training import Plan, Player, fit

X = jnp.array([1.0, 0.0])
GROUPS = {"model": "", "posterior": "posterior."}


def states(bits: int) -> jax.Array:
    return jnp.array(list(itertools.product((0.0, 1.0), repeat=bits)))


def net(latent: int = 3, events: int = 2, seed: int = 0) -> LatentVariableModel:
    """A sigmoid belief net whose weights are far from zero, in the precision of now."""
    rngs = nnx.Rngs(seed)
    model = LatentVariableModel(
        prior=Unconditional(bernoulli.Bernoulli(), latent, trained=True),
        likelihood=Bernoulli(MLP(latent, (), events, rngs=rngs)),
        posterior=Bernoulli(MLP(events, (), latent, rngs=rngs)),
    )
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), model)


def parts(gradient: Any) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Of prior and likelihood, and of the posterior."""
    named = {jax.tree_util.keystr(p): a for p, a in jax.tree_util.tree_leaves_with_path(gradient)}
    own = {path: a for path, a in named.items() if "posterior" in path}
    return {path: a for path, a in named.items() if path not in own}, own


def log_weights(model: Any, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of every state of z: log p(x, z), log q(z | x), and their difference."""
    z = states(model.posterior.event_shape[0])
    log_p = jax.vmap(lambda z: model.prior.log_prob(z) + model.likelihood.log_prob(x, z))(z)
    log_q = jax.vmap(lambda z: model.posterior.log_prob(z, x))(z)
    return log_p, log_q, log_p - log_q


def expected_wake(model: Any, k: int) -> tuple[Any, Any]:
    """Mean value and gradient over all that k particles can be."""
    z = states(model.posterior.event_shape[0])
    _, log_q, _ = log_weights(model, X)
    key = jax.random.key(0)
    known = jax.random.key_data(jax.random.split(jax.random.clone(key), k))

    def at(chosen):
        def value(model):
            def weigh(key, draw):
                i = jnp.argmax(jnp.all(known == jax.random.key_data(key)[None], axis=1))
                forced = z[chosen[i]]
                told = lambda q, key, cond: (forced, q.log_prob(forced, cond))
                return model.log_weight_terms(key, X, None, told)

            estimate = wake_phase.estimate
            return estimate(key, weigh, bounds.iwae.bound, num_particles=k).bound

        return jax.value_and_grad(value)(model)

    tuples = jnp.array(list(itertools.product(range(len(z)), repeat=k)))
    share = jnp.exp(jnp.sum(log_q[tuples], axis=1))
    values, gradient = jax.vmap(at)(tuples)
    mean = lambda a: jnp.tensordot(share, a, axes=1)
    return mean(values), jax.tree.map(mean, gradient)


def bound_of(model: Any, k: int) -> jax.Array:
    """E[L_k], q's draws held where they are."""
    _, log_q, log_w = log_weights(model, X)
    tuples = jnp.array(list(itertools.product(range(len(log_q)), repeat=k)))
    share = jax.lax.stop_gradient(jnp.exp(jnp.sum(log_q[tuples], axis=1)))
    return jnp.vdot(share, jax.vmap(bounds.iwae.bound)(log_w[tuples]))


@pytest.mark.parametrize("k", [1, 2])
def test_wake_is_the_gradient_of_the_bound_for_the_model(k, x64):
    model = net()
    value, gradient = jax.jit(lambda m: expected_wake(m, k))(model)
    known, slope = jax.jit(jax.value_and_grad(lambda m: bound_of(m, k)))(model)
    np.testing.assert_allclose(value, known, rtol=1e-12)
    (got, posterior), (expected, _) = parts(gradient), parts(slope)
    for path, leaf in got.items():
        np.testing.assert_allclose(leaf, expected[path], atol=1e-12, err_msg=path)
    largest = max(float(jnp.max(jnp.abs(a))) for a in posterior.values())
    assert largest < 1e-12 if k == 1 else largest > 0.01


def test_wake_of_a_posterior_that_is_exact_weighs_all_alike(x64):
    """Then its mean gradient is zero for any k: q is where it is to go."""
    model = net(latent=1)
    log_p, _, _ = log_weights(model, X)
    at = jnp.zeros((2, 1))  # a posterior that looks at nothing
    model.posterior = Bernoulli(MLP(2, (), 1, rngs=nnx.Rngs(0)))
    exact = iter([jnp.array([log_p[1] - log_p[0]]), at])
    model.posterior = jax.tree.map(lambda a: next(exact).reshape(a.shape), model.posterior)
    _, gradient = jax.jit(lambda m: expected_wake(m, 2))(model)
    for path, leaf in parts(gradient)[1].items():
        np.testing.assert_allclose(leaf, 0.0, atol=1e-12, err_msg=path)


def test_draws_of_normals_are_constants_too():
    """One particle teaches q nothing on average; through the draw it would.

    Largest of 18 entries within 5.5 standard errors: false alarm 1e-6, the key is fixed.
    """
    posterior = Normal(MLP(2, (), 3, rngs=nnx.Rngs(0)))
    model = LatentVariableModel(
        prior=StandardNormal(3), likelihood=net().likelihood, posterior=posterior
    )
    loss = lambda q, key: wake(1)(_with(model, q), key, jnp.ones((1, 2)), ())[0]
    keys = jax.random.split(jax.random.key(4), 20_000)
    gradient = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(posterior, keys)
    for got in jax.tree.leaves(gradient):
        error = jnp.std(got, axis=0, ddof=1) / np.sqrt(len(keys))
        assert jnp.all(jnp.abs(jnp.mean(got, axis=0)) <= 5.5 * error)
        assert jnp.all(error > 0)


def _with(model: LatentVariableModel, posterior: Any) -> LatentVariableModel:
    return LatentVariableModel(prior=model.prior, likelihood=model.likelihood, posterior=posterior)


class Told(nnx.Module):
    """Draws what it is told."""

    def __init__(self, event: jax.Array):
        self.event = nnx.Variable(event)

    def sample(self, key, cond=None):
        return self.event[...]

    def log_prob(self, x, cond=None):
        return jnp.zeros(())


def test_sleep_is_the_gradient_of_the_forward_kl_over_dreams(x64):
    """Two layers: each posterior's is that of its own layer."""
    top = net(latent=2, events=3, seed=1)
    low = net()
    model = LatentVariableModel(prior=top, likelihood=low.likelihood, posterior=low.posterior)
    dreams = list(itertools.product(states(2), states(3), states(2)))
    z2, z1, x = (jnp.stack(each) for each in zip(*dreams, strict=True))

    def log_p(model, z2, z1, x):
        prior = model.prior
        top = prior.prior.log_prob(z2) + prior.likelihood.log_prob(z1, z2)
        return top + model.likelihood.log_prob(x, z1)

    share = jnp.exp(jax.vmap(lambda *dream: log_p(model, *dream))(z2, z1, x))
    np.testing.assert_allclose(jnp.sum(share), 1.0, rtol=1e-12)

    def one(model, z2, z1, x):
        dreamer = LatentVariableModel(
            prior=LatentVariableModel(
                prior=Told(z2), likelihood=Told(z1), posterior=model.prior.posterior
            ),
            likelihood=Told(x),
            posterior=model.posterior,
        )
        return sleep()(dreamer, jax.random.key(0), jnp.zeros((1, 2)), ())[0]

    mean = lambda model: jnp.vdot(share, jax.vmap(lambda *d: one(model, *d))(z2, z1, x))

    def forward_kl(model):
        """KL(p || q) of both layers; the entropy of p, a constant, is left out."""
        layers = lambda z2, z1, x: (
            model.posterior.log_prob(z1, x) + model.prior.posterior.log_prob(z2, z1)
        )
        return -jnp.vdot(share, jax.vmap(layers)(z2, z1, x))

    got, expected = (parts(jax.jit(jax.grad(f))(model)) for f in (mean, forward_kl))
    assert len(got[1]) == 4
    for path, leaf in got[1].items():
        np.testing.assert_allclose(leaf, expected[1][path], atol=1e-12, err_msg=path)
        assert jnp.any(leaf != 0), path


def test_dreams_teach_the_posterior_alone_and_come_from_the_model():
    """Mean log q of dreams, within 5 standard errors: false alarm 1e-6, the key is fixed."""
    model = net()
    run = jax.jit(jax.value_and_grad(lambda m, key, x: sleep()(m, key, x, ()), has_aux=True))
    (loss, (metrics, _)), gradient = run(model, jax.random.key(1), jnp.zeros((20_000, 2)))
    others, own = parts(gradient)
    assert all(not jnp.any(leaf) for leaf in others.values())
    assert all(jnp.any(leaf) for leaf in own.values())
    np.testing.assert_allclose(metrics["sleep"], -loss)
    first = second = 0.0
    for x in states(2):
        log_p, log_q, _ = log_weights(model, x)
        first += jnp.vdot(jnp.exp(log_p), log_q)
        second += jnp.vdot(jnp.exp(log_p), log_q**2)
    error = float(jnp.sqrt((second - first**2) / 20_000))
    assert abs(float(-loss - first)) < 5 * error


def test_the_term_has_the_gradient_that_was_summed():
    """Largest of 17 entries within 5.5 standard errors: false alarm 1e-6, the key is fixed."""
    model = net()
    _, expected = jax.jit(lambda m: expected_wake(m, 2))(model)
    loss = lambda m, key: wake(2)(m, key, X[None], ())[0]
    keys = jax.random.split(jax.random.key(3), 20_000)
    gradient = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(model, keys)
    for got, known in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        error = jnp.std(got, axis=0, ddof=1) / np.sqrt(len(keys))
        assert jnp.all(jnp.abs(jnp.mean(-got, axis=0) - known) <= 5.5 * error)


def test_players_of_one_game_come_to_the_truth():
    """A net of one bit learns two coins; both phases of q, whose loss has both names."""
    x = jnp.tile(jnp.array([[0.0, 0.0], [1.0, 1.0]]), (50, 1))
    adam = lambda: optax.adam(3e-2)
    players = [
        Player(name="p", owns=("prior", "likelihood"), loss=wake(3), optimizer=adam()),
        Player(name="q", owns=("posterior",), loss=wake(3) + sleep(), optimizer=adam()),
    ]
    model = net(latent=1)
    run = fit(jax.random.key(0), model, players, x, Plan(num_rounds=400, batch_size=20))
    truth = lambda m: jnp.mean(jnp.stack([jax.nn.logsumexp(log_weights(m, e)[0]) for e in x[:2]]))
    assert truth(model) < -1.39  # worse than two fair coins
    assert truth(run.model) > -0.85  # the best is -log 2
    assert {"p/iwae", "q/iwae", "q/sleep"} <= run.history.keys()


NORMAL = Normal(MLP(2, (), 3, rngs=nnx.Rngs(0)))
REFUSED = {
    "no latents": (
        lambda: sleep().init(StandardNormal(2)),
        "sleep teaches the posterior of a LatentVariableModel, got StandardNormal",
    ),
    "a posterior that proposes": (
        lambda: sleep().init(
            LatentVariableModel(
                prior=StandardNormal(3),
                likelihood=net().likelihood,
                posterior=Optimized(NORMAL, 1, optimizer=optax.sgd(0.1)),
            )
        ),
        "Optimized cannot learn from dreams: it has no log_prob beside sample",
    ),
    "no particles": (lambda: wake(0), "num_particles must be at least 1, got 0"),
    "both in one sum with the bound": (
        lambda: (wake(2) + objectives.vimco(2))(net(), jax.random.key(0), X[None], ((), ())),
        "both report iwae",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_learn_so_is_refused(name):
    run, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        run()
