"""Each gradient estimator with each wrapper: unbiased against a known gradient, or refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix import bounds, objectives
from genmix.families import LatentVariableModel, weigh
from genmix.objectives import Rate
from tests.families.posteriors import targets

SMOOTH = ("hamiltonian", "auxiliary", "resampled", "optimized", "resampled of hamiltonian",
          "hamiltonian of optimized")  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_is_that_of_the_log_weight_for_one_noise(name):
    """The log-weight is smooth for each noise, so differences of it are its gradient."""
    with jax.enable_x64(True):
        model = targets.model(targets.CONTINUOUS[name]())
        model = jax.tree.map(lambda a: jnp.asarray(a, float), model)
        x = jnp.asarray(targets.X, float)

        @jax.jit
        def bound(model, key):
            one = lambda key, draw: weigh.terms(model, key, x, None, draw)
            estimate = bounds.reparameterized.estimate
            return estimate(key, one, bounds.iwae.bound, num_particles=2).bound

        gradient = jax.jit(jax.grad(bound))(model, jax.random.key(0))
        leaves, structure = jax.tree.flatten(model)
        rng = np.random.default_rng(0)
        direction = [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves]
        along = sum(
            jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), direction, strict=True)
        )

        def moved(step):
            shifted = [a + step * b for a, b in zip(leaves, direction, strict=True)]
            return bound(jax.tree.unflatten(structure, shifted), jax.random.key(0))

        difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
        np.testing.assert_allclose(along, difference, rtol=1e-6)


def _exact_bound(parameters):
    """E log w of rejection with two estimates of Z, by enumeration, and E of its parts."""
    log_q = jax.nn.log_softmax(parameters["logits"])
    log_a = jax.nn.log_sigmoid(parameters["joint"] - log_q + 1.0)
    r = jax.nn.softmax(log_q + log_a)
    both = jnp.logaddexp(log_a[:, None], log_a[None, :]) - jnp.log(2.0)
    log_z = jnp.sum(jnp.exp(log_q[:, None] + log_q[None, :]) * both)
    return jnp.sum(r * (parameters["joint"] - log_q - log_a)) + log_z


def test_the_gradient_of_rejection_is_the_enumerated_one():
    """Means of 100,000 gradients, 10 figures at 4.5 standard errors: false alarm 7e-5."""
    parameters = {"logits": jnp.array([0.5, -1.0, 0.2, 0.0, 1.0]),
                  "joint": jnp.array([-2.0, -1.0, -3.0, -0.5, -2.5])}  # fmt: skip

    def log_weight(parameters, key):
        joint = lambda z: parameters["joint"][z]
        proposal = targets.Rejecting(targets.Table(parameters["logits"]), 1.0, num_estimates=2)
        z, log_q = proposal.propose(key, joint)
        return joint(z) - log_q

    keys = jax.random.split(jax.random.key(0), 100_000)
    values, gradients = jax.jit(
        jax.vmap(jax.value_and_grad(log_weight), in_axes=(None, 0))
    )(parameters, keys)  # fmt: skip
    exact, slopes = jax.value_and_grad(_exact_bound)(parameters)
    assert abs(jnp.mean(values) - exact) < 4 * jnp.std(values) / np.sqrt(len(keys))
    for name, slope in slopes.items():
        error = jnp.std(gradients[name], axis=0) / np.sqrt(len(keys))
        assert jnp.max(error) < 0.01
        assert jnp.all(jnp.abs(jnp.mean(gradients[name], axis=0) - slope) < 4.5 * error)


def _step(term, model) -> Any:
    return jax.eval_shape(
        lambda model: term.loss(model, jax.random.key(0), targets.X[None], term.init(model))[0],
        model,
    )


@pytest.mark.parametrize("name", list(targets.CONTINUOUS))
@pytest.mark.parametrize(
    "estimator",
    [
        bounds.sticking_the_landing,
        bounds.doubly_reparameterized,
        bounds.score_function(bounds.baselines.leave_one_out),
    ],
    ids=lambda estimator: estimator.name,
)
def test_estimators_that_take_log_q_apart_are_refused(name, estimator):
    with pytest.raises(TypeError, match="has no log_prob, so its density cannot be taken apart"):
        _step(objectives.elbo(2, estimator=estimator), targets.model(targets.CONTINUOUS[name]()))


@pytest.mark.parametrize(
    ("name", "term", "message"),
    [
        ("annealed", objectives.elbo(), "Annealed cannot be trained here: chance decides"),
        ("hamiltonian of resampled", objectives.elbo(), "Hamiltonian cannot be .*: chance"),
        ("resampled of annealed", objectives.elbo(), "Resampled cannot be .*: chance decides"),
        ("resampled of rejecting", objectives.elbo(), "Resampled cannot be .*: chance decides"),
        ("rejecting of auxiliary", objectives.elbo(), "Rejecting cannot be .*: chance decides"),
        ("rejecting", objectives.iwae(2), "Rejecting cannot be .* mean of log-weights alone"),
        ("resampled", objectives.elbo(rate=Rate(beta=0.5)), "Resampled cannot .* as a whole"),
        ("resampled", objectives.reconstruction(), "Resampled cannot .* as a whole"),
    ],
)
def test_what_no_gradient_is_unbiased_for_is_refused(name, term, message):
    with pytest.raises(TypeError, match=message):
        _step(term, targets.model(targets.CONTINUOUS[name]()))


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("rejecting", objectives.elbo(2)),
        ("resampled", objectives.iwae(2)),
        ("hamiltonian", objectives.elbo(rate=Rate(beta=0.5))),
        ("optimized", objectives.renyi(0.5, 2)),
    ],
)
def test_what_goes_together_is_taken(name, term):
    assert _step(term, targets.model(targets.CONTINUOUS[name]())).shape == ()


def test_a_proposal_that_says_nothing_of_gradients_has_none():
    class Silent:
        def propose(self, key, log_joint, cond: Any = None):
            return jnp.zeros(2), jnp.zeros(())

    with pytest.raises(TypeError, match="Silent cannot be trained here"):
        _step(objectives.elbo(), LatentVariableModel(
            prior=targets.linear_gaussian.one_layer().prior,
            likelihood=targets.linear_gaussian.DECODER,
            posterior=Silent(),
        ))  # fmt: skip
