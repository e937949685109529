"""A part that is written is a part that is found: each package names what users need of it."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flax import nnx

import genmix
from genmix import families

BY_FILE = {"schedules", "variances"}  # files that are namespaces: schedules.Linear
INNER = {  # what functions and other parts give, and no user builds
    *("Reordered", "IndependentSampler", "IndependentDensity", "Weighted", "PosteriorMixture"),
    *("DiscreteConditional", "RelaxedConditional", "ContinuousConditional", "Constant"),
}


def parts():
    for info in pkgutil.walk_packages(families.__path__, f"{families.__name__}."):
        if info.name.rsplit(".", 1)[1] in BY_FILE:
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            is_own = inspect.isclass(value) and value.__module__ == info.name
            if is_own and not name.startswith("_") and issubclass(value, nnx.Module):
                yield name


def test_every_part_is_exported():
    missing = set(parts()) - INNER - set(families.__all__)
    assert not missing, f"name {sorted(missing)} in genmix/families/__init__.py"


ROOT = Path(__file__).parents[1]
PACKAGES = [info.name for info in pkgutil.iter_modules(genmix.__path__) if info.ispkg]


def programs() -> Iterator[str]:
    """What users are shown: experiments, and the Python of the documentation."""
    for path in sorted(ROOT.glob("experiments/**/*.py")):
        yield path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))):
        yield from re.findall(r"```python[^\n]*\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


def imported() -> set[tuple[str, str]]:
    """Every `from genmix.x.y import z` of these, as (genmix.x.y, z)."""
    nodes = [node for program in programs() for node in ast.walk(ast.parse(program))]
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {(node.module or "", alias.name) for node in froms for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_what_users_are_shown_is_public(package):
    """By its name or its module's in the package, or as a module that the reference shows."""
    public = set(importlib.import_module(f"genmix.{package}").__all__)
    page = (ROOT / "docs" / "reference" / f"{package}.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: (\S+)$", page, re.MULTILINE)) - {f"genmix.{package}"}
    hidden = set()
    for module, name in imported():
        _, *path = module.split(".")
        if module.split(".")[0] != "genmix" or path[:1] != [package]:
            continue
        if not {name, *path[1:]} & public and not {module, f"{module}.{name}"} & shown:
            hidden.add(f"{module}.{name}")
    assert not hidden, f"name {sorted(hidden)} in genmix/{package}/__init__.py"


@pytest.mark.parametrize("name", ["", *PACKAGES])
def test_public_names_exist(name):
    package = importlib.import_module(f"genmix.{name}".rstrip("."))
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        assert hasattr(package, name)


def test_the_face_is_that_of_a_combination_library():
    words = {"LatentVariableModel", "Autoregressive", "transformed", "Implicit", "Energy"}
    assert words | {"Term", "Player", "Game", "Plan", "fit"} <= set(genmix.__all__)
