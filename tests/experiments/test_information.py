import math

import jax
import numpy as np
import pytest

from experiments import information


def test_the_line_has_the_information_of_its_correlation():
    """Of normals of correlation 1 / 1.16, -log(1 - r^2) / 2; H(y) that of a normal."""
    found, entropy = information.exact(information.CURVES["line"])
    np.testing.assert_allclose(found, -0.5 * math.log(1 - 1.16**-2), rtol=1e-4)
    np.testing.assert_allclose(entropy, 0.5 * math.log(2 * math.pi * math.e * 1.16), rtol=1e-5)
    assert abs(information.exact(information.CURVES["independent"])[0]) < 1e-9


@pytest.mark.parametrize("name", information.CURVES)
def test_points_are_of_the_density(name):
    """Means of |x|, |y| and x y within 5 standard errors of those of sums over the curve."""
    curve = information.CURVES[name]
    points = np.asarray(information.draw_points(jax.random.key(0), curve, 20_000))
    t, (x, y) = np.linspace(-6, 6, 2001), (points[:, 0], points[:, 1])
    weights = np.exp(-(t**2) / 2) / np.exp(-(t**2) / 2).sum() / 2
    mean = lambda f: sum(
        np.sum(weights * f(np.asarray(curve.a(t, s) + 0 * t), np.asarray(curve.b(t, s) + 0 * t)))
        for s in (-1, 1)
    )
    for seen, exact in [
        (x**2, mean(lambda a, b: a**2) + curve.noise**2),
        (y**2, mean(lambda a, b: b**2) + curve.noise**2),
        (x * y, mean(lambda a, b: a * b)),
        (x**2 * y, mean(lambda a, b: (a**2 + curve.noise**2) * b)),
    ]:
        assert abs(np.mean(seen) - exact) < 5 * np.std(seen) / math.sqrt(len(seen))


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    """The bounds are below the information; a normal density of y is enough for a line."""
    monkeypatch.setenv("COLUMNS", "200")
    config = information.Config(
        data=("line", "cross"), points=5000, steps=500, out=tmp_path / "run"
    )
    line, cross = information.main(config)
    for row in (line, cross):
        for name in ("normal", "spline", "info_nce"):
            assert row[name] < row["information"] + 4 * row.get(f"{name}_error", 0.0)
    assert line["normal"] > line["information"] - 0.1
    assert abs(cross["correlation"]) < 0.1 < cross["spline"]
    assert (tmp_path / "run" / "points.png").is_file()
    assert "InfoNCE" in capsys.readouterr().out
