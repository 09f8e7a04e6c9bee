"""Results as plain tables, and the ways to write one: terminal, Markdown.

A table holds values, never finished text, so that every report shows the same figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeAlias

from edge_xray.operating_point import Estimate

if TYPE_CHECKING:
    from rich.console import Console

Cell: TypeAlias = Estimate | str | int | float | None

NOTHING = "–"
"""What a cell shows that has no value: a rate of no films."""

DECIMALS = 3
"""Of a share or an area: the third moves by one film in a thousand."""

PLAIN_WIDTH = 140
"""Columns of a table that goes into a file or a pipe."""


@dataclass(frozen=True)
class Table:
    """One table of a report.

    Attributes:
        title: a noun phrase.
        columns: the heading of each column.
        rows: the cells of each row, as many as columns.
        note: what a reader must know: how it was measured, what an empty cell means.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that does not fit."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}: a row of {len(row)} cells under {len(self.columns)} columns"
                )


def cell_text(cell: Cell) -> str:
    """A cell for people: an estimate with its interval, a number, or a dash where there is none."""
    if cell is None:
        return NOTHING
    if isinstance(cell, Estimate):
        if not math.isfinite(cell.value):
            return NOTHING
        value = _share(cell.value)
        if not (math.isfinite(cell.low) and math.isfinite(cell.high)):
            return value
        return f"{value} ({_share(cell.low)} to {_share(cell.high)})"
    if isinstance(cell, float):
        return f"{cell:.4g}" if math.isfinite(cell) else NOTHING
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell


def _share(value: float) -> str:
    # Adding 0 turns the minus zero that rounding leaves into zero.
    return f"{round(value, DECIMALS) + 0.0:.{DECIMALS}f}"


def is_number(cell: Cell) -> bool:
    """Whether a cell is set flush right."""
    return not isinstance(cell, str)


def markdown(table: Table) -> str:
    """A table as GitHub Markdown with its title and note."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    right = [
        bool(table.rows) and all(is_number(row[i]) for row in table.rows)
        for i in range(len(table.columns))
    ]
    text = f"## {table.title}\n\n" + line(table.columns)
    text += line(["--:" if flush else "---" for flush in right])
    text += "".join(line([cell_text(cell) for cell in row]) for row in table.rows)
    return text + (f"\n{table.note}\n" if table.note else "")


def plain_console(stream: IO[str]) -> Console:
    """A console on a stream; wide enough for tables where it is no terminal."""
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_tables(tables: Sequence[Table], stream: IO[str]) -> None:
    """Write tables to a terminal or a text stream."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    console = plain_console(stream)
    for table in tables:
        # Title and note stand outside: within, rich would wrap them to the width of the table.
        console.print(Text(table.title, style="bold"))
        rich_table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for index, name in enumerate(table.columns):
            flush = bool(table.rows) and all(is_number(row[index]) for row in table.rows)
            rich_table.add_column(name, justify="right" if flush else "left", overflow="fold")
        for row in table.rows:
            rich_table.add_row(*(Text(cell_text(cell)) for cell in row))
        console.print(rich_table)
        if table.note:
            console.print(Text(table.note, style="dim"))
        console.print()
