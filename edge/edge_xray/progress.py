"""How far a long command is: a line on a terminal, with the time left where the steps are counted."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, TextIO

from edge_xray.walk import printable

Steps = Callable[[str, "int | None"], AbstractContextManager[Callable[[], None]]]
"""``(what, steps)`` to a context that yields the function to call after each step: `progress`, `unseen`.

None for steps: nobody can count them.
"""

REFRESH_SECONDS: Final = 1.0
"""Between two lines of `progress_between`."""


def silent(*_: object) -> None:
    """Hear and say nothing."""


def unseen(*_: object) -> AbstractContextManager[Callable[[], None]]:
    """Progress that nobody sees."""
    return nullcontext(silent)


def progress(what: str, total: int | None) -> AbstractContextManager[Callable[[], None]]:
    """Show progress on standard error while the block runs, on a terminal only.

    Args:
        what: what is being done, a few words; names of files in them are shown by `printable`.
        total: how many steps; None: unknown, and the time that went by is shown.

    Returns:
        Yields a function to call after each step; safe from any thread.
    """
    return _shown(what, total, between=False)


def progress_between(what: str, total: int | None) -> AbstractContextManager[Callable[[], None]]:
    """`progress` for what is timed: the line is drawn between steps alone, and not by a thread."""
    return _shown(what, total, between=True)


@contextmanager
def _shown(what: str, total: int | None, *, between: bool) -> Iterator[Callable[[], None]]:
    if total == 0 or not sys.stderr.isatty():
        yield silent
        return
    from rich import progress as bars
    from rich.console import Console

    counted = (bars.BarColumn(), bars.MofNCompleteColumn(), bars.TimeRemainingColumn())
    with _own_stderr() as stream:
        console = Console(file=stream)
        if console.is_dumb_terminal:
            yield silent
            return
        with bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            *(counted if total is not None else (bars.SpinnerColumn(), bars.TimeElapsedColumn())),
            console=console,
            transient=True,
            auto_refresh=not between,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as bar:
            task = bar.add_task(printable(what), total=total)
            drawn = time.monotonic()

            def step() -> None:
                nonlocal drawn
                bar.advance(task)
                if between and time.monotonic() - drawn >= REFRESH_SECONDS:
                    bar.refresh()
                    drawn = time.monotonic()

            yield step


@contextmanager
def _own_stderr() -> Iterator[TextIO]:
    """Standard error by a number of its own: `quiet_native_output` lets number 2 lead nowhere, for seconds.

    Not on Windows, whose console may know no escape codes: rich does without them on number 2 alone.
    """
    try:
        file = os.dup(sys.stderr.fileno()) if sys.platform != "win32" else -1
    except (OSError, ValueError):
        file = -1
    if file < 0:
        yield sys.stderr
        return
    with os.fdopen(file, "w", encoding=sys.stderr.encoding, errors="replace") as stream:
        yield stream
