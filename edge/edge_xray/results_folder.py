"""A results folder: the journal of what is done, pictures, and the reports made from it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from edge_xray._compat import Self
from edge_xray.classifier import Classifier
from edge_xray.decode import MACHINE_REASONS
from edge_xray.durable import in_use_errors, output_errors, write_atomically
from edge_xray.errors import EdgeXrayError
from edge_xray.heatmap import JPEG_END
from edge_xray.intended_use import INTENDED_USE_REASONS
from edge_xray.journal import FORGOTTEN, Journal
from edge_xray.own_files import RESULTS_MARK, is_own, is_unfinished, picture_name
from edge_xray.plural import counted
from edge_xray.quality import QUALITY_REASONS
from edge_xray.report_note import MARK_TEXT, ReportNote, digest_of, keep_reports, reports_in
from edge_xray.reports import csv, html, jsonl
from edge_xray.results import Prediction, Row, Run, SkippedFilm, from_record
from edge_xray.scan import ScanOptions
from edge_xray.site_key import named_key, site_key
from edge_xray.walk import printable

FORMATS: Final = ("csv", "jsonl", "html")
"""Formats written into a results folder when none is named."""

ROW_VERSION: Final = 3
"""Part of the fingerprint: raised when rows of an older edge-xray must be made again."""

_START: Final = "folder"
"""In a record of a relative path: the folder that it starts from, as printable text."""

_KEY_MARK: Final = "key"
"""In a record of a DICOM film: which key its pseudonym is from, as a hash; empty for none."""

PIECE_BYTES: Final = 1 << 16
"""How much of a report is gathered before it is written."""

_PNG_END: Final = b"IEND\xaeB`\x82"
"""The last bytes of every whole PNG: the type of its last chunk and that chunk's checksum."""

_READ_REASONS: Final = QUALITY_REASONS.keys() | INTENDED_USE_REASONS.keys()
"""Reasons of films that were decoded, and so can have a picture."""


