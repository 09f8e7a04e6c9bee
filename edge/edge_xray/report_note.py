"""Which list the reports in a results folder are, noted beside them, so that none replaces another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from edge_xray._compat import Self
from edge_xray.durable import (
    in_use_errors,
    output_errors,
    replace_file,
    sync_folder,
    write_atomically,
)
from edge_xray.own_files import EARLIER, REPORT, RESULTS_MARK
from edge_xray.results import Row

MARK_TEXT: Final = "Results of edge-xray; not scanned."

_GATHERED: Final = ".gathered"
"""Where reports are until all that are to be kept are together."""


@dataclass(frozen=True)
class ReportNote:
    """What the reports in a results folder were made from.

    Attributes:
        paths: what was scanned, as full paths, sorted.
        fingerprint: of the journal; empty once that journal is gone.
        identifiers: whether they may hold patient IDs as they are.
        damaged: how many lines of the journal could not be read.
        rows: as `digest_of` gives it; empty while reports are being written.
    """

    paths: tuple[str, ...]
    fingerprint: str
    identifiers: bool = False
    damaged: int = 0
    rows: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The note in a results folder; None if there is none, or it cannot be read."""
        try:
            text = (folder / RESULTS_MARK).read_text(encoding="utf-8")
            note = json.loads(text.removeprefix(MARK_TEXT))
            return cls(
                tuple(note["paths"]),
                str(note["fingerprint"]),
                bool(note.get("identifiers")),
                int(note.get("damaged", 0)),
                str(note.get("rows", "")),
            )
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Put the note in the place of the one that is there.

        Raises:
            OutputError: it cannot be written.
        """
        # ASCII, so that a path with bytes that are no text can be written at all.
        note = json.dumps(asdict(self))
        write_atomically(folder / RESULTS_MARK, f"{MARK_TEXT}\n{note}\n".encode("ascii"))

    def is_of_list(self, other: ReportNote) -> bool:
        """Whether both are of one list, which may have changed: then one's reports replace the other's."""
        return replace(self, rows=other.rows) == other


def digest_of(rows: Iterable[Row]) -> str:
    """SHA-256 over rows, in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row!r}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def reports_in(folder: Path) -> list[Path]:
    """The reports in a results folder.

    Raises:
        OutputError: the folder cannot be read.
    """
    with output_errors(folder):
        return [path for path in folder.iterdir() if REPORT.fullmatch(path.name)]


def keep_reports(folder: Path) -> Path | None:
    """Set the reports in a results folder aside, whole, under the time they were made.

    They are gathered first and named last: cut off anywhere, the next time goes on with it.

    Returns:
        Where they are now; None if there were none.

    Raises:
        OutputError: they cannot be moved.
        FileInUseError: another program has one of them open.
    """
    gathered = folder / EARLIER / _GATHERED
    reports = reports_in(folder)
    with output_errors(folder):
        if not reports and not gathered.exists():
            return None
        gathered.mkdir(parents=True, exist_ok=True)
        if not reports and not any(gathered.iterdir()):
            return None  # cut off before the first was moved, and then taken away by somebody
        for path in reports:
            with in_use_errors(path):
                replace_file(path, gathered / path.name)
        made = max(path.stat().st_mtime for path in gathered.iterdir())
        day = _local_time(made).strftime("%Y-%m-%d-%H%M%S")
        kept, number = gathered.with_name(day), 1
        while kept.exists():
            number += 1
            kept = gathered.with_name(f"{day}-{number}")
        sync_folder(gathered)
        replace_file(gathered, kept)
        sync_folder(kept.parent)
        sync_folder(folder)
    return kept


def _local_time(seconds: float) -> datetime:
    """A file's time as a date here; that of now for one that no calendar has, which a damaged disk gives."""
    try:
        return datetime.fromtimestamp(seconds).astimezone()
    except (ValueError, OverflowError, OSError):
        return datetime.now().astimezone()
