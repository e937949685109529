"""A part that is written is a part that is found: each package names its public classes."""

import importlib
import inspect
import pkgutil

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


@pytest.mark.parametrize("package", [genmix, families, genmix.nets, genmix.bijectors])
def test_public_names_exist(package):
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        assert hasattr(package, name)


def test_the_face_is_that_of_a_combination_library():
    words = {"LatentVariableModel", "Autoregressive", "transformed", "Implicit", "Energy"}
    assert words | {"Term", "Player", "Game", "Plan", "fit"} <= set(genmix.__all__)
