"""Tables of an experiment's figures, a misspelt column of which is an error."""

import dataclasses
import os
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import rich.box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable

Row = Mapping[str, Any]
Column = str | Callable[[Row], str]


def everything(rows: Sequence[Row]) -> Iterable[Row]:
    return rows


def having(figure: str) -> Callable[[Sequence[Row]], Iterable[Row]]:
    """The rows of a table of one kind, which have this figure."""
    return lambda rows: [row for row in rows if figure in row]


def known(*templates: str) -> Column:
    """A column of figures that it may be that no row has: the first form that a row fills."""
    return lambda row: next(filter(None, (_cell(template, row) for template in templates)), "")


@dataclasses.dataclass(frozen=True)
class Table:
    """A table to print.

    Attributes:
        title: of a format such as "seen by a classifier of accuracy {accuracy:.1%}", of the facts.
        columns: heading -> a format such as "{nll:.2f}", or a function of a row. A cell is empty
            where its row has no such figure, or None.
        select: the rows that it shows, or what is made of them.
    """

    title: str
    columns: Mapping[str, Column]
    select: Callable[[Sequence[Row]], Iterable[Row]] = everything

    def show(self, rows: Sequence[Row], facts: Row) -> None:
        """Print it, unless there is nothing to show.

        Raises:
            ValueError: if a column asks for a figure that no row has, which is misspelt.
        """
        shown = list(self.select(rows))
        if not shown:
            return
        known = {name for row in shown for name in row}
        table = RichTable(title=self.title.format_map(facts))
        for i, (heading, column) in enumerate(self.columns.items()):
            if not callable(column) and (missing := _figures(column) - known):
                raise ValueError(
                    f"column {heading!r} shows {', '.join(sorted(missing))}, which no row has; "
                    f"there are {', '.join(sorted(known))}."
                )
            table.add_column(heading, justify="right" if i else "left", no_wrap=not i)
        for row in shown:
            table.add_row(*(_cell(column, row) for column in self.columns.values()))
        _print(table)


def _print(table: RichTable) -> None:
    """As wide as it needs in a file or pipe, which have no width; narrower on a small terminal."""
    console = Console()
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    if needed > console.width:
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console = Console(width=needed)
        else:
            table.box, table.padding, table.pad_edge = rich.box.SIMPLE_HEAD, (0, 1, 0, 0), False
    console.print(table)


def _figures(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def _cell(column: Column, row: Row) -> str:
    if callable(column):
        return column(row)
    has_all = all(row.get(name) is not None for name in _figures(column))
    return column.format_map(row) if has_all else ""