def fingerprint(classifier: Classifier, options: ScanOptions) -> str:
    """SHA-256 over all that a row depends on but the film: model, runtime, options and a key that is named.

    Raises:
        UsageError: a key is named and cannot be used.
    """
    choices = asdict(options)
    for name in ("jobs", "recursive", "pictures", "heatmaps"):
        del choices[name]
    choices["operating_point"] = classifier.metadata.operating_point(options.operating_point).name
    record = {
        "rows": ROW_VERSION,
        "model": classifier.sha256,
        "runtime": classifier.runtime,
        "options": choices,
    }
    if not options.with_identifiers and (key := named_key()):
        # Under another key a patient's earlier rows would be another patient's.
        record["key"] = _mark_of(key)
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class ResultsFolder:
    """One owner's results folder. A context manager; rows are durable when it is left.

    Attributes:
        folder: where it is.
        resumed: how many rows an earlier scan left.
        notice: what a person should know of the earlier scan; empty if nothing.
        kept: where `write_reports` set aside the list that was there; None if there was none to keep.
    """

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        options: ScanOptions,
        paths: Sequence[Path] = (),
    ) -> None:
        """Take the folder.

        Args:
            folder: created if missing.
            classifier: the model of this scan.
            options: of this scan; rows made with others are not taken over.
            paths: what is scanned. A list of other paths, another model or other options found in
                the folder is kept, not replaced.

        Raises:
            OutputError: it cannot be written, or another scan owns it.
            UsageError: a key for pseudonyms is named and cannot be used.
        """
        self.folder = folder
        self.kept: Path | None = None
        self._kept_identifiers = False
        self._options = options
        self._paths = tuple(sorted({os.path.abspath(path) for path in paths}))  # noqa: PTH100 - without ".."
        self._fingerprint = fingerprint(classifier, options)
        self._journal = Journal(folder, self._fingerprint)
        try:
            if not (folder / RESULTS_MARK).exists():
                write_atomically(folder / RESULTS_MARK, f"{MARK_TEXT}\n".encode())
            self._make_folders(bool(self._journal.fresh_reason))
            listed = ReportNote.read(folder)
            if listed is not None and self._journal.fresh_reason:
                # What they were made from is gone: the next reports are of another list.
                replace(listed, fingerprint="").write(folder)
        except BaseException:
            self._journal.close()
            raise
        self.resumed = self._journal.resumed
        self.notice = " ".join(filter(None, (self._notice(listed), self._damage(listed))))

    def _make_folders(self, fresh: bool) -> None:
        for wanted in (self._options.pictures, self._options.heatmaps):
            if wanted is None:
                continue
            with output_errors(wanted):
                wanted.mkdir(exist_ok=True)
                for path in wanted.iterdir():
                    if is_unfinished(path) or (fresh and is_own(path)):
                        _remove(path)

    def _notice(self, listed: ReportNote | None) -> str:
        if self._journal.fresh_reason:
            return f"Starting fresh: {self._journal.fresh_reason}."
        if not self.resumed:
            return ""
        films = counted(self.resumed, "film")
        if reports_in(self.folder) and (listed is None or listed.paths != self._paths):
            return f"{films} of earlier scans on record in {self.folder}: none is scored twice."
        return f"Going on where an earlier scan left off: {films} already done in {self.folder}."

    def _damage(self, listed: ReportNote | None) -> str:
        """Of lines of the journal that were damaged since the last reports."""
        lines = self._journal.damaged
        if lines == (listed.damaged if listed else 0):
            return ""
        return (
            f"{counted(lines, 'line', 'of the journal was', 'of the journal were')} damaged; "
            "those films are scored again where they are still there."
        )

    @property
    def kept_notice(self) -> str:
        """Where the list that was there is `kept`, in words."""
        holds = "; it holds patient IDs as they are" if self._kept_identifiers else ""
        return f"The list that was there is kept in {self.kept}{os.sep}{holds}"

    def __enter__(self) -> Self:
        """The folder itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Make durable what is done and give the folder back."""
        self._journal.__exit__(kind, *rest)

    def known(self, path: str, sha256: str) -> Row | None:
        """The row that an earlier scan left for a film, if its pictures are still there."""
        record = self._journal.records.get(_key(path, sha256))
        if record is None:
            return None
        try:
            row = from_record(_without(record, _START, _KEY_MARK))
        except EdgeXrayError:
            return None  # of another make: the film is scored again
        if isinstance(row, SkippedFilm) and row.reason in MACHINE_REASONS:
            return None
        if record.get(_KEY_MARK, "") != self._key_mark(row):
            return None  # one patient would have two pseudonyms, or one and none
        # A film that was read has a picture; one that the gate refused may have been refused without.
        wants_picture = row.pictured or isinstance(row, Prediction) or row.reason in _READ_REASONS
        if self._options.pictures and wants_picture and not self.picture(row):
            return None
        if not isinstance(row, Prediction):
            return row
        if self._options.heatmaps and not (
            row.heatmap and _is_whole_png(self.folder / row.heatmap)
        ):
            return None
        return row

    def _key_mark(self, row: Row) -> str:
        """Of the key that a row's pseudonym would be from now; empty for a row that has none to give."""
        dicom = bool(row.patient) or (isinstance(row, Prediction) and row.format == "DICOM")
        if not dicom or self._options.with_identifiers:
            return ""
        key = site_key()
        return _mark_of(key) if key else ""

    def add(self, row: Row) -> bool:
        """Record a row, and of a relative path the folder that it starts from: this process's own.

        Returns:
            Whether it is new: False for one that `known` gave.
        """
        key, record = _key(row.path, row.sha256), row.to_record()
        if mark := self._key_mark(row):
            record[_KEY_MARK] = mark
        placed = record | _start_of(row.path)
        old = self._journal.records.get(key, FORGOTTEN)
        if old != placed:
            self._journal.append(key, placed)
        return _without(old, _START) != record

    def forget(self, path: str, sha256: str) -> None:
        """Take a film off the record: `placed_rows` leaves it out, and it is scored anew if it comes back."""
        key = _key(path, sha256)
        if self._journal.records.get(key, FORGOTTEN) != FORGOTTEN:
            self._journal.append(key, FORGOTTEN)

    def placed_rows(self) -> Iterator[tuple[Row, str]]:
        """All rows on record, in the order in which films were first done, each with the folder that its path starts from.

        The folder is printable text as the path is, and empty for a full path, or where it is not on record.
        """
        for record in self._journal.records.values():
            try:
                yield from_record(_without(record, _START, _KEY_MARK)), str(record.get(_START, ""))
            except EdgeXrayError:
                continue  # of another make: the film is scored again

    def flush(self) -> None:
        """Make durable what was added."""
        self._journal.flush()

    def picture(self, row: Row) -> bytes:
        """The report's picture of a film; empty if there is none, or it is not whole."""
        if self._options.pictures is None or not row.pictured:
            return b""
        try:
            data = (self._options.pictures / picture_name(row.sha256)).read_bytes()
        except OSError:
            return b""
        return data if data.endswith(JPEG_END) else b""

    def write_reports(self, rows: list[Row], run: Run, formats: Iterable[str]) -> list[Path]:
        """Write the reports, each whole or not at all.

        A list of other paths, of another model or of other options is kept in `earlier/` first. Of the
        same list, reports that are not written again go if they do not hold these rows.

        Args:
            rows: most urgent first.
            run: what they have in common.
            formats: of `FORMATS`.

        Returns:
            The files, the one to open first at the front.

        Raises:
            OutputError: they cannot be written.
            FileInUseError: another program has one of them open; the others may be written.
        """
        writers: dict[str, Callable[[list[Row], Run], list[Path]]] = {
            "html": self._write_html,
            "csv": lambda rows, run: self._write("results.csv", csv.render(rows, run)),
            "jsonl": lambda rows, run: self._write("results.jsonl", jsonl.render(rows, run)),
        }
        identifiers = self._options.with_identifiers
        now = ReportNote(
            self._paths, self._fingerprint, identifiers, self._journal.damaged, digest_of(rows)
        )
        was = ReportNote.read(self.folder)
        # Who asks for no patient IDs is not to find them in a list of the same films that was kept.
        private = (
            was is not None and was.identifiers and not identifiers and was.paths == self._paths
        )
        if not private and (was is None or not was.is_of_list(now)):
            self.kept = keep_reports(self.folder) or self.kept
            self._kept_identifiers = was is not None and was.identifiers and not identifiers
        if was != now:
            replace(now, rows="", identifiers=identifiers or private).write(self.folder)
        wanted = set(formats)
        written = [
            path for name, write in writers.items() if name in wanted for path in write(rows, run)
        ]
        if was != now:
            # Of a longer list there are more pages, which would show films of the past.
            for path in reports_in(self.folder):
                if path not in written:
                    _remove(path)
            now.write(self.folder)
        return written

    def _write_html(self, rows: list[Row], run: Run) -> list[Path]:
        written = []
        for name, chunks in html.render_pages(rows, run, self.picture):
            written += self._write(name, chunks)
        return written

    def _write(self, name: str, chunks: Iterable[str]) -> list[Path]:
        path = self.folder / name
        write_atomically(path, _pieces(chunks))
        return [path]


def _remove(path: Path) -> None:
    with output_errors(path), in_use_errors(path):
        path.unlink(missing_ok=True)


def _is_whole_png(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            stream.seek(-len(_PNG_END), os.SEEK_END)
            return stream.read() == _PNG_END
    except OSError:
        return False


def _pieces(chunks: Iterable[str]) -> Iterator[bytes]:
    """Text as UTF-8 in pieces of `PIECE_BYTES`, so that no report is ever held whole."""
    piece = bytearray()
    for chunk in chunks:
        piece += chunk.encode("utf-8")
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _start_of(path: str) -> dict[str, str]:
    """What is recorded of where a path starts: nothing of a full one."""
    if os.path.isabs(path):  # noqa: PTH117 - for each of many rows
        return {}
    try:
        return {_START: printable(os.getcwd())}  # noqa: PTH109 - for each of many rows
    except FileNotFoundError:  # this process's own folder was removed
        return {}


def _without(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def _mark_of(key: bytes) -> str:
    return hashlib.sha256(b"edge-xray fingerprint\0" + key).hexdigest()


def _key(path: str, sha256: str) -> str:
    return f"{sha256}:{path}"
