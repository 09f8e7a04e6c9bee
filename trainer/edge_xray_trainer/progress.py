"""How far a long command is: who is told, and a line with the time left on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Progress = Callable[[str, int, int], None]
"""Told ``(what is being done, films or steps done, of how many)``."""

Steps = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""``(what, steps)`` to a context that yields the function to call after each step: `progress`, `unseen`."""


def silent(*_: object) -> None:
    """Hear and say nothing."""


def counter(told: Progress, what: str, total: int) -> Callable[[], None]:
    """A callback that counts its calls and tells the progress."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        told(what, done, total)

    return count


def unseen(*_: object) -> AbstractContextManager[Callable[[], None]]:
    """Progress that nobody sees."""
    return nullcontext(silent)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show progress on standard error while the block runs, on a terminal only.

    Args:
        what: what is being done, a few words.
        total: how many steps.

    Yields:
        A function to call after each step; safe from any thread.
    """
    if not sys.stderr.isatty() or total == 0:
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeLeft())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
