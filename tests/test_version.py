"""The version stands in one place, and what quotes it is up to date."""

import importlib.metadata
import re
from pathlib import Path

import genmix

ROOT = Path(genmix.__file__).parents[1]


def test_the_citation_and_the_metadata_are_of_this_version():
    assert re.search(rf"^version: {re.escape(genmix.__version__)}$", _text("CITATION.cff"), re.M)
    assert importlib.metadata.version("genmix") == genmix.__version__


def _text(name):
    return (ROOT / name).read_text(encoding="utf-8")
