import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genmix import data
from genmix.evaluation import classifier as classifiers
from genmix.evaluation import sample_quality
from genmix.evaluation.classifier import Classifier
from genmix.families import LatentVariableModel, Normal, StandardNormal

RNG = np.random.default_rng(0)


def test_the_frechet_distance_of_normals():
    """Of two diagonal ones: the difference of means, and that of the deviations, squared."""
    z = RNG.normal(size=(50_000, 3))
    z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z, rowvar=False)).T)
    a, b = z * [1.0, 2.0, 0.5], z[::-1] * [2.0, 2.0, 1.0] + [1.0, 0.0, -2.0]
    expected = 5.0 + 1.0 + 0.25
    np.testing.assert_allclose(sample_quality.frechet_distance(a, b), expected, rtol=1e-8)
    np.testing.assert_allclose(sample_quality.frechet_distance(a, a), 0.0, atol=1e-8)
    turned = z @ np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    rotated = sample_quality.frechet_distance(turned * [1, 3, 1], z)
    np.testing.assert_allclose(rotated, 4.0, rtol=1e-8)


def test_scores_of_perfect_of_flat_and_of_missing_classes():
    even, sure = np.full(4, 0.25), np.eye(4)
    assert sample_quality.inception_score(sure) == pytest.approx(4.0)
    assert sample_quality.inception_score(np.tile(even, (5, 1))) == pytest.approx(1.0)
    assert sample_quality.mode_score(sure, even) == pytest.approx(4.0)
    # Two of four classes: exp(ln 2) sure events, and KL ln 2 to the real shares.
    assert sample_quality.inception_score(sure[:2]) == pytest.approx(2.0)
    assert sample_quality.mode_score(sure[:2], even) == pytest.approx(1.0)


def test_precision_and_recall_tell_narrow_samples_from_wild_ones():
    """Of one distribution both are near 1; a narrow sample misses recall, a wide one precision."""
    real = RNG.normal(size=(500, 2))
    score = lambda fake: sample_quality.precision_and_recall(real, fake)
    assert min(score(RNG.normal(size=(500, 2)))) > 0.85
    precision, recall = score(0.2 * RNG.normal(size=(500, 2)))
    assert precision > 0.95
    assert recall < 0.3
    precision, recall = score(5.0 * RNG.normal(size=(500, 2)))
    assert precision < 0.3
    assert recall > 0.95
    assert score(real + 100.0) == (0.0, 0.0)


def test_an_outlier_raises_recall_but_not_coverage():
    real = RNG.normal(size=(300, 2))
    fake = np.concatenate([0.1 * RNG.normal(size=(300, 2)), [[0.0, 30.0]] * 3 + [[0.0, -30.0]]])
    assert sample_quality.precision_and_recall(real, fake)[1] > 0.8
    assert sample_quality.coverage(real, fake) < 0.1
    # Of one distribution 1 - 2^-3 of the events have one of the others within three neighbours.
    other = RNG.normal(size=(300, 2))
    assert sample_quality.coverage(real, other) == pytest.approx(7 / 8, abs=0.08)


def test_the_error_of_the_frechet_distance_is_its_spread():
    """Over 200 samples of 100 events; the jackknife of each is within a third of it."""
    real = RNG.normal(size=(2000, 3))
    samples = [1.5 * RNG.normal(size=(100, 3)) for _ in range(200)]
    spread = np.std([sample_quality.frechet_distance(real, fake) for fake in samples])
    errors = [sample_quality.frechet_error(real, fake) for fake in samples[:40]]
    assert np.mean(errors) == pytest.approx(spread, rel=1 / 3)


def test_modes_are_counted_within_three_deviations():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    samples = np.array([[0.0, 0.2], [0.29, 0.0], [10.0, 0.31], [5.0, 5.0]])
    found = sample_quality.modes(samples, centres, 0.1)
    assert found == sample_quality.Modes(covered=1, high_quality=0.5, smallest_share=0.0)
    assert sample_quality.modes(centres, centres, 0.1).smallest_share == pytest.approx(1 / 3)


def test_means_are_those_of_the_prior_with_networks_in_evaluation_mode():
    """Training would drop half of the entries of z."""
    dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    model = LatentVariableModel(
        prior=StandardNormal(3),
        likelihood=Normal(nnx.Sequential(dropout, lambda z: 1 + 2 * z), scale=1.0),
        posterior=Normal(lambda x: x, scale=1.0),
    )
    x = sample_quality.draw_means(jax.random.key(0), model, 7)
    z = jax.vmap(model.prior.sample)(jax.random.split(jax.random.key(0), 7))
    np.testing.assert_allclose(x, 1 + 2 * z, rtol=1e-6)


def test_conditions_are_gone_through_again_and_again():
    part = Normal(lambda c: 10 * c, scale=1e-3)
    x = sample_quality.draw(jax.random.key(0), part, 5, given=jnp.eye(2))
    np.testing.assert_allclose(x, 10 * np.eye(2)[[0, 1, 0, 1, 0]], atol=0.01)


