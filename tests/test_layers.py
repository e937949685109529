"""The layers of the design: a module imports only from layers above its own."""

import ast
from pathlib import Path

import pytest

import genmix

ROOT = Path(genmix.__file__).parent
LAYERS = [
    *("densities", "bijectors", "mcmc", "bounds", "divergences", "nets", "families"),
    *("compression", "objectives", "runs", "training", "inference", "data", "evaluation"),
]
MODULES = sorted(ROOT.rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name):
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "genmix" else None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_upwards(path):
    own = path.relative_to(ROOT).parts[0]
    if own not in LAYERS:
        return
    for name in imports(path):
        other = layer(name)
        if other in LAYERS:
            assert LAYERS.index(other) <= LAYERS.index(own), f"{own} imports {name}"
        assert not name.startswith("experiments"), f"{own} imports {name}"


@pytest.mark.parametrize("own", ["densities", "mcmc", "bounds", "divergences"])
def test_functional_layers_know_jax_only(own):
    for path in (ROOT / own).rglob("*.py"):
        assert not any(name.split(".")[0] in ("flax", "optax", "orbax") for name in imports(path))
