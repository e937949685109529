"""List the experiments: python -m experiments."""

import ast
from pathlib import Path

from rich.console import Console
from rich.table import Table


def main() -> None:
    table = Table("experiment", "what it does", title="python -m experiments.NAME --help")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if not path.stem.startswith("_"):
            # Parsed, not imported: the list appears at once.
            summary = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            table.add_row(path.stem, (summary or "").split("\n")[0].split(": python")[0])
    Console().print(table)


if __name__ == "__main__":
    main()
