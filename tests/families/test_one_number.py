"""A density that forgets the sum over an event's entries is named, not broadcast in silence."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from genmix import bounds, objectives
from genmix.evaluation import latents
from genmix.families import LatentVariableModel, StandardNormal
from genmix.training import Plan, Player, Run, fit

DIM = 2


class Posterior(nnx.Module):
    """N(W x, 1), with the sum over entries or without."""

    def __init__(self, reduce=jnp.sum):
        self.net = nnx.Linear(4, DIM, rngs=nnx.Rngs(0))
        self.reduce = reduce

    def log_prob(self, z, cond: Any = None):
        return self.reduce(-0.5 * (z - self.net(cond)) ** 2)

    def sample(self, key, cond: Any = None):
        return self.net(cond) + jax.random.normal(key, (DIM,))

    def sample_and_log_prob(self, key, cond: Any = None):
        z = self.sample(key, cond)
        return z, self.log_prob(z, cond)


class Prior(StandardNormal):
    def log_prob(self, x, cond: Any = None):
        return -0.5 * x**2


class Likelihood(nnx.Module):
    def __init__(self, reduce=jnp.sum):
        self.net = nnx.Linear(DIM, 4, rngs=nnx.Rngs(0))
        self.reduce = reduce

    def log_prob(self, x, cond: Any = None):
        return self.reduce(-0.5 * (x - self.net(cond)) ** 2)


def model(**parts):
    right = {"prior": StandardNormal((DIM,)), "likelihood": Likelihood(), "posterior": Posterior()}
    return LatentVariableModel(**(right | parts))


def as_it_is(x):
    return x


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"prior": Prior((DIM,))},
            r"Prior.log_prob must give one .* got float32\[2\]: sum",
        ),
        ({"likelihood": Likelihood(as_it_is)}, r"Likelihood.log_prob must give .* float32\[4\]"),
        ({"posterior": Posterior(as_it_is)}, r"Posterior.\w+ must give .* float32\[2\]"),
    ],
)
@pytest.mark.parametrize(
    "term",
    [
        objectives.elbo(),
        objectives.iwae(4),
        objectives.iwae(4, estimator=bounds.doubly_reparameterized),
        objectives.elbo(estimator=bounds.sticking_the_landing),
    ],
    ids=["elbo", "iwae", "dreg", "stl"],
)
def test_training_names_the_part_and_the_method(parts, message, term):
    """Four entries and four particles would have broadcast to a loss that looks right."""
    player = Player(loss=term, optimizer=optax.adam(1e-3))
    plan = Plan(num_rounds=1, batch_size=4)
    with pytest.raises(ValueError, match=message):
        fit(jax.random.key(0), model(**parts), [player], jnp.ones((8, 4)), plan, Run(label=None))


class Pair(nnx.Module):
    """Latents in a dict."""

    def __init__(self):
        self.both = Posterior()

    def sample(self, key, cond: Any = None):
        z = self.both.sample(key, cond)
        return {"a": z[:1], "b": z[1:]}

    def sample_and_log_prob(self, key, cond: Any = None):
        z = self.both.sample(key, cond)
        return {"a": z[:1], "b": z[1:]}, self.both.log_prob(z, cond)


def test_units_of_latents_in_a_dict_are_counted():
    """As those of one array, in the order of the dict."""
    x = jax.random.normal(jax.random.key(1), (20, 4))
    found = [
        latents.activities(jax.random.key(0), model(posterior=posterior), x, num_samples=3)
        for posterior in (Posterior(), Pair())
    ]
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-6)
