import pytest

from experiments import compression


def test_images_come_back_and_figures_are_printed(tmp_path, capsys):
    config = compression.Config(
        layers=(1, 2), latent=2, hidden=4, steps=2, batch_size=4, limit=5, out=tmp_path
    )
    rows = compression.main(config)
    assert [row["layers"] for row in rows] == [1, 2]
    assert all(row["bits"] > row["overhead"] > 0 for row in rows)
    assert "each decoded exactly" in " ".join(capsys.readouterr().out.split())


def test_grey_images_are_refused(monkeypatch, tmp_path):
    grey = compression.Config().load()._replace(num_levels=17, binarization="none")
    monkeypatch.setattr(compression.Config, "load", lambda self: grey)
    with pytest.raises(ValueError, match="dataset must be of binary images"):
        compression.main(compression.Config(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
