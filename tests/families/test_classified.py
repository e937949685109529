"""Labels: the bound of a classifier against the sum over classes, pairs, and their terms."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import objectives
from genmix.families import (
    Classified,
    LatentVariableModel,
    Normal,
    OneHot,
    Pairs,
    StandardNormal,
    Summed,
    weigh,
)
from genmix.nets import MLP, Joined

CLASSES, DIM = 3, 4


def summed(rngs: nnx.Rngs) -> Summed:
    """M2 without its classifier: a variational autoencoder for each class."""
    given = lambda entries, out: Joined(MLP(entries + CLASSES, (5,), out, rngs=rngs))
    part = LatentVariableModel(
        prior=StandardNormal(2),
        likelihood=Normal(given(2, DIM), scale=0.7),
        posterior=Normal(given(DIM, 2)),
    )
    prior = OneHot(lambda _: jnp.array([0.2, -0.4, 1.0]), CLASSES)
    return Summed(prior=prior, part=part)


def m2() -> Classified:
    rngs = nnx.Rngs(0)
    return Classified(model=summed(rngs), classifier=OneHot(MLP(DIM, (5,), CLASSES, rngs=rngs)))


X = jax.random.normal(jax.random.key(5), (6, DIM))
Y = jnp.eye(CLASSES)[jnp.array([0, 2, 1, 1, 0, 2])]


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_and_its_gap_to_the_posterior_are_the_sum(x64, seed):
    """U(x) + KL(q(y | x) || softmax_y L(x, y)) = logsumexp_y L(x, y), for any q."""
    model = jax.tree.map(lambda a: a.astype(float), m2())
    logits = 3 * jax.random.normal(jax.random.key(seed), (CLASSES,), float)
    model.classifier = OneHot(lambda _: logits, CLASSES)
    x, key = X[0].astype(float), jax.random.key(7)
    L = model.model.log_joint(jax.random.clone(key), x)
    log_q = jax.nn.log_softmax(logits)
    gap = jnp.sum(jnp.exp(log_q) * (log_q - jax.nn.log_softmax(L)))
    bound = model.log_bound(jax.random.clone(key), x)
    np.testing.assert_allclose(bound + gap, jax.nn.logsumexp(L), rtol=1e-13)
    whole = model.model.log_weight(jax.random.clone(key), x)
    np.testing.assert_allclose(bound + gap, whole, rtol=1e-13)
    assert gap > 1e-3


def test_a_certain_classifier_has_the_bound_of_its_class_with_a_finite_gradient(x64):
    model, x = jax.tree.map(lambda a: a.astype(float), m2()), X[0].astype(float)

    def bound(logits):
        certain = Classified(model=model.model, classifier=OneHot(lambda _: logits, CLASSES))
        return certain.log_bound(jax.random.key(7), x)

    certain = jnp.array([0.0, 2000.0, 0.0])
    value, slope = jax.value_and_grad(bound)(certain)
    expected = model.model.log_joint(jax.random.key(7), x)[1]
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert jnp.all(jnp.isfinite(slope))


def test_a_pair_has_its_prior_and_the_part_given_it():
    pairs = summed(nnx.Rngs(0)).pairs
    key = jax.random.key(3)
    _, part_key = jax.random.split(jax.random.clone(key))
    expected = weigh.log_weight(pairs.part, part_key, X[0], Y[0]) + pairs.prior.log_prob(Y[0])
    np.testing.assert_allclose(pairs.log_weight(key, (X[0], Y[0])), expected, rtol=1e-6)
    x, y = pairs.sample(jax.random.key(4))
    assert (x.shape, y.shape) == ((DIM,), (CLASSES,))
    assert isinstance(pairs, Pairs)


def loss(term: objectives.Term, model: Any, batch: Any) -> tuple[Any, Any]:
    of = lambda m: term(m, jax.random.key(0), batch, term.init(m))
    return jax.jit(jax.value_and_grad(of, has_aux=True))(model)


def test_labelled_examples_teach_the_classifier_by_classification_alone():
    model = m2()
    (_, (metrics, _)), slope = loss(objectives.elbo().of(lambda m: m.pairs), model, (X, Y))
    assert metrics["elbo"] < 0
    assert all(jnp.all(a == 0) for a in jax.tree.leaves(slope.classifier))
    assert any(jnp.any(a != 0) for a in jax.tree.leaves(slope.model))
    (value, (metrics, _)), slope = loss(objectives.classification(), model, (X, Y))
    log_q = jax.vmap(lambda x: model.classifier.support(x)[1])(X)
    np.testing.assert_allclose(value, -np.mean(np.sum(log_q * Y, axis=1)), rtol=1e-6)
    right = np.mean(np.argmax(log_q, axis=1) == np.argmax(Y, axis=1))
    np.testing.assert_allclose(metrics["accuracy"], right, rtol=1e-6)
    assert any(jnp.any(a != 0) for a in jax.tree.leaves(slope.classifier))
    # Without labels q learns from the bound.
    _, slope = loss(objectives.elbo(), model, X)
    assert any(jnp.any(a != 0) for a in jax.tree.leaves(slope.classifier))


class Wrapped(nnx.Module):
    def __init__(self, model):
        self.model = model


def test_a_term_over_other_examples_looks_at_no_batch():
    model = m2()
    other = (X[:1], Y[:1])
    term = objectives.classification().over(other, 5, prefix="labelled/")
    (value, (metrics, _)), _ = loss(term, model, jnp.full((2, DIM), jnp.nan))
    (expected, _), _ = loss(objectives.classification(), model, other)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert set(metrics) == {"labelled/cross_entropy", "labelled/accuracy"}
    named = objectives.classification().of("model").over(other, 5, prefix="")
    np.testing.assert_allclose(loss(named, Wrapped(model), X)[0][0], expected, rtol=1e-6)
    later = objectives.classification().over(other, 5, prefix="").of("model")
    np.testing.assert_allclose(loss(later, Wrapped(model), X)[0][0], expected, rtol=1e-6)


def test_bad_input_is_refused_in_words():
    rngs = nnx.Rngs(0)
    with pytest.raises(TypeError, match=r"Classified needs a Summed, .* got StandardNormal"):
        Classified(model=StandardNormal(2), classifier=OneHot(MLP(2, (2,), 3, rngs=rngs)))
    with pytest.raises(TypeError, match="StandardNormal cannot be the classifier: it has no supp"):
        Classified(model=summed(rngs), classifier=StandardNormal(2))
    wrong = Classified(model=summed(rngs), classifier=OneHot(MLP(DIM, (2,), 2, rngs=rngs)))
    with pytest.raises(ValueError, match="the classifier must have the prior's 3 classes, got 2"):
        wrong.log_bound(jax.random.key(0), X[0])
    with pytest.raises(ValueError, match=r"one-hot vectors of 3 entries, got shape \(\)"):
        loss(objectives.classification(), m2(), (X, jnp.zeros(6, int)))
    with pytest.raises(TypeError, match="StandardNormal knows no classes"):
        objectives.classification().init(StandardNormal(2))
    with pytest.raises(ValueError, match="got 0 examples and batch_size 3"):
        objectives.elbo().over(X[:0], 3, prefix="")
    with pytest.raises(ValueError, match="got 6 examples and batch_size 0"):
        objectives.elbo().over(X, 0, prefix="")
    with pytest.raises(TypeError, match="exp of a bound is no estimate"):
        objectives.iwae(2).init(m2())
