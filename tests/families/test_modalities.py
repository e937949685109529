"""Posteriors of any subset of modalities, on views of a normal z that are linear in it."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from genmix import objectives
from genmix.densities import normal
from genmix.families import (
    Bernoulli,
    LatentVariableModel,
    MixtureOfExperts,
    Modalities,
    Normal,
    NormalAt,
    OfModalities,
    ProductOfExperts,
    StandardNormal,
    log_weight,
)
from genmix.families.latent.modalities import complete
from genmix.nets import MLP, Joined

SLOPES, SCALES = (1.5, -0.7, 0.4), (0.5, 0.9, 1.3)
PRIOR = np.array([[0.3, -0.4], [0.8, 1.2]])  # means, standard deviations
VALUES = tuple(np.array(v) for v in ([0.4, -1.0], [1.2, 0.1], [-0.3, 2.0]))
SUBSETS = list(itertools.product([False, True], repeat=3))


class Prior(NamedTuple):
    """Not a standard normal one."""

    def parameters(self, cond: Any = None):
        del cond
        return normal.Parameters(*map(jnp.asarray, PRIOR))

    def sample_and_log_prob(self, key, cond: Any = None):
        return NormalAt(*self.parameters(cond)).sample_and_log_prob(key)

    def log_prob(self, x, cond: Any = None):
        return NormalAt(*self.parameters(cond)).log_prob(x)


class View(NamedTuple):
    """p(x | z) = N(slope z, scale^2)."""

    slope: float
    scale: float

    def log_prob(self, x, cond: Any = None):
        return jnp.sum(normal.log_prob(x, self.slope * cond, self.scale))


class Seen(NamedTuple):
    """p(x | z) as a density of z."""

    slope: float
    scale: float

    def parameters(self, cond: Any = None):
        scale = jnp.full_like(cond, self.scale / abs(self.slope))
        return normal.Parameters(cond / self.slope, scale)

    def sample_and_log_prob(self, key, cond: Any = None):
        return NormalAt(*self.parameters(cond)).sample_and_log_prob(key)

    def log_prob(self, x, cond: Any = None):
        return NormalAt(*self.parameters(cond)).log_prob(x)


class All(NamedTuple):
    """The exact posterior given all values."""

    def _at(self, values):
        precision = jnp.asarray(PRIOR[1] ** -2.0) + sum(
            (a / s) ** 2 for a, s in zip(SLOPES, SCALES, strict=True)
        )
        loc = jnp.asarray(PRIOR[0] * PRIOR[1] ** -2.0)
        loc += sum(x * a / s**2 for x, a, s in zip(values, SLOPES, SCALES, strict=True))
        return NormalAt(loc / precision, precision**-0.5)

    def sample_and_log_prob(self, key, cond: Any = None):
        return self._at(cond).sample_and_log_prob(key)

    def log_prob(self, x, cond: Any = None):
        return self._at(cond).log_prob(x)


def views():
    return OfModalities([View(a, s) for a, s in zip(SLOPES, SCALES, strict=True)])


def experts():
    return [Seen(a, s) for a, s in zip(SLOPES, SCALES, strict=True)]


def event(present, missing=np.nan):
    """What is missing is NaN."""
    values = [v if here else np.full(2, missing) for v, here in zip(VALUES, present, strict=True)]
    return Modalities(tuple(map(jnp.asarray, values)), jnp.array(present))


def exact(present):
    """log p of what is present."""
    total = 0.0
    for i in range(2):
        chosen = [j for j in range(3) if present[j]]
        a, s = np.array(SLOPES)[chosen], np.array(SCALES)[chosen]
        x = np.array([VALUES[j][i] for j in chosen])
        cov = np.diag(s**2) + np.outer(a, a) * PRIOR[1][i] ** 2
        r = x - a * PRIOR[0][i]
        log_det = np.linalg.slogdet(2 * np.pi * cov)[1] if chosen else 0.0
        total += -0.5 * (log_det + (r @ np.linalg.solve(cov, r) if chosen else 0.0))
    return total


def test_a_product_is_the_exact_posterior_of_every_subset():
    with jax.enable_x64(True):
        model = LatentVariableModel(
            prior=Prior(), likelihood=views(), posterior=ProductOfExperts(experts(), prior=Prior())
        )
        weigh = jax.jit(jax.vmap(lambda key, x: log_weight(model, key, x), (0, None)))
        for present in SUBSETS:
            keys = jax.random.split(jax.random.key(0), 5)
            np.testing.assert_allclose(
                weigh(keys, event(present)), exact(present), rtol=1e-12, atol=1e-12
            )


def test_with_nothing_the_posterior_is_the_prior():
    posterior, x = ProductOfExperts(experts(), prior=Prior()), event((False,) * 3)
    np.testing.assert_allclose(posterior.parameters(x).loc, PRIOR[0], rtol=1e-6)
    np.testing.assert_allclose(posterior.parameters(x).scale, PRIOR[1], rtol=1e-6)
    np.testing.assert_allclose(posterior.kl(Prior(), x), 0, atol=1e-6)


def test_the_order_of_views_does_not_matter():
    x, order = event((True, False, True)), [2, 0, 1]
    there = ProductOfExperts(experts(), prior=Prior()).parameters(x)
    moved = Modalities(tuple(x.values[i] for i in order), x.present[jnp.array(order)])
    back = ProductOfExperts([experts()[i] for i in order], prior=Prior()).parameters(moved)
    np.testing.assert_allclose(there, back, rtol=1e-6)


@pytest.mark.parametrize("present", SUBSETS)
def test_a_mixture_is_that_of_what_is_present(present):
    """Draws against the distribution function; of all subsets a false alarm in 10,000 keys."""
    posterior, x = MixtureOfExperts(experts(), prior=Prior()), event(present)
    seen = [(e, v) for e, v, here in zip(experts(), x.values, present, strict=True) if here]
    parts = [e.parameters(v) for e, v in seen] or [Prior().parameters()]
    z = jnp.array([0.2, -0.5])
    each = [jnp.sum(normal.log_prob(z, *part)) for part in parts]
    expected = jax.nn.logsumexp(jnp.stack(each)) - np.log(len(parts))
    np.testing.assert_allclose(posterior.log_prob(z, x), expected, rtol=1e-5)
    draws, log_q = jax.vmap(posterior.sample_and_log_prob, (0, None))(
        jax.random.split(jax.random.key(1), 2000), x
    )
    np.testing.assert_allclose(log_q[0], posterior.log_prob(draws[0], x), rtol=1e-5)
    for i in range(2):
        normals = [stats.norm(part.loc[i], part.scale[i]) for part in parts]
        mixture = lambda u, normals=normals: np.mean([n.cdf(u) for n in normals], axis=0)
        assert stats.kstest(np.asarray(draws)[:, i], mixture).pvalue > 1e-4 / (2 * len(SUBSETS))


def test_the_joint_expert_stands_alone_where_all_is_present():
    with jax.enable_x64(True):
        posterior = MixtureOfExperts(experts(), prior=Prior(), joint=All())
        model = LatentVariableModel(prior=Prior(), likelihood=views(), posterior=posterior)
        key = jax.random.key(0)
        got = log_weight(model, key, event((True,) * 3))
        np.testing.assert_allclose(got, exact((True,) * 3), rtol=1e-12, atol=1e-12)
        x, z = event((False, True, False)), jnp.array([0.2, -0.5])
        np.testing.assert_allclose(
            posterior.log_prob(z, x), experts()[1].log_prob(z, x.values[1]), rtol=1e-12
        )


def networks(kind):
    rngs = nnx.Rngs(0)
    ours = [Normal(MLP(size, (4,), 2, rngs=rngs)) for size in (3, 2)]
    prior = StandardNormal(2)
    if kind == "product":
        posterior = ProductOfExperts(ours, prior=prior)
    else:
        joint = Normal(Joined(MLP(5, (4,), 2, rngs=rngs))) if kind == "joint" else None
        posterior = MixtureOfExperts(ours, prior=prior, joint=joint)
    parts = [Bernoulli(MLP(2, (4,), size, rngs=rngs)) for size in (3, 2)]
    return LatentVariableModel(prior=prior, likelihood=OfModalities(parts), posterior=posterior)


@pytest.mark.parametrize("kind", ["product", "mixture", "joint"])
def test_nan_in_a_missing_modality_leaks_nowhere(kind):
    """The same numbers, and gradients, as of zeros."""
    model = networks(kind)
    seen = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    batch = lambda missing: complete(seen, jnp.full((2, 2), missing)).only(0)
    loss = lambda model, x: objectives.elbo()(model, jax.random.key(0), x, ())[0]
    both = [nnx.value_and_grad(loss)(model, batch(missing)) for missing in (jnp.nan, 0.0)]
    flat = [jax.tree.leaves(found) for found in both]
    assert all(np.all(np.isfinite(a)) for a in flat[0])
    for a, b in zip(*flat, strict=True):
        np.testing.assert_array_equal(a, b)


def test_experts_learn_from_the_joint_one():
    model, x = networks("joint"), complete(jnp.ones((2, 3)), jnp.zeros((2, 2)))
    loss, (metrics, _) = objectives.experts_kl()(model, jax.random.key(0), x, ())
    p_given = (jnp.ones(3), jnp.zeros(2))
    p = model.posterior.joint.parameters(p_given)
    q = [e.parameters(v) for e, v in zip(model.posterior.experts, p_given, strict=True)]
    expected = sum(jnp.sum(normal.kl(*p, *each)) for each in q)
    np.testing.assert_allclose([loss, metrics["experts_kl"]], expected, rtol=1e-5)
    with pytest.raises(TypeError, match=r"needs the posterior MixtureOfExperts\(..., joint="):
        objectives.experts_kl().init(networks("mixture"))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: OfModalities([]), ValueError, "needs at least one part, got none"),
        (lambda: OfModalities([object()]), TypeError, "object cannot be a modality"),
        (lambda: ProductOfExperts([], prior=Prior()), ValueError, "at least one expert, got none"),
        (lambda: ProductOfExperts([object()], prior=Prior()), TypeError, "cannot be the expert"),
        (lambda: MixtureOfExperts([], prior=Prior()), ValueError, "at least one expert, got none"),
        (lambda: MixtureOfExperts([object()], prior=Prior()), TypeError, "cannot be in a Mixture"),
        (lambda: complete(jnp.ones((2, 3)), jnp.ones((3, 3))), ValueError, r"got \[2, 3\]"),
        (lambda: event((True,) * 3).only(3), ValueError, r"modalities are 0 .. 2, got \(3,\)"),
        (lambda: views().log_prob(VALUES, 0.0), TypeError, "got tuple: complete"),
        (
            lambda: networks("product").posterior.parameters(event((True,) * 3)),
            ValueError,
            "there are 2 experts and 3 modalities",
        ),
        (
            lambda: Modalities((jnp.ones(2),), jnp.ones((1, 1), bool)).cleared(),
            ValueError,
            r"needs present of shape \(1,\), got \(1, 1\)",
        ),
    ],
)
def test_bad_input_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()
