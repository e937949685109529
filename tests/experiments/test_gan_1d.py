import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import gan_1d


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "run"
    config = gan_1d.Config(steps=5, hidden=4, batch_size=8, points=500, out=out)
    (row,) = gan_1d.main(config)
    assert json.loads((out / "results.json").read_text())["rows"] == [row]
    assert (out / "film.png").is_file()
    assert row["bound"] <= row["jsd"] + 1e-6
    assert "critic's error" in capsys.readouterr().out


def test_the_density_is_that_of_the_data():
    """It sums to one; a quarter of the data lie above 1.5, but for false alarms of 6e-7."""
    step = gan_1d.GRID[1] - gan_1d.GRID[0]
    p = np.asarray(gan_1d.density(gan_1d.GRID))
    np.testing.assert_allclose(p.sum() * step, 1, rtol=1e-4)
    x = np.asarray(gan_1d.training_data(gan_1d.Config(points=20_000)))
    share = np.mean(x > 1.5)
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 20_000)


def test_the_curves_are_those_of_samples_and_of_the_critic():
    """A generator that copies the noise N(0, 1): q is its density, and the best curve follows."""
    config = gan_1d.Config(points=50_000)
    game = gan_1d.build(config)
    game.generator.network = lambda z: z
    p, q, critic, best = gan_1d.curves(config, game)
    exact = np.exp(-(gan_1d.GRID**2) / 2) / np.sqrt(2 * np.pi)
    # Of a cell's share, within 5 standard errors.
    step = gan_1d.GRID[1] - gan_1d.GRID[0]
    error = np.sqrt(exact / (step * config.points))
    assert np.all(np.abs(q - exact) < 5 * error + 1e-3)
    np.testing.assert_allclose(best[80], p[80] / (p[80] + q[80]), rtol=1e-6)
    score = game.critic(jnp.asarray(gan_1d.GRID[80:81], jnp.float32))[0]
    np.testing.assert_allclose(critic[80], jax.nn.sigmoid(score), rtol=1e-5)
