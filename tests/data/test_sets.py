"""The data sets themselves: splits, values, and the baselines that they are known by."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genmix import data
from genmix.data import binarization
from genmix.data.digits import grey_digits
from genmix.evaluation.baselines import independent_bernoulli

SHAPES = {
    "mnist": ((59_600, 28, 28, 1), 400, 10_000, "dynamic"),
    "fashion-mnist": ((59_600, 28, 28, 1), 400, 10_000, "dynamic"),
    "binarized-mnist": ((50_000, 28, 28, 1), 10_000, 10_000, "static"),
    "caltech-silhouettes": ((4_100, 28, 28, 1), 2_264, 2_307, "static"),
    "frey-faces": ((1_565, 28, 20, 1), 200, 200, "none"),
}


def test_digits():
    digits = data.load("digits")
    assert digits.train.shape == (1437, 8, 8, 1)
    assert len(digits.valid) == 0
    assert digits.test.shape == (360, 8, 8, 1)
    assert set(np.unique(digits.train * 16)) == set(range(17))
    assert set(np.unique(digits.test)) == {0.0, 1.0}
    np.testing.assert_array_equal(np.concatenate([digits.train]), grey_digits()[:1437])
    nll = -independent_bernoulli(digits.train, digits.test).mean()
    assert 26.7 < nll < 27.0
    np.testing.assert_array_equal(data.load("digits").test, digits.test)


def test_thinned_keeps_the_training_images_and_spreads_the_others():
    digits = data.load("digits")
    few = data.thinned(digits, 100)
    assert few.train is digits.train
    assert len(few.valid) == 0
    kept = [int(3.6 * i) for i in range(100)]
    np.testing.assert_array_equal(few.test, digits.test[kept])
    assert digits.test_labels is not None
    np.testing.assert_array_equal(few.test_labels, digits.test_labels[kept])
    np.testing.assert_array_equal(data.thinned(digits, 1000).test, digits.test)
    assert data.thinned(digits, None) is digits
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        data.thinned(digits, 0)


@pytest.mark.parametrize("name", SHAPES)
def test_sets_from_files(data_dir, name):
    shape, num_valid, num_test, binarized = SHAPES[name]
    loaded = data.load(name, data_dir)
    assert loaded.train.shape == shape
    assert loaded.valid.shape == (num_valid, *shape[1:])
    assert loaded.test.shape == (num_test, *shape[1:])
    assert loaded.binarization == binarized
    assert loaded.train.dtype == np.float32
    if loaded.num_levels == 2:
        assert set(np.unique(loaded.test)) == {0.0, 1.0}
        assert 0 <= loaded.train.min() < loaded.train.max() == 1
    else:
        assert loaded.train.max() <= 255
    if loaded.test_labels is not None:
        assert loaded.train_labels is not None
        assert len(np.unique(loaded.train_labels)) == len(np.unique(loaded.test_labels))
        assert loaded.train_labels.min() == 0


def test_mnist_has_the_published_statistics(data_dir):
    """references: test mean .1325, independent Bernoulli 205.8 nats."""
    mnist = data.load("mnist", data_dir)
    np.testing.assert_allclose(mnist.test.mean(), 0.1325, atol=3e-4)
    nll = -independent_bernoulli(mnist.train, mnist.test).mean()
    np.testing.assert_allclose(nll, 205.8, atol=0.2)


def test_a_set_s_own_folder_will_do(data_dir):
    frey = data.load("frey-faces", data_dir / "frey_faces")
    np.testing.assert_array_equal(frey.test, data.load("frey-faces", data_dir).test)


def test_another_set_under_the_same_file_names_is_refused(data_dir):
    with pytest.raises(ValueError, match=r"starts with labels .* not the training part of mnist"):
        data.load("mnist", data_dir / "fashion_mnist")


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"no data set 'mnits' \(did you mean mnist\?\)"):
        data.load("mnits")
    with pytest.raises(ValueError, match="pass the folder that holds mnist/ as data_dir"):
        data.load("mnist")
    with pytest.raises(FileNotFoundError, match=r"expected .*frey_faces/frey_faces.npz, but there"):
        data.load("frey-faces", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        data.load("binarized-mnist", tmp_path / "file")


def test_binarization():
    """Means within 5 standard errors; probabilities 0 and 1 are certain."""
    probabilities = jnp.tile(jnp.array([0.0, 0.2, 0.9, 1.0])[None], (20_000, 1))
    bits = np.asarray(data.binarize(jax.random.key(0), probabilities))
    assert bits.dtype == np.float32
    assert bits[:, 0].max() == 0
    assert bits[:, 3].min() == 1
    assert abs(bits[:, 1].mean() - 0.2) < 5 * 0.4 / np.sqrt(20_000)
    assert abs(bits[:, 2].mean() - 0.9) < 5 * 0.3 / np.sqrt(20_000)
    with pytest.raises(TypeError, match=r"floating point in \[0, 1\], got dtype int32"):
        getattr(binarization.binarize, "__wrapped__", binarization.binarize)(
            jax.random.key(0), jnp.ones(3, jnp.int32)
        )


def test_logits_of_means_are_finite():
    images = np.array([[[0.0, 1.0]], [[0.0, 1.0]], [[0.3, 1.0]]])
    logits = data.mean_logits(images)
    assert logits.shape == (1, 2)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), [[0.1, 0.999]], rtol=1e-5)


def test_training_needs_images_enough():
    digits = data.load("digits")
    data.require(digits, batch_size=1437)
    with pytest.raises(ValueError, match=r"batch_size must be at most 1437, .* digits; got 1438"):
        data.require(digits, batch_size=1438)
    with pytest.raises(ValueError, match=r"digits has no validation images, .* --patience"):
        data.require(digits, batch_size=10, patience=1)


def test_one_draw_for_all_time():
    grey = np.linspace(0, 1, 1000, dtype=np.float32)
    first = data.binarize_once(grey, 0)
    np.testing.assert_array_equal(first, data.binarize_once(grey, 0))
    assert np.any(first != data.binarize_once(grey, 1))
    with jax.enable_x64(True):
        np.testing.assert_array_equal(first, data.binarize_once(grey.astype(np.float64), 0))
    for bad in (np.array([1.5]), np.array([-0.1]), np.array([np.nan])):
        with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\]"):
            data.binarize_once(bad, 0)


def test_importing_stays_light():
    heavy = "sklearn", "matplotlib", "tensorflow", "tensorflow_datasets", "grain", "orbax"
    code = f"import genmix, sys; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_what_is_no_probability_is_not_binarized(how):
    values = jnp.array([128.0, 255.0, jnp.nan, -3.0, 1.0, 0.0, -0.0])
    got = how(binarization.binarize)(jax.random.key(0), values)
    np.testing.assert_array_equal(got, [np.nan] * 4 + [1, 0, 0])
    assert got.dtype == jnp.float32


@pytest.mark.parametrize("wrong", [255.0, -0.1, np.nan])
def test_means_of_what_is_no_probability_have_no_logits(wrong):
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\], got .*; divide grey"):
        data.mean_logits(np.array([[0.5], [wrong]]))
    with pytest.raises(ValueError, match="images is empty, so its pixels have no means"):
        data.mean_logits(np.zeros((0, 2)))
