"""What has been done, durable: an append-only file of one checksummed JSON line a film.

A line is ``CRC32 SPACE JSON LF``: eight hexadecimal digits, then an object with ``key`` and
``record``. The first line holds the fingerprint instead. A film counts as done once its line is
synced to the disk. A last line that a crash cut is dropped on opening. A line that a disk damaged is
passed over and stays where it is; the lines after it count. Either way those films are done again.

In memory a film costs some hundred bytes, its hash and where its line begins, so that a scan of ten
thousand films needs little more than one of a hundred.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge_xray._compat import Self
from edge_xray.durable import (
    BINARY,
    FolderLock,
    close_quietly,
    output_errors,
    write_all,
    write_atomically,
)
from edge_xray.errors import OutputError
from edge_xray.own_files import JOURNAL_NAME

JOURNAL_FORMAT: Final = 1

GROUP_RECORDS: Final = 32
"""Records synced together: at 20 ms a sync on an SD card, under a millisecond a film."""

GROUP_SECONDS: Final = 2.0
"""Age of a group from which the next record takes it to the disk: what a power cut can cost to do again, beside the
films under way then."""

MAX_LINE_BYTES: Final = 1 << 20
"""Longest line written or believed; a record is a few hundred bytes."""

_CHECKSUM_DIGITS: Final = 8

FORGOTTEN: Final[dict[str, str]] = {"status": "forgotten"}
"""The record of a film that no longer counts."""


class Journal:
    """The films done in a results folder: a context manager, whose films are durable when it is left.

    Its methods may be called from several threads.

    Attributes:
        resumed: how many records were found on opening, those of films forgotten left out.
        fresh_reason: why an earlier journal was not resumed; empty if there was none or it was.
        damaged: how many lines were passed over on opening, because a disk had changed them.
        dropped_bytes: how much of a last line without its end was dropped on opening.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Take the folder, alone, and read what is there into `records`.

        Args:
            folder: results folder; created if missing.
            fingerprint: of the model and the parameters that the results depend on; another one starts fresh.

        Raises:
            OutputError: the folder cannot be written, or another scan owns it (the message has its
                process number).
        """
        self.resumed = 0
        self.fresh_reason = ""
        self.damaged = 0
        self.dropped_bytes = 0
        self._path = folder / JOURNAL_NAME
        self._guard = threading.RLock()
        self._offsets: dict[bytes, int] = {}
        self._synced = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._file = -1
        self._failed = False
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(folder)
        try:
            with output_errors(self._path):
                self._begin(fingerprint)
        except BaseException:
            self._release()
            raise

    @property
    def records(self) -> Mapping[str, dict[str, Any]]:
        """Key to record, in the order they were first appended; read from the file on demand."""
        return _Records(self)

    def append(self, key: str, record: Mapping[str, Any]) -> None:
        """Add a film; it is durable after the next `flush`, which comes by itself with each group.

        Args:
            key: what the film is known by: its path and the hash of its content.
            record: JSON-ready; no NaN or infinity.

        Raises:
            OutputError: the disk is full, or the journal cannot be written.
            ValueError: the record is no JSON, or longer than `MAX_LINE_BYTES`.
        """
        line = _line({"key": key, "record": dict(record)})
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a record of {len(line)} bytes; at most {MAX_LINE_BYTES} are kept")
        with self._guard:
            if not self._pending:
                self._pending_since = time.monotonic()
            self._offsets[_digest(key)] = self._synced + self._pending_bytes
            self._pending.append(line)
            self._pending_bytes += len(line)
            waited = time.monotonic() - self._pending_since
            if len(self._pending) >= GROUP_RECORDS or waited >= GROUP_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write and sync what was appended; after it returns, a power cut loses none of it.

        Raises:
            OutputError: the disk is full, the journal cannot be written, or another scan took the folder.
                What was not synced is done again by the next scan.
        """
        with self._guard:
            if self._failed:
                raise OutputError(
                    f"{self._path}: an earlier write failed, so nothing more is written to it; "
                    "mend the disk and start the scan again"
                )
            if not self._pending:
                return
            # What another scan wrote meanwhile would be written over.
            self._lock.check()
            try:
                with output_errors(self._path):
                    write_all(self._file, b"".join(self._pending))
                    os.fsync(self._file)
            except OutputError:
                # After a failed fsync the kernel may have dropped the pages: trying again would lie.
                self._failed = True
                raise
            self._synced += self._pending_bytes
            self._pending.clear()
            self._pending_bytes = 0

    def close(self) -> None:
        """Flush, close, and give the folder back.

        Raises:
            OutputError: the disk is full, or the journal cannot be written.
        """
        with self._guard:
            try:
                if self._file >= 0 and not self._failed:
                    self.flush()
            finally:
                self._release()

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close; a failure to write on the way out does not hide the error that led there."""
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(OutputError):
                self.close()

    def _begin(self, fingerprint: str) -> None:
        good = self._read(fingerprint) if self._path.exists() else 0
        if good == 0:
            self._offsets.clear()
            header = _line({"journal": JOURNAL_FORMAT, "fingerprint": fingerprint})
            write_atomically(self._path, header)
            good = len(header)
        self._file = os.open(self._path, os.O_RDWR | BINARY)
        if os.fstat(self._file).st_size != good:
            os.ftruncate(self._file, good)
            os.fsync(self._file)
        os.lseek(self._file, good, os.SEEK_SET)
        self._synced = good

    def _read(self, fingerprint: str) -> int:
        """Index the good lines; returns where the last whole line ends, 0 to start afresh."""
        with self._path.open("rb") as stream:
            header = _parse(line := stream.readline(MAX_LINE_BYTES))
            if header is None or header.get("journal") != JOURNAL_FORMAT:
                self.fresh_reason = "the journal found there cannot be read"
                return 0
            if header.get("fingerprint") != fingerprint:
                self.fresh_reason = (
                    "the model, the options or the key are not those of the earlier scan"
                )
                return 0
            end = at = len(line)
            whole = True
            forgotten: set[bytes] = set()
            while line := stream.readline(MAX_LINE_BYTES):
                begins, whole = whole, line.endswith(b"\n")
                entry = _film(line) if begins else None
                if entry is not None:
                    digest = _digest(entry[0])
                    self._offsets[digest] = at
                    (forgotten.add if entry[1] == FORGOTTEN else forgotten.discard)(digest)
                elif whole:
                    self.damaged += 1
                at += len(line)
                end = at if whole else end
            self.dropped_bytes = at - end
            self.resumed = len(self._offsets) - len(forgotten)
        return end

    def _release(self) -> None:
        if self._file >= 0:
            close_quietly(self._file)
            self._file = -1
        self._lock.release()

    def _at(self, offset: int) -> tuple[str, dict[str, Any]]:
        with self._guard:
            if offset >= self._synced:
                for line in self._pending:
                    if offset == self._synced:
                        break
                    offset -= len(line)
            else:
                with output_errors(self._path), self._path.open("rb") as stream:
                    stream.seek(offset)
                    line = stream.readline(MAX_LINE_BYTES)
        entry = _film(line)
        if entry is None:
            raise OutputError(
                f"{self._path}: was changed by something else while the scan ran; scan again"
            )
        return entry


class _Records(Mapping[str, dict[str, Any]]):
    """The journal's films as a mapping that holds none of them in memory."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __len__(self) -> int:
        return len(self._journal._offsets)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and _digest(key) in self._journal._offsets

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._journal._at(self._journal._offsets[_digest(key)])[1]

    def __iter__(self) -> Iterator[str]:
        with self._journal._guard:
            offsets = list(self._journal._offsets.values())
        for offset in offsets:
            yield self._journal._at(offset)[0]


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _line(entry: dict[str, Any]) -> bytes:
    # ASCII, so that a path with bytes that are no text (a lone surrogate) can be written at all.
    body = json.dumps(entry, allow_nan=False, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parse(line: bytes) -> dict[str, Any] | None:
    """The object in a line, or None if the line is cut or its checksum does not fit."""
    body = line[_CHECKSUM_DIGITS + 1 : -1]
    try:
        checksum = int(line[:_CHECKSUM_DIGITS], 16)
        if (
            line[_CHECKSUM_DIGITS:][:1] != b" "
            or line[-1:] != b"\n"
            or zlib.crc32(body) != checksum
        ):
            return None
        entry = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _film(line: bytes) -> tuple[str, dict[str, Any]] | None:
    entry = _parse(line)
    if entry is None:
        return None
    key, record = entry.get("key"), entry.get("record")
    return (key, record) if isinstance(key, str) and isinstance(record, dict) else None
