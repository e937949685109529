import jax
import pytest

from experiments import draw
from genmix import data


def test_a_window_reads_and_writes_less():
    dataset = data.load("digits", pixels="bits")
    config = draw.Config(hidden=4, latent=2, painting=3)
    sizes = {}
    for name in ("whole", "window"):
        model = draw.build(config, dataset, name)
        terms = jax.eval_shape(
            lambda key, x, model=model: model.log_weight_terms(key, x).log_weight,
            jax.random.key(0),
            dataset.test[0],
        )
        assert terms.shape == ()
        sizes[name] = model.read.out_size((8, 8, 1)), model.write.patch.out_features
    assert sizes == {"whole": (128, 64), "window": (18, 16)}


@pytest.mark.slow
def test_a_short_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    config = draw.Config(
        hidden=4, latent=2, painting=3, steps=20, particles=5, limit=20, out=tmp_path / "run"
    )
    rows = draw.main(config)
    assert [row["model"] for row in rows] == ["whole", "window"]
    for row in rows:
        assert row["nll"] < row["negative_elbo"]
        assert len(row["layer_rates"]) == 3
    assert (tmp_path / "run" / "film.png").is_file()
    assert "KL of the steps" in capsys.readouterr().out
