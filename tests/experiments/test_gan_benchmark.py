import jax
import pytest

from experiments.benchmarks import gan


@pytest.mark.slow
def test_contestants_play(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gan, "find_spec", lambda name: None)  # torch is no dependency
    sizes = {"batch_size": 4, "images": 8, "rounds": 1, "repeats": 1}
    with jax.numpy_rank_promotion("allow"):  # as code by hand has it
        rows = gan.main(gan.Config(**sizes, out=tmp_path / "gan.json"))
    assert [row["contestant"] for row in rows] == ["genmix", "hand-written JAX"]
    assert (tmp_path / "gan.json").is_file()
    assert "torch is not installed" in capsys.readouterr().out


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at most 10, got 64"):
        gan.Config(images=10)
