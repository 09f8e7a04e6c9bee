"""The list of a watched folder: one row a film, in step with the folder and with what is on record.

A row leaves the list, and the record, when its film got another content or another name. So the record
alone gives the same list after a restart, even while the drive is away.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from edge_xray.decode import MACHINE_REASONS
from edge_xray.results import Prediction, Row
from edge_xray.results_folder import ResultsFolder
from edge_xray.walk import openable, printable

_ESCAPED: Final = re.compile(
    r"\\" if os.sep == "/" else r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
)
"""What `printable` leaves of a character that it had to escape; on Windows folders end in one, too."""


def _full_text(path: str, start: str) -> str:
    """The full path of a row's path; empty if it is not known where it starts. All are printable text."""
    full = os.path.join(start, path)  # noqa: PTH118 - for each of many rows
    return os.path.normpath(full) if os.path.isabs(full) else ""  # noqa: PTH117


class FilmList:
    """The rows of the films in one folder.

    Attributes:
        revision: grows with each change of the list.
    """

    def __init__(self, folder: Path, results: ResultsFolder) -> None:
        """Begin with what is on record of the folder, under whatever spelling.

        Args:
            folder: as `full_path` gives it.
            results: where rows are on record.
        """
        self.revision = 0
        self._results = results
        self._root = printable(folder)
        self._rows: dict[str, Row] = {}
        self._spellings: dict[str, tuple[str, ...]] = {}
        self._copies: list[list[str]] = []
        self._respelled: set[str] = set()
        self._copies_revision = -1
        root = self._root
        inside = root if root.endswith(os.sep) else root + os.sep
        outdated: list[Row] = []
        for row, start in results.placed_rows():
            path = _full_text(row.path, start)
            if path != root and not path.startswith(inside):
                continue
            if path != row.path:
                self._spellings[path] = (*self._spellings.get(path, ()), row.path)
                row = replace(row, path=path)
            last = self._rows.get(path)
            if last is not None and last.sha256 != row.sha256:
                outdated.append(last)
            self._rows[path] = row
        for row in outdated:
            # Or it would be back in the list once the newer row is forgotten.
            self._forget(row)
        self._unread = {path for path, row in self._rows.items() if not row.sha256}

    def __contains__(self, path: str) -> bool:
        """Whether a film is listed."""
        return path in self._rows

    @property
    def unread(self) -> frozenset[str]:
        """Paths of rows that say only that something is there and could not be read."""
        return frozenset(self._unread)

    def by_urgency(self) -> list[Row]:
        """All rows, most urgent first."""
        return sorted(self._rows.values(), key=lambda row: row.urgency)

    def known(self, path: str, sha256: str) -> Row | None:
        """As `ResultsFolder.known`, also for a film that is on record under another spelling."""
        for spelling in (path, *self._spellings.get(path, ())):
            row = self._results.known(spelling, sha256)
            if row is not None:
                return row if spelling == path else replace(row, path=path)
        return None

    def put(self, row: Row) -> bool:
        """List a row and put it on record.

        Returns:
            Whether it says anything that the list did not say already.
        """
        old = self._rows.get(row.path)
        if old is not None and _same_trouble(old, row):
            return False
        if old is not None and old.sha256 != row.sha256:
            self.drop(row.path)
        self._results.add(row)
        if old == row:
            return False
        self._rows[row.path] = row
        if not row.sha256:
            self._unread.add(row.path)
        self.revision += 1
        return True

    def drop(self, path: str) -> None:
        """Take a film off the list and off the record."""
        row = self._rows.pop(path)
        self._unread.discard(path)
        self._forget(row)
        self.revision += 1

    def drop_renamed(self) -> None:
        """Drop a film whose file is gone while the same film is there under another name."""
        if self._copies_revision != self.revision:
            self._find_copies()
            self._copies_revision = self.revision
        # Read once for all films of a folder: after it got another name itself, each of them is looked for.
        names = functools.cache(_names_in)
        for paths in self._copies:
            gone = [path for path in paths if path in self._rows and self._is_gone(path, names)]
            # If all are gone, so is the drive: then nothing was renamed.
            for path in gone if len(gone) < len(paths) else ():
                self.drop(path)

    def _forget(self, row: Row) -> None:
        for spelling in (row.path, *self._spellings.get(row.path, ())):
            self._results.forget(spelling, row.sha256)

    def _find_copies(self) -> None:
        by_content: dict[str, list[str]] = {}
        for path, row in self._rows.items():
            if row.sha256:
                by_content.setdefault(row.sha256, []).append(path)
        self._copies = [paths for paths in by_content.values() if len(paths) > 1]
        self._respelled.clear()
        for paths in self._copies:
            names = Counter(map(_caseless, paths))
            self._respelled.update(path for path in paths if names[_caseless(path)] > 1)

    def _is_gone(self, path: str, names: Callable[[str], frozenset[str]]) -> bool:
        """Whether no file has a row's path, by the names in its folder; one that had to be escaped is not looked for."""
        if _ESCAPED.search(path):
            return False
        try:
            os.lstat(_on_disk(path))
            # A stick has ``A.JPG`` also by the name ``a.jpg``: which of them it is, its folder tells.
            return path in self._respelled and not self._is_listed(path, names)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False

    def _is_listed(self, path: str, names: Callable[[str], frozenset[str]]) -> bool:
        """Whether a file is called so to the letter, as are the folders that it lies in."""
        folder = Path(self._root)
        for name in Path(path).relative_to(folder).parts:
            if name not in names(str(folder)):
                return False
            folder /= name
        return True


def _same_trouble(old: Row, new: Row) -> bool:
    """Whether a film was tried again to the same end; the words may hold a time or a number."""
    return (
        not isinstance(old, Prediction)
        and not isinstance(new, Prediction)
        and old.reason == new.reason
        and old.sha256 == new.sha256
        and new.reason in MACHINE_REASONS
    )


def _on_disk(path: str) -> Path | bytes:
    """A row's path to look for: rows hold names as UTF-8, whatever the locale is."""
    return openable(Path(path)) if os.name == "nt" else path.encode()


def _names_in(folder: str) -> frozenset[str]:
    """What a folder calls its files and folders, as rows hold names."""
    with os.scandir(_on_disk(folder)) as there:
        return frozenset(printable(os.fsdecode(one.name)) for one in there)


def _caseless(path: str) -> str:
    """What the names have in common that a disk takes for one: case, and accents in one character or two."""
    return unicodedata.normalize("NFC", path.casefold())
