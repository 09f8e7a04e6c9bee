"""A film's file before it is decoded: whether it can be a film at all, its bytes, and its hash.

A file is read once, must hold still meanwhile, and never costs more memory than a film can need.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from edge_xray.errors import FilmError
from edge_xray.headers import JPEG_MAGIC, PNG_MAGIC

MAX_FILE_BYTES: Final = 160 * 1024 * 1024
"""Largest file read: the largest film in three bytes a pixel, uncompressed."""

TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""TIFF and BigTIFF, in both byte orders."""

BMP_MAGIC: Final = b"BM"

REASONS: Final = {"changed": "the file changed while it was read"}
"""Reasons for a film that was there and could not be held still, with what they mean."""

LARGE_BYTES: Final = 48 * 1024 * 1024
"""A file above it is read while no other such file is: an uncompressed film has 30 MiB."""

PROBED_BYTES: Final = 1024 * 1024
"""A file above it is read only if it begins like a film."""

HEAD_BYTES: Final = 4096
"""How much of such a file is read to see whether it does."""

_ONE_LARGE_FILE: Final = threading.Lock()


def is_dicom(data: bytes) -> bool:
    """Whether the content is DICOM, with or without the preamble of Part 10 (PS3.10 7.1).

    Without it, the first element must be of group 0002 or 0008, with a VR of two capitals or a length
    that a first element can have.
    """
    if data[128:132] == b"DICM":
        return True
    group, element = data[0:2], data[2:4]
    if group in (b"\x02\0", b"\x08\0"):
        length, vr = int.from_bytes(data[4:8], "little"), data[4:6]
    elif group == b"\0\x08":
        length, vr = int.from_bytes(data[4:8], "big"), data[4:6]
    else:
        return False
    # A first element beyond (gggg,0018) would leave out the SOP class, which no file does.
    if len(data) < 12 or max(element) > 0x18:
        return False
    return vr in _FIRST_VRS or (length <= _FIRST_MAX_BYTES and length % 2 == 0)


_FIRST_VRS: Final = frozenset({b"UL", b"OB", b"CS", b"UI", b"DA", b"TM", b"SH", b"LO"})
_FIRST_MAX_BYTES: Final = 128


def starts_like_a_film(head: bytes) -> bool:
    """Whether a file may be a film of a kind that is read.

    Args:
        head: its first bytes, 132 or more if it has them.
    """
    return is_dicom(head) or head.startswith((JPEG_MAGIC, PNG_MAGIC, *TIFF_MAGIC, BMP_MAGIC))


def copied_as_text(data: bytes) -> bool:
    """Whether a film was copied as if it were text, by FTP say, with a carriage return put before each line feed.

    Uncompressed pixels are read all the same, each a little further to the side. Of 64 feeds one at least stands by
    itself in any other film; a PNG's first bytes are made to tell of it (ISO/IEC 15948, 5.2).
    """
    if data.startswith(_PNG_NAME):
        return not data.startswith(PNG_MAGIC)
    if _LONE_FEED.search(data) or not starts_like_a_film(data):
        return False
    return data.count(b"\n") >= _LEAST_FEEDS


_PNG_NAME: Final = PNG_MAGIC[:4]
_LONE_FEED: Final = re.compile(rb"\n(?<!\r\n)")  # begins with what a search can skip to
_LEAST_FEEDS: Final = 64


def read_file(path: Path) -> bytes:
    """Read a regular file whole, if it is not too large; pipes and devices are never waited for.

    Raises:
        FilmError: it is no regular file, too large, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags), "rb") as stream:  # noqa: PTH123 - a descriptor, no path
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FilmError("not_a_file", "this is a pipe, a device or a folder, not a film")
            if status.st_size <= MAX_FILE_BYTES:
                # A byte more tells of a file that grew; room for the cap would cost more than the read.
                data = stream.read(status.st_size + 1)
                if len(data) <= MAX_FILE_BYTES:
                    return data
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise FilmError(
            "unreadable", f"the file cannot be read ({why}); check its permissions and the disk"
        ) from error
    raise FilmError(
        "file_too_large",
        f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB; export the film as JPEG",
    )


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Large files one at a time: so many as there are workers would not fit into a small memory."""
    try:
        large = path.stat().st_size > LARGE_BYTES
    except OSError:
        large = False
    with _ONE_LARGE_FILE if large else nullcontext():
        yield


def read_film(path: Path) -> tuple[bytes, str]:
    """The bytes of a film's file, which must hold still while it is read, and their SHA-256.

    Returns:
        Of a large file that cannot be a film, a video say, only the first bytes; the hash is of all.

    Raises:
        FilmError: it is missing, unreadable, too large, no regular file, or changed meanwhile.
    """
    try:
        before = path.stat()
        size = before.st_size
        if PROBED_BYTES < size <= MAX_FILE_BYTES and not starts_like_a_film(head := _head(path)):
            data, sha256 = head, _hash_of(path)
        else:
            data = read_file(path)
            size, sha256 = len(data), hashlib.sha256(data).hexdigest()
        after = path.stat()
    except FileNotFoundError as error:
        raise _gone() from error
    except OSError as error:
        raise FilmError(
            "unreadable",
            f"the file cannot be read ({error.strerror or error}); check its permissions and the disk",
        ) from error
    except FilmError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _gone() from error
        raise
    if _still(before) != _still(after) or size != after.st_size:
        raise FilmError(
            "changed", "the file changed while it was read; scan again when the copy is finished"
        )
    return data, sha256


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PROBED_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _gone() -> FilmError:
    return FilmError("missing", "the file was there and is gone; check the drive and scan again")


def _still(info: os.stat_result) -> tuple[int, int, int]:
    return (info.st_size, info.st_mtime_ns, info.st_ino)
