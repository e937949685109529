"""The reference has a page for every public module, with every module that is public in it."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import genmix

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
NAMES = {page.stem for page in REFERENCE.glob("*.md")} | {
    name for name in genmix.__all__ if f"genmix.{name}" in sys.modules
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_page(name):
    page = REFERENCE / f"{name}.md"
    assert page.is_file(), f"write docs/reference/{name}.md, and name it in mkdocs.yml"
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert f"genmix.{name}" in shown
    package = importlib.import_module(f"genmix.{name}")
    if "show_submodules: true" not in text:
        for member in getattr(package, "__all__", ()):
            if isinstance(getattr(package, member), ModuleType):
                assert f"genmix.{name}.{member}" in shown
