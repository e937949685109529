import numpy as np
import pytest
from PIL import Image

from genmix.evaluation import pictures

RNG = np.random.default_rng(0)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_small_images_are_enlarged_and_separated():
    images = RNG.random((5, 8, 8, 1))
    grid = pictures.image_grid(images, columns=3)
    assert grid.shape == (2 * 58 + 2, 3 * 58 + 2, 1)
    for i in range(5):
        y, x = 2 + (i // 3) * 58, 2 + (i % 3) * 58
        cell = grid[y : y + 56, x : x + 56]
        np.testing.assert_array_equal(cell[3::7, 3::7], np.round(255 * images[i]).astype(np.uint8))
    assert np.all(grid[:2] == grid[0, 0])  # the line above
    assert np.all(grid[60:, 118:] == grid[0, 0])  # the empty cell


def test_values_outside_the_interval_are_drawn_as_its_ends():
    grid = pictures.image_grid(
        np.array([-1.0, 2.0]).reshape(2, 1, 1, 1) * np.ones((2, 60, 60, 1)), 2
    )
    assert grid[30, 30, 0] == 0
    assert grid[30, 90, 0] == 255


def test_reconstructions_stand_below_their_originals(tmp_path):
    originals, others = np.zeros((3, 60, 60, 3)), np.ones((3, 60, 60, 3))
    pictures.save_reconstructions(tmp_path / "a.png", originals, others, columns=2)
    image = pixels(tmp_path / "a.png")
    assert image.shape == (4 * 62 + 2, 2 * 62 + 2, 3)
    assert [int(image[30 + 62 * row, 30, 0]) for row in range(4)] == [0, 255, 0, 255]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]  # no temporary file is left
    with pytest.raises(ValueError, match="differ in shape"):
        pictures.save_reconstructions(tmp_path / "b.png", originals, others[:2])


def test_curves(tmp_path):
    x = np.arange(10)
    curves = {"a": (x, x - 10.0), "with a gap": (x, np.where(x == 3, np.nan, -x * 1.0))}
    pictures.save_curves(tmp_path / "c.png", curves, x_label="step", y_label="nats")
    assert pixels(tmp_path / "c.png").shape[1] == 1050
    pictures.save_curves(tmp_path / "empty.png", {}, x_label="step", y_label="nats")


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (3, 8, 8, 2), (0, 8, 8, 1)])
def test_shapes_that_are_no_pictures_are_refused(shape):
    with pytest.raises(ValueError, match="images must be"):
        pictures.image_grid(np.zeros(shape), 3)
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        pictures.image_grid(np.zeros((1, 2, 2, 1)), 0)


def test_levels_are_not_drawn_as_white():
    levels = np.arange(256).reshape(1, 16, 16, 1)
    for images in (levels, levels.astype(np.uint8), levels.astype(np.float32)):
        with pytest.raises(ValueError, match=r"got levels up to 255.*: divide them by the largest"):
            pictures.image_grid(images, 1)
    binary = (levels > 9).astype(np.uint8)
    np.testing.assert_array_equal(
        pictures.image_grid(binary, 1), pictures.image_grid(binary.astype(float), 1)
    )
    assert pictures.image_grid(levels / 200, 1).max() == 255  # a density's draws may lie outside


def test_histograms_show_where_points_lie(tmp_path, monkeypatch):
    """Square roots of counts, the first index upwards, of what lies in the square."""
    drawn = {}
    monkeypatch.setattr(pictures, "save_fields", lambda path, rows, extents: drawn.update(rows))
    points = np.array([[0.9, -0.9]] * 4 + [[-0.9, 0.9]] + [[3.0, 0.0]])
    pictures.save_histograms(tmp_path / "x.png", {"row": {"data": points}}, reach=1.0)
    counts = drawn["row"]["data"]
    assert counts.shape == (60, 60)
    assert (counts[3, 57], counts[57, 3], np.sum(counts)) == (2.0, 1.0, 3.0)
