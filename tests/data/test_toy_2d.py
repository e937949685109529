"""Shapes in the plane; each statistical check fixes its key and allows five standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genmix.data import toy_2d

SHAPES = ("two_moons", "pinwheel", "checkerboard", "eight_gaussians", "two_spirals", "rings")
N = 20_000


@pytest.fixture(scope="module")
def points():
    names = (*SHAPES, "banana")
    draw = lambda name, key: jax.vmap(getattr(toy_2d, name))(jax.random.split(key, N))
    keys = jax.random.split(jax.random.key(0), len(names))
    drawn = jax.jit(lambda: {name: draw(name, keys[i]) for i, name in enumerate(names)})()
    return {name: np.asarray(x, np.float64) for name, x in drawn.items()}


@pytest.mark.parametrize("name", SHAPES)
def test_centred_and_within_the_same_square(points, name):
    x = points[name]
    assert x.shape == (N, 2)
    assert np.mean(np.max(np.abs(x), axis=1) < 4.2) > 0.999
    np.testing.assert_array_less(np.abs(x.mean(0)), 5 * x.std(0) / np.sqrt(N) + 0.001)


def test_the_swiss_roll_winds_outwards():
    """The radius grows with the angle by 1 / (1.5 pi) a radian, but for noise."""
    x = jax.vmap(toy_2d.swiss_roll)(jax.random.split(jax.random.key(1), 4000))
    radius, angle = np.hypot(*np.asarray(x).T), np.arctan2(*np.asarray(x).T[::-1])
    turns = (1.5 * np.pi * radius - angle) / (2 * np.pi)
    assert np.mean(np.abs(turns - np.round(turns)) < 0.35) > 0.99
    assert 0.7 < radius.min() < 1
    assert 3 < radius.max() < 3.5


def test_checkerboard_fills_its_squares_evenly(points):
    squares = np.floor(points["checkerboard"] / 2).astype(int)
    assert np.all(squares.sum(1) % 2 == 0)
    _, counts = np.unique(squares, axis=0, return_counts=True)
    assert len(counts) == 8
    assert stats.chisquare(counts).pvalue > 1e-4


def test_rings_and_spirals(points):
    radius = np.linalg.norm(points["rings"], axis=1)
    assert np.mean(np.abs(radius - np.round(radius)) < 0.4) > 0.999
    np.testing.assert_allclose(np.mean(radius), 2, atol=5 * radius.std() / np.sqrt(N) + 0.01)
    angle = np.arctan2(points["two_spirals"][:, 1], -points["two_spirals"][:, 0])
    # on an arm, three times the radius is the angle, up to half turns
    off = np.sin(3 * np.linalg.norm(points["two_spirals"], axis=1) - angle)
    assert np.mean(np.abs(off) < 0.9) > 0.9


def test_known_entropies(points):
    angles = np.pi / 4 * np.arange(8)
    centres = 4 / np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], 1)
    square = np.sum((points["eight_gaussians"][:, None] - centres) ** 2, -1)
    scale = 0.5 / np.sqrt(2)
    log_p = np.logaddexp.reduce(-0.5 * square / scale**2, 1) - np.log(16 * np.pi * scale**2)
    check_entropy("eight_gaussians", log_p)
    x1, x2 = points["banana"].T
    log_p = stats.norm.logpdf(x2, 0, 2) + stats.norm.logpdf(x1, x2**2 / 4, 1)
    check_entropy("banana", log_p)
    assert jnp.exp(toy_2d.ENTROPIES["checkerboard"]) == pytest.approx(8 * 4)


def check_entropy(name, log_p):
    error = 5 * np.std(log_p) / np.sqrt(N)
    np.testing.assert_allclose(-np.mean(log_p), toy_2d.ENTROPIES[name], atol=error)
