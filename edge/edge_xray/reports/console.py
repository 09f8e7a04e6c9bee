"""The terminal: the triage table and the progress of a scan."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from edge_xray._compat import Self
from edge_xray.metadata import DISCLAIMER
from edge_xray.reports import words
from edge_xray.results import Prediction, Row, Run, Tally
from edge_xray.walk import find_films

TABLE_ROWS: Final = 200
"""Rows of the triage table on the screen when the results are in a folder as well."""

WIDEST: Final = 120
"""Columns of the table on a wider terminal: a line must be read across."""

PLAIN_WIDTH: Final = 120
"""Columns of a table that goes into a file or a pipe, unless COLUMNS says otherwise."""

NARROWEST: Final = 20
"""Columns below which COLUMNS is not believed: no table has room in fewer."""

_STYLES: Final = {"urgent": "bold red", "review": "bold yellow", "supportive": "cyan", "none": ""}
_NOT_SCORED_STYLE: Final = "magenta"
_REMARK_STYLE: Final = "italic"


def print_table(
    rows: Sequence[Row],
    tally: Tally,
    run: Run,
    stream: TextIO,
    limit: int | None = None,
    *,
    plain: bool = False,
) -> None:
    """Print the triage list.

    Args:
        rows: most urgent first.
        tally: of all rows.
        run: model and operating point.
        stream: where to.
        limit: rows shown at most; the rest is counted.
        plain: no colour, whatever the environment asks for: for a file.
    """
    console = _console(stream, plain)
    table = Table(box=SIMPLE_HEAD, width=min(console.width, WIDEST), pad_edge=False)
    table.add_column("File", overflow="fold", ratio=3)
    table.add_column("What to do", overflow="fold", ratio=4)
    finding = run.metadata.finding
    table.add_column(Text(finding[:1].upper() + finding[1:]), justify="right", min_width=5)
    for row in rows[:limit]:
        share = words.percent(row.p_finding) if isinstance(row, Prediction) else "–"
        table.add_row(Text(_ending(row.path)), _what_to_do(row, run), Text(share))
    if rows:
        console.print(table)
    hidden = len(rows) - len(rows[:limit])
    if hidden:
        console.print(
            Text(f"… and {hidden} more in the report; films that were not scored stand last.")
        )
    console.print(Text(f"{tally}."))
    if tally.not_scored:
        console.print(Text(words.NOT_SCORED_NOTE))
    console.print(Text(f"Model {run.metadata.name} {run.metadata.version}, {run.point.name}."))
    console.print(Text(DISCLAIMER))


class _Console(Console):
    """A console that leaves a closed pipe to its caller, who has an exit code for it."""

    def on_broken_pipe(self) -> None:
        """Raise it on."""
        raise  # it is called where the error is handled


def _console(stream: TextIO, plain: bool) -> Console:
    console = _Console(
        file=stream, highlight=False, soft_wrap=False, force_terminal=False if plain else None
    )
    if (not console.is_terminal and "COLUMNS" not in os.environ) or console.width < NARROWEST:
        console.width = PLAIN_WIDTH
    return console


def _ending(path: str) -> str:
    """The end of a path: its folder and name tell films apart, the way there does not."""
    parts = Path(path).parts
    return path if len(parts) <= 2 else str(Path("…", *parts[-2:]))


def _what_to_do(row: Row, run: Run) -> Text:
    style = _STYLES[row.triage] if isinstance(row, Prediction) else _NOT_SCORED_STYLE
    text = Text()
    if not isinstance(row, Prediction) or row.triage != "none":
        text.append(f"{words.triage_words(row)}: ", style=style)
    text.append(words.advice(row, run.metadata))
    for warning in row.warnings:
        text.append(f"\n{words.sentence(warning)}", style=_REMARK_STYLE)
    return text


class _FilmsASecond(ProgressColumn):
    """Speed of a scan: films a second over the last films."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} films/s" if speed else "")


class ScanProgress:
    """Films done, films a second and time left, on a terminal; silent anywhere else.

    The folder is walked a second time, in a thread of its own, only to count; until it has counted
    there is no time left to show.
    """

    def __init__(self, stream: TextIO, paths: Sequence[Path], *, recursive: bool) -> None:
        """Get ready.

        Args:
            stream: where to, usually stderr.
            paths: what is scanned.
            recursive: as in the scan.
        """
        console = Console(file=stream, highlight=False)
        self._shown = console.is_terminal and not console.is_dumb_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed} films"),
            BarColumn(bar_width=None),
            TaskProgressColumn(show_speed=False),
            _FilmsASecond(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not self._shown,
        )
        self._task = self._progress.add_task("scan", total=None)
        self._stop = threading.Event()
        self._paths = paths
        self._recursive = recursive

    def __enter__(self) -> Self:
        """Show it and begin to count."""
        self._progress.start()
        if self._shown:
            threading.Thread(target=self._count_films, name="edge-xray-count", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away; from a terminal that was closed there is nothing to take."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._progress.stop()

    def _count_films(self) -> None:
        count = 0
        for _ in find_films(self._paths, recursive=self._recursive):
            if self._stop.is_set():
                return
            count += 1
        self._progress.update(self._task, total=count)

    def advance(self) -> None:
        """One film more is done."""
        if self._shown:
            self._progress.advance(self._task)