@pytest.mark.slow
def test_a_classifier_of_digits_and_what_it_sees(tmp_path):
    """It knows nine of ten test digits; test images score far better than noise."""
    digits = data.load("digits", pixels="levels")
    train, test = (np.asarray(x) / 16 for x in (digits.train, digits.test))
    assert digits.train_labels is not None
    assert digits.test_labels is not None
    labels = digits.train_labels
    make = lambda: classifiers.train(
        jax.random.key(0), train, labels, num_steps=500, directory=tmp_path
    )
    judge = make()
    assert classifiers.accuracy(judge, test, digits.test_labels) > 0.9
    again = make()  # from the directory
    np.testing.assert_array_equal(again.out.kernel[...], judge.out.kernel[...])
    good = sample_quality.of_images(judge, train[:300], test)
    bad = sample_quality.evaluate_samples(
        jax.random.key(0),
        StandardNormal((8, 8, 1)),
        test,
        judge,
        num_samples=300,
        to_image=jax.nn.sigmoid,
    )
    assert good.frechet < 0.1 * bad.frechet
    assert good.mode_score > 7.0 > 5.0 > bad.mode_score
    assert min(good.precision, good.recall) > 0.6
    assert bad.precision < 0.1
    assert sum(good.class_shares) == pytest.approx(1.0)


def test_a_cached_classifier_is_not_taken_for_another(tmp_path):
    images, labels = np.zeros((8, 4, 4, 1)), np.arange(8) % 2
    make = lambda labels, num_steps=1: classifiers.train(
        jax.random.key(0), images, labels, num_steps=num_steps, directory=tmp_path
    )
    judge = make(labels)
    np.testing.assert_array_equal(make(labels).out.kernel[...], judge.out.kernel[...])
    with pytest.raises(ValueError, match="images_and_labels: the run has"):
        make(1 - labels)
    with pytest.raises(ValueError, match="num_steps: the run has 1, you pass 2"):
        make(labels, num_steps=2)


WILD = np.where(np.eye(5, 3) * [0, 1, 0], np.nan, RNG.normal(size=(5, 3)))
TAME = RNG.normal(size=(5, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda q: q.frechet_distance(TAME[:1], TAME),
            r"a must be a table of at least 2 rows, got",
        ),
        (lambda q: q.frechet_distance(TAME, WILD), "b must be finite, and 1 of 5 rows are not"),
        (lambda q: q.frechet_distance(TAME, TAME[:, :2]), "as many features, got 3 and 2"),
        (lambda q: q.inception_score(WILD), "probabilities must be finite, and 1 of 5 rows"),
        (lambda q: q.inception_score(TAME[:0]), r"probabilities must be a table of at least 1 row"),
        (lambda q: q.mode_score(WILD, TAME[0]), "probabilities must be finite"),
        (lambda q: q.precision_and_recall(TAME, WILD), "fake must be finite"),
        (lambda q: q.modes(TAME[:0], TAME, 1.0), "samples must hold at least one event"),
    ],
)
def test_figures_of_no_samples_or_wild_ones_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(sample_quality)


def test_mistakes_are_refused():
    judge = Classifier((8, 8, 1), 3, rngs=nnx.Rngs(0))
    real, part = jnp.zeros((5, 8, 8, 1)), StandardNormal((8, 8, 1))
    with pytest.raises(TypeError, match="object has no sample, so its samples cannot be judged"):
        sample_quality.evaluate_samples(jax.random.key(0), object(), real, judge, num_samples=5)
    with pytest.raises(ValueError, match="images must be finite, and 1 of 5 are not"):
        sample_quality.of_images(judge, real.at[2, 0, 0, 0].set(jnp.nan), real)
    with pytest.raises(ValueError, match="num_samples must be at least 2, got 1"):
        sample_quality.evaluate_samples(jax.random.key(0), part, real, judge, num_samples=1)
    with pytest.raises(ValueError, match="3 neighbours need more events, got 3 real and 5"):
        sample_quality.precision_and_recall(np.zeros((3, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"as many examples each, .*\[0\] 5, .*\[1\] 4"):
        classifiers.train(jax.random.key(0), real, jnp.zeros(4, int))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (0.5, [0, -1], "labels must be classes from 0 on, got -1"),
        (255.0, [0, 1], r"images must lie in \[0, 1\], got values from 255.*; divide"),
        (jnp.nan, [0, 1], r"images must lie in \[0, 1\]"),
    ],
)
def test_a_classifier_is_trained_on_images_with_classes(images, labels, message):
    with pytest.raises(ValueError, match=message):
        classifiers.train(jax.random.key(0), jnp.full((2, 4, 4, 1), images), jnp.array(labels))


def test_the_error_of_the_frechet_distance_does_not_depend_on_the_order_of_classes():
    """Ten clusters one after the other, as samples of a conditional model come."""
    rng = np.random.default_rng(0)
    classes = np.arange(2000) % 10
    fake = 3.0 * np.eye(10)[classes] + rng.normal(size=(2000, 10))
    real = 3.0 * np.eye(10)[rng.integers(10, size=2000)] + rng.normal(size=(2000, 10))
    errors = [
        sample_quality.frechet_error(real, fake[order])
        for order in (np.arange(2000), rng.permutation(2000), np.argsort(classes))
    ]
    assert max(errors) < 3 * min(errors)
