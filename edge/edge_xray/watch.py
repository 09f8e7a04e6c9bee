"""A folder watched for films: each is scored once its file is complete.

The folder is looked at again and again instead of asking the system for events: that works on network
drives and sticks too, and an event fires before a copy is finished anyway. What is done stands in the
journal, so a restart scores nothing twice.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_xray.classifier import Classifier
from edge_xray.decode import MACHINE_REASONS
from edge_xray.errors import ExitCode, FileInUseError
from edge_xray.results import Prediction, Row
from edge_xray.results_folder import ResultsFolder
from edge_xray.scan import ScanOptions, score_films
from edge_xray.stopping import stop_signals
from edge_xray.walk import Found, find_films, full_path
from edge_xray.watch_list import FilmList

INTERVAL_SECONDS: Final = 2.0
"""Between two looks at the folder; a file must be the same in both to be taken."""

INTERVAL_SECONDS_LEAST: Final = 0.1
INTERVAL_SECONDS_MOST: Final = 3600.0
"""Longest wait between two looks that makes sense: films that come in the morning are for the day."""

BUSY_SHARE: Final = 0.2
"""Largest share of the time spent looking: a folder of 100,000 files is looked at less often."""

REPORT_SECONDS: Final = 15.0
"""Least time between two writings of the reports while films keep coming: each writes all of the list."""

RETRY_SECONDS: Final = 5.0
"""Until a film that the machine could not read is tried again; doubled each time it fails again."""

RETRY_SECONDS_MOST: Final = 300.0
"""Longest time between two tries of such a film."""

RETRY_LOOK_SECONDS: Final = 10.0
"""How long a look goes on trying such films again, so that new ones need not wait for many of them."""

_HEAR_SECONDS: Final = 0.2
"""Longest wait in one piece: whether to stop is asked between two."""

PASSING: Final = frozenset({"changed", "missing"})
"""Reasons that may pass by themselves: the file is looked at again instead of getting a row."""

Signature = tuple[int, int, int]
"""Size, time of change in ns, inode: what a file that holds still keeps."""

UNREADABLE: Final[Signature] = (-1, -1, -1)
"""Of a file that cannot even be looked at: it is taken, and its row says so."""


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
    """Looks at a folder; each `look` scores the films that became complete.

    Attributes:
        taken: how many files the last look read.
        met: whether a look has found the folder there.
    """

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        options: ScanOptions,
        results: ResultsFolder,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with what the results folder has on record.

        Args:
            folder: what is watched; it may come and go, as a drive does. Rows have its full path, so
                that one folder has one list from wherever it is named.
            classifier: the model.
            options: how to scan.
            results: where rows go.
            clock: seconds, for trying again.
        """
        self.taken = 0
        self.met = False
        self._folder = full_path(folder)
        self._classifier = classifier
        self._options = options
        self._results = results
        self._clock = clock
        self._films = FilmList(self._folder, results)
        self._seen: dict[str, Signature] = {}
        self._done: dict[str, Signature] = {}
        self._tries: dict[str, _Try] = {}
        self._away = ""

    @property
    def revision(self) -> int:
        """Grows with each change of `rows`."""
        return self._films.revision

    @property
    def rows(self) -> list[Row]:
        """All rows, most urgent first; a renamed film is listed under its new name only."""
        self._films.drop_renamed()
        return self._films.by_urgency()

    def look(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Heard]:
        """Look once.

        Args:
            stop: tells whether to end the look after the film under way.

        Yields:
            Each row that is new or another than before, once it is on record, and notices.

        Raises:
            OutputError: the results cannot be written.
        """
        self.taken = 0
        away = why_away(self._folder)
        if away != self._away:
            self._away = away
            word = f"{away}; waiting for it to come back" if away else "is there again"
            yield Heard(notice=f"{self._folder} {word}")
        if away:
            return
        self.met = True
        taken: dict[str, Signature] = {}
        unread = set(self._films.unread)
        films = score_films(
            self._complete(taken, unread, stop),
            self._classifier,
            self._options,
            self._films.known,
        )
        for row in films:
            if isinstance(row, Prediction) or not (row.reason in PASSING or why_away(self._folder)):
                last = self._done.get(row.path)
                self._done[row.path] = taken[row.path]
                self._plan_retry(row)
                if not self._is_same_file(row, last) and self._films.put(row):
                    yield Heard(row)
            if stop():
                break
        if not stop() and not why_away(self._folder):
            for path in unread:
                # Nothing is known of it but that it could not be read, and now it is not even there.
                self._films.drop(path)
            self._films.drop_renamed()
        self._results.flush()

    def _complete(
        self, taken: dict[str, Signature], unread: set[str], stop: Callable[[], bool]
    ) -> Iterator[Found]:
        """Files that are the same as at the last look and that nobody is writing to.

        Args:
            taken: gets the signature of each of them.
            unread: loses what is met in the folder.
            stop: tells whether to end the walk.
        """
        seen, self._seen = self._seen, {}
        again: list[tuple[float, Found, Signature]] = []
        for found in find_films([self._folder], recursive=self._options.recursive):
            if stop():
                return
            unread.discard(found.shown)
            signature = _signature(found)
            if signature is None:
                continue
            if self._done.get(found.shown) == signature and found.shown in self._films:
                attempt = self._tries.get(found.shown)
                if attempt is not None and attempt.due <= self._clock():
                    again.append((attempt.due, found, signature))
                continue
            self._seen[found.shown] = signature
            if seen.get(found.shown) == signature and not is_open_for_writing(found):
                self._tries.pop(found.shown, None)
                taken[found.shown] = signature
                self.taken += 1
                yield found
        started = self._clock()
        for _, found, signature in sorted(again, key=lambda one: one[0]):
            if stop() or self._clock() - started > RETRY_LOOK_SECONDS:
                return
            if not is_open_for_writing(found):
                taken[found.shown] = signature
                self.taken += 1
                yield found

    def _is_same_file(self, row: Row, last: Signature | None) -> bool:
        """Whether a file that could not be read was listed already and only has another inode: its answer still holds.

        A stick that was pulled out and put in again gives its files other inodes, so that all are read again.
        """
        return (
            not row.sha256
            and not isinstance(row, Prediction)
            and row.reason in MACHINE_REASONS
            and last is not None
            and last[:2] == self._done[row.path][:2]
            and row.path in self._films
        )

    def _plan_retry(self, row: Row) -> None:
        """A fault of the machine may be mended without a trace on the film's file."""
        last = self._tries.pop(row.path, None)
        if not isinstance(row, Prediction) and row.reason in MACHINE_REASONS:
            wait = min(2 * last.wait, RETRY_SECONDS_MOST) if last else RETRY_SECONDS
            self._tries[row.path] = _Try(self._clock() + wait, wait)


