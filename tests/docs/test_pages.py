"""The Python of the pages runs, in the order in which a reader meets it, and prints what they say.

A block with a title is a file of that name; the tests of a file test_*.py are run.
"""

import importlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import tyro

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(
    r'^```python(?: title="(?P<title>\w+)\.py")?\n(?P<code>.*?)^```$'
    r"(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
PAGES = [
    pytest.param("index.md", marks=pytest.mark.slow),
    "three_ideas.md",
    "save_and_serve.md",
    pytest.param("write_your_own_part.md", marks=pytest.mark.slow),
    pytest.param("from_a_bound_to_an_experiment.md", marks=pytest.mark.slow),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder to import from; what was imported from it is forgotten."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("name", PAGES)
def test_page(name, folder, capsys):
    blocks = list(BLOCK.finditer((DOCS / name).read_text(encoding="utf-8")))
    assert blocks
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        if title := block["title"]:
            (folder / f"{title}.py").write_text(block["code"], encoding="utf-8")
            importlib.invalidate_caches()
            module = importlib.import_module(title)
            if title.startswith("test_"):
                tests = [test for test in vars(module) if test.startswith("test_")]
                assert tests
                for test in tests:
                    vars(module)[test]()
        else:
            line = (DOCS / name).read_text(encoding="utf-8")[: block.start("code")].count("\n")
            exec(compile("\n" * line + block["code"], name, "exec"), namespace)
        if block["output"] is not None:
            assert capsys.readouterr().out == block["output"]
        capsys.readouterr()


def test_every_block_is_found():
    """A fence that the expression above does not match would be a block that nobody runs."""
    for page in (page if isinstance(page, str) else page.values[0] for page in PAGES):
        text = (DOCS / str(page)).read_text(encoding="utf-8")
        assert len(BLOCK.findall(text)) == text.count("```python")


def test_the_commands_of_the_readme_work_as_pasted():
    """They come after the one that puts Python on the path, and their options are there."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    activated = text.index("source .venv/bin/activate")
    commands = list(re.finditer(r"\b(?:python|pip) (?!3)[^`\n]+", text[activated:]))
    assert not re.search(r"^(?:python|pip) |`(?:python|pip) -?\w", text[:activated], re.MULTILINE)
    experiments = [
        shlex.split(command[0]) for command in commands if "-m experiments." in command[0]
    ]
    assert len(experiments) >= 2
    for _, _, module, *arguments in experiments:
        tyro.cli(importlib.import_module(module).Config, args=arguments)
    assert all(re.match(r"python -m (?:experiments|pip)", command[0]) for command in commands)


def test_the_gallery_shows_pictures_that_are_there_by_commands_that_run():
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert shown
    assert all((DOCS / picture).is_file() for picture in shown)
    commands = re.findall(r"`python -m (experiments\.\S+?)((?: [^`]+)?)`", text)
    assert len(commands) == len(shown)
    for module, arguments in commands:
        tyro.cli(importlib.import_module(module).Config, args=arguments.split())
