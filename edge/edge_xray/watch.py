"""A folder watched for films: each is scored once its file is complete.

The folder is looked at again and again instead of asking the system for events: that works on network
drives and sticks too, and an event fires before a copy is finished anyway. What is done stands in the
journal, so a restart scores nothing twice.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from edge_xray.classifier import Classifier
from edge_xray.errors import ExitCode
from edge_xray.results import Prediction, Row
from edge_xray.results_folder import ResultsFolder
from edge_xray.scan import ScanOptions, score_films
from edge_xray.walk import Found, find_films

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

INTERVAL_SECONDS: Final = 2.0
"""Between two looks at the folder; a file must be the same in both to be taken."""

BUSY_SHARE: Final = 0.2
"""Largest share of the time spent looking: a folder of 100,000 files is looked at less often."""

REPORT_SECONDS: Final = 15.0
"""Least time between two writings of the reports while films keep coming."""

PASSING: Final = frozenset({"changed", "missing"})
"""Reasons that may pass by themselves: the file is looked at again instead of getting a row."""

Signature = tuple[int, int, int]
"""Size, time of change in ns, inode: what a file that holds still keeps."""


@dataclass(frozen=True)
class Heard:
    """What a watcher tells of.

    Attributes:
        row: a film's row, or None.
        notice: something else a person should know, or empty.
    """

    row: Row | None = None
    notice: str = ""


class Watcher:
    """Looks at a folder; each `look` scores the films that became complete."""

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        options: ScanOptions,
        results: ResultsFolder,
    ) -> None:
        """Begin with what the results folder has on record.

        Args:
            folder: what is watched; it may come and go, as a drive does.
            classifier: the model.
            options: how to scan.
            results: where rows go.
        """
        self._folder = folder
        self._classifier = classifier
        self._options = options
        self._results = results
        self._seen: dict[str, Signature] = {}
        self._done: dict[str, Signature] = {}
        self._there = True
        self._rows = {row.path: row for row in results.rows()}

    @property
    def rows(self) -> list[Row]:
        """All rows, most urgent first; a renamed film is listed under its new name only."""
        copies: dict[str, list[str]] = {}
        for row in self._rows.values():
            if row.sha256:
                copies.setdefault(row.sha256, []).append(row.path)
        for paths in copies.values():
            gone = [path for path in paths if len(paths) > 1 and _is_gone(path)]
            # If all are gone, so is the drive: then nothing was renamed.
            for path in gone if len(gone) < len(paths) else ():
                del self._rows[path]
        return sorted(self._rows.values(), key=lambda row: row.urgency)

    def look(self) -> Iterator[Heard]:
        """Look once.

        Yields:
            Each new row once it is on record, and notices.

        Raises:
            OutputError: the results cannot be written.
        """
        there = self._folder.is_dir()
        if there != self._there:
            self._there = there
            word = "is there again" if there else "is gone; waiting for it to come back"
            yield Heard(notice=f"{self._folder} {word}")
        if not there:
            return
        taken: dict[str, Signature] = {}
        films = score_films(
            self._complete(taken), self._classifier, self._options, self._results.known
        )
        for row in films:
            if not isinstance(row, Prediction) and (
                row.reason in PASSING or not self._folder.is_dir()
            ):
                continue
            self._done[row.path] = taken[row.path]
            new = self._results.add(row)
            self._rows[row.path] = row
            if new:
                yield Heard(row)
        self._results.flush()

    def _complete(self, taken: dict[str, Signature]) -> Iterator[Found]:
        """Files that are the same as at the last look and that nobody is writing to."""
        seen, self._seen = self._seen, {}
        for found in find_films([self._folder], recursive=self._options.recursive):
            signature = _signature(found)
            if signature is None or self._done.get(found.shown) == signature:
                continue
            self._seen[found.shown] = signature
            if seen.get(found.shown) == signature and not is_open_for_writing(found):
                taken[found.shown] = signature
                yield found


def _is_gone(path: str) -> bool:
    """Whether the file of a row is not there; a name that had to be escaped is not looked for."""
    return "\\" not in path and not os.path.lexists(path)


def _signature(found: Found) -> Signature | None:
    try:
        info = found.path.lstat() if found.reason else found.path.stat()
    except OSError:
        # Gone since the folder was read; it will be found again if it comes back.
        return None
    return (info.st_size, info.st_mtime_ns, info.st_ino)


def is_open_for_writing(found: Found) -> bool:
    """Whether some process has the file open for writing, as far as the system tells.

    Linux refuses a read lease on such a file (fcntl(2), F_SETLEASE). Where it does not tell (another
    system, a network drive, another user's file), holding still has to do.
    """
    if found.reason or not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(descriptor)
    return False


def run_watch(
    watcher: Watcher,
    write_reports: Callable[[list[Row]], object],
    hear: Callable[[Heard], object],
    *,
    interval: float = INTERVAL_SECONDS,
    stop: threading.Event | None = None,
) -> ExitCode:
    """Watch until told to stop: by SIGTERM, which ends with 0, or by Ctrl-C, which ends with 130.

    The film under way is finished, the journal is flushed and the reports are written.

    Args:
        watcher: of the folder.
        write_reports: writes all reports from all rows.
        hear: is told of each row and notice.
        interval: seconds between two looks.
        stop: set to stop; signals are only caught if it is None.
    """
    ended = ExitCode.OK
    previous: dict[int, object] = {}
    if stop is None:
        stop = threading.Event()
        asked = stop

        def on_signal(number: int, _: FrameType | None) -> None:
            nonlocal ended
            ended = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.OK
            asked.set()

        for wanted in (signal.SIGTERM, signal.SIGINT):
            previous[wanted] = signal.signal(wanted, on_signal)
    unwritten, written_at = True, -REPORT_SECONDS
    try:
        while not stop.is_set():
            started, idle = time.monotonic(), True
            for heard in watcher.look():
                hear(heard)
                idle = False
                unwritten = unwritten or heard.row is not None
                if unwritten and time.monotonic() - written_at >= REPORT_SECONDS:
                    write_reports(watcher.rows)
                    unwritten, written_at = False, time.monotonic()
                if stop.is_set():
                    break
            if unwritten:
                write_reports(watcher.rows)
                unwritten, written_at = False, time.monotonic()
            spent = time.monotonic() - started
            stop.wait(max(interval, spent / BUSY_SHARE) if idle else interval)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
    return ended
