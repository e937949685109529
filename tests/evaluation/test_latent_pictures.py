import jax.numpy as jnp
import numpy as np
from PIL import Image

from genmix.evaluation import latent_pictures, pictures


def test_the_corners_of_a_manifold_are_quantiles(tmp_path):
    """The first cell is the lowest z_1 and the highest z_2, as in a diagram."""
    grids = []

    def decode(z):
        grids.append(np.asarray(z))
        return jnp.zeros((len(z), 2, 2, 1))

    latent_pictures.save_manifold(tmp_path / "manifold.png", decode, size=4)
    corners = 1.1503494 * np.array([[-1, 1], [1, 1], [1, -1]])  # the quantile of 7/8
    np.testing.assert_allclose(grids[0][[0, 3, -1]], corners, rtol=1e-5)


def test_a_traversal_moves_one_dimension_a_row(tmp_path):
    seen = []

    def decode(z):
        seen.append(np.asarray(z))
        return jnp.zeros((len(z), 2, 2, 1))

    mean = jnp.array([7.0, 8.0, 9.0])
    path = tmp_path / "traversal.png"
    latent_pictures.save_traversal(path, decode, mean, [2, 0], reach=1.0, num_images=3)
    rows = seen[0].reshape(2, 3, 3)
    np.testing.assert_array_equal(rows[0], [[7, 8, -1], [7, 8, 0], [7, 8, 1]])
    np.testing.assert_array_equal(rows[1], [[-1, 8, 9], [0, 8, 9], [1, 8, 9]])


def test_interpolations_go_from_the_first_of_a_pair_to_the_last(tmp_path):
    seen = []

    def decode(z):
        seen.append(np.asarray(z))
        return jnp.zeros((len(z), 2, 2, 1))

    x, z = np.zeros((4, 2, 2, 1)), jnp.array([[0.0], [1.0], [2.0], [5.0]])
    path = tmp_path / "interpolations.png"
    latent_pictures.save_interpolations(path, decode, x, z, num_between=3)
    np.testing.assert_allclose(seen[0][:, 0], [0, 1, 2, 1, 3, 5])


def test_a_grid_pairs_each_row_with_each_column(tmp_path):
    rows, columns = (jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])), jnp.array([0.1, 0.2, 0.3])
    decode = lambda row, column: jnp.stack([*row, column])[:, None, None]
    images = latent_pictures.grid(decode, rows, columns)
    assert images.shape == (2, 3, 3, 1, 1)
    np.testing.assert_allclose(images[1, 2, :, 0, 0], [2.0, 4.0, 0.3])
    path = tmp_path / "grid.png"
    pictures.save_grid(path, images / 4)
    cells = pictures.image_grid(np.reshape(images / 4, (-1, 3, 1, 1)), 3)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), cells[..., 0])