@dataclass(frozen=True)
class _Try:
    """When a film is tried again, and the wait until then, in seconds."""

    due: float
    wait: float


def why_away(folder: Path) -> str:
    """Why a folder cannot be watched now, as the end of a sentence; empty if it can."""
    try:
        if stat.S_ISDIR(folder.stat().st_mode):
            return ""
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return f"cannot be looked at ({error.strerror or error})"
    return "is gone"


def _signature(found: Found) -> Signature | None:
    try:
        info = found.path.lstat() if found.reason else found.path.stat()
    except FileNotFoundError:
        # Gone since the folder was read; it will be found again if it comes back.
        return None
    except OSError:
        return UNREADABLE
    return (info.st_size, info.st_mtime_ns, info.st_ino)


def is_open_for_writing(found: Found) -> bool:
    """Whether some process has the file open for writing, as far as the system tells.

    Linux refuses a read lease on such a file (fcntl(2), F_SETLEASE), Windows to open it for reading only. Where the
    system does not tell (macOS, a network drive of Linux, another user's file), holding still has to do.
    """
    if found.reason:
        return False
    if sys.platform == "win32":
        from edge_xray.windows import is_written_to

        return is_written_to(found.path)
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        descriptor = os.open(found.path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # Who opens the file to write while the lease is held makes the kernel send SIGIO, which ends a
        # process. SIGURG instead is ignored by default.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
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
    stop: Callable[[], bool] | None = None,
) -> ExitCode:
    """Watch until told to stop: by SIGTERM or SIGHUP, which end with 0, or by Ctrl-C, which ends with 130.

    The film under way is finished, the journal is flushed and the reports are written. Reports that
    another program has open are tried again at the next look.

    Args:
        watcher: of the folder.
        write_reports: writes all reports from all rows.
        hear: is told of each row and notice.
        interval: seconds between two looks.
        stop: tells whether to stop; signals are only caught if it is None.

    Raises:
        OutputError: the results cannot be written; of reports in use, only at the end.
    """
    told: list[int] = []
    previous: dict[int, object] = {}
    if stop is None:
        for wanted in (*stop_signals(), signal.SIGINT):
            # To set an event here would wait for a lock that this very thread may hold.
            previous[wanted] = signal.signal(wanted, lambda number, _: told.append(number))
    stopped = stop or (lambda: bool(told))
    written, written_at = -1, -math.inf

    def write() -> None:
        nonlocal written, written_at
        rows = watcher.rows
        if watcher.revision == written or not (rows or watcher.met):
            return  # of a drive that is still away an empty list would say that it has no films
        if rows:
            written_at = time.monotonic()
        write_reports(rows)
        written = watcher.revision

    def write_when_due(until: float) -> None:
        due = written_at + REPORT_SECONDS
        if watcher.revision != written and due <= until:
            _wait(stopped, due)
            with contextlib.suppress(FileInUseError):
                write()

    try:
        while not stopped():
            started = time.monotonic()
            for heard in watcher.look(stopped):
                hear(heard)
                write_when_due(time.monotonic())
            now = time.monotonic()
            next_look = now + (
                interval if watcher.taken else max(interval, (now - started) / BUSY_SHARE)
            )
            write_when_due(next_look)
            _wait(stopped, next_look)
        write()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
    return ExitCode.INTERRUPTED if told[-1:] == [signal.SIGINT] else ExitCode.OK


def _wait(stop: Callable[[], bool], until: float) -> None:
    """Wait until a time of `time.monotonic`, or until told to stop."""
    while not stop() and (rest := until - time.monotonic()) > 0:
        time.sleep(min(rest, _HEAR_SECONDS))
