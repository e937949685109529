import json

import pytest

from experiments import compare
from experiments.families import shown


def test_rows_of_every_kind_and_one_of_ones_own(tmp_path, capsys):
    config = compare.Config(
        model=("flow", "GAN"),
        add=("prior=gmm components=2 objective=iwae:2",),
        steps=2, batch_size=4, hidden=4, latent=2, particles=2, samples=8, limit=12, out=tmp_path,
    )  # fmt: skip
    real, flow, gan, own = compare.main(config)
    assert real["model"] == shown.REAL
    assert real["coverage"] > 0.8
    assert flow["nll_text"].startswith("≤")
    assert gan["NLL"] is None
    assert "has no density" in gan["blanks"]["NLL"]
    assert own["rate"] > 0
    assert json.loads((tmp_path / "results.json").read_text())["accuracy"] > 0.8
    assert (tmp_path / "samples.png").exists()
    assert "samples, as a classifier of accuracy" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_every_model_trains(tmp_path):
    config = compare.Config(
        steps=2, batch_size=4, hidden=4, latent=2, particles=2, samples=8, limit=12, out=tmp_path
    )
    rows = compare.main(config)
    assert [row["model"] for row in rows[1:]] == list(compare.MODELS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ("VEA",)}, "model must be of .* got VEA"),
        ({"add": ("prior=maf posterio=iaf",)}, '"posterio=iaf" is no setting'),
        ({"add": ("objective=iwae",)}, "iwae of one particle is the ELBO"),
        ({"samples": 3}, "samples must be at least 4, got 3"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options, said):
    with pytest.raises(ValueError, match=said):
        compare.Config(**options)
