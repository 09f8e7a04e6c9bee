"""How far a long command of the workshop is: who is told. What shows it is `edge_xray.progress`."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told ``(what is being done, films or steps done, of how many)``."""


def counter(told: Progress, what: str, total: int) -> Callable[[], None]:
    """A callback that counts its calls and tells the progress."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        told(what, done, total)

    return count
