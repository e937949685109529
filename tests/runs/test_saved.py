"""A part comes back from its file bit for bit, in another process too; what cannot is refused."""

import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import genmix
from genmix import bijectors, families, nets

SHAPE = (4, 4, 1)


def _vae(rngs, prior=None):
    return families.LatentVariableModel(
        prior=prior or families.StandardNormal(3),
        likelihood=families.Bernoulli(nets.MLP(3, (5,), SHAPE, activation=jax.nn.relu, rngs=rngs)),
        posterior=families.Normal(nets.MLP(SHAPE, (5,), 3, rngs=rngs)),
    )


def _vamp(rngs):
    inputs = jnp.full((4, *SHAPE), 0.3)
    return _vae(rngs, prior=families.VampPrior(inputs))


PARTS = {
    "VAE": lambda rngs: _vae(rngs),
    "VampPrior": _vamp,
    "RBM": lambda rngs: families.RestrictedBoltzmann(16, 3, rngs=rngs),
    "mixture": lambda rngs: families.GaussianMixture(3, 2, rngs=rngs),
    "flow": lambda rngs: families.transformed(
        families.StandardNormal(3),
        bijectors.chain([bijectors.Planar(3, rngs=rngs), bijectors.Sigmoid()]),
    ),
    "generator": lambda rngs: families.Implicit(
        families.StandardNormal(3), nets.DCGANGenerator(3, (4, 4), (8, 8, 1), rngs=rngs)
    ),
}


def _assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_comes_back_bit_for_bit(name, tmp_path):
    part = PARTS[name](nnx.Rngs(0))
    path = tmp_path / "k=[1] über *" / "part"
    path.parent.mkdir()
    genmix.save(part, path)
    _assert_same(genmix.load(path), part)


def test_what_stands_in_two_places_is_one_afterwards(tmp_path):
    layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    genmix.save(nnx.List([layer, layer]), tmp_path / "part")
    first, second = genmix.load(tmp_path / "part")
    assert first is second


def test_keys_low_precision_and_what_is_not_finite(tmp_path):
    half = jnp.asarray([1.5, np.nan], jnp.bfloat16)
    key = jax.random.key(3)
    part = nnx.Dict(
        key=key,
        half=half,
        host=np.arange(3),
        limits=nnx.static((-np.inf, float("nan"), 1e-300)),
        dtype=nnx.static(jnp.dtype("bfloat16")),
    )
    genmix.save(part, tmp_path / "part")
    loaded = genmix.load(tmp_path / "part")
    assert jnp.array_equal(jax.random.key_data(loaded.key), jax.random.key_data(key))
    np.testing.assert_array_equal(
        np.asarray(loaded.half).view(np.uint16), np.asarray(half).view(np.uint16)
    )
    assert isinstance(loaded.host, np.ndarray)
    assert str(loaded.limits) == "(-inf, nan, 1e-300)"
    assert loaded.dtype == jnp.bfloat16


def test_another_process_needs_nothing_but_the_path(tmp_path):
    model = _vae(nnx.Rngs(0))
    genmix.save(model, tmp_path / "part")
    x = jnp.ones(SHAPE)
    program = (
        "import sys, genmix, jax, jax.numpy as jnp\n"
        "weight = genmix.load(sys.argv[1]).log_weight(jax.random.key(1), jnp.ones((4, 4, 1)))\n"
        "print(float(weight).hex())"
    )
    run = [sys.executable, "-c", program, str(tmp_path / "part")]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == float(model.log_weight(jax.random.key(1), x)).hex()


def test_a_lambda_is_refused_with_its_place(tmp_path):
    model = families.Normal(nets.MLP(3, (5,), 2, activation=lambda h: h, rngs=nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"Normal\.network\.activation is <function .* `def`"):
        genmix.save(model, tmp_path / "part")
    assert not (tmp_path / "part").exists()


class Own(nnx.Module):
    def __init__(self):
        self.w = nnx.Param(jnp.ones(2))


def test_parts_of_ones_own_are_loaded_from_modules_that_one_names(tmp_path):
    genmix.save(Own(), tmp_path / "part")
    with pytest.raises(ValueError, match=f"pass trusted=.'{__name__}'"):
        genmix.load(tmp_path / "part")
    assert isinstance(genmix.load(tmp_path / "part", trusted=[__name__]), Own)


def _changed(path, change):
    with np.load(path) as file:
        text, *arrays = (file[f"arr_{i}"] for i in range(len(file)))
    entry = json.loads(text.item())
    change(entry["part"])
    with path.open("wb") as file:
        np.savez(file, np.array(json.dumps(entry)), *arrays)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda part: part.update({"class": "os:system"}), "if you trust that"),
        (lambda part: part.update({"class": "genmix.nets.mlp:math.prod"}), "no class or function"),
        (lambda part: part.update({"class": "genmix.nets:Nothing"}), "Nothing"),
        (lambda part: part.update({"class": "jax.nn:relu"}), "no class whose module"),
        (lambda part: part["attributes"].update(prior={"array": 99}), "index out of range"),
        (lambda part: part["attributes"].update(prior={"what": 1}), "nothing is known"),
        (lambda part: part.pop("nodes"), "nothing is known"),
    ],
)
def test_a_tampered_file_is_refused(change, said, tmp_path):
    genmix.save(_vae(nnx.Rngs(0)), tmp_path / "part")
    _changed(tmp_path / "part", change)
    with pytest.raises(ValueError, match=said):
        genmix.load(tmp_path / "part")


def test_a_torn_or_foreign_file_is_refused(tmp_path):
    genmix.save(_vae(nnx.Rngs(0)), tmp_path / "part")
    content = (tmp_path / "part").read_bytes()
    (tmp_path / "torn").write_bytes(content[:-100])
    middle = len(content) // 2
    (tmp_path / "bit").write_bytes(
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    )
    (tmp_path / "foreign").write_text("hello")
    np.savez(tmp_path / "other.npz", np.ones(3))
    with zipfile.ZipFile(tmp_path / "empty", "w"):
        pass
    for name in ("torn", "bit", "foreign", "other.npz", "empty"):
        with pytest.raises(ValueError, match="does not hold a part"):
            genmix.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        genmix.load(tmp_path / "missing")
