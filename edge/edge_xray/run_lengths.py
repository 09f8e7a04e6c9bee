"""Pieces that are missing or too much in a picture of run lengths, as DICOM and TIFF have, which decoders read without a word."""

from __future__ import annotations

import struct
from typing import Final

from edge_xray.errors import broken_data

_NO_RUN: Final = 128
"""A run's first byte that stands for nothing; below it so many bytes and one follow as they are, above it one
that is repeated (PS3.5 annex G.3.1)."""

_FILLING: Final = bytes((0, _NO_RUN))

_GIVES: Final = [n + 1 if n < _NO_RUN else 257 - n if n > _NO_RUN else 0 for n in range(256)]
_TAKES: Final = [n + 2 if n < _NO_RUN else 2 if n > _NO_RUN else 1 for n in range(256)]
"""Bytes of the picture that a run gives, and bytes of the file that it takes, by its first byte."""


def check_run_lengths(frame: bytes, pixels: int) -> None:
    """Refuse run lengths that give another number of pixels than the picture has.

    Where a byte is broken, the next run begins at a wrong place, and hardly ever do the runs come out even.

    Args:
        frame: the one frame, which begins with the places of its segments (PS3.5 annex G.5).
        pixels: rows times columns.

    Raises:
        FilmError: a segment is full before its data end, which only zeros and runs of nothing may fill up, or never.
    """
    segments = int.from_bytes(frame[:4], "little")
    starts = struct.unpack_from(f"<{segments}I", frame, 4)
    for at, end in zip(starts, (*starts[1:], len(frame)), strict=True):
        check_runs(frame[at:end], pixels)


def check_runs(packed: bytes, size: int) -> None:
    """Refuse runs that give another number of bytes than a segment, strip or tile has.

    Raises:
        FilmError: it is full before its data end, which only zeros and runs of nothing may fill up, or never.
    """
    at = got = 0
    while got < size and at < len(packed):
        run = packed[at]
        got += _GIVES[run]
        at += _TAKES[run]
    if got != size or at > len(packed) or packed[at:].strip(_FILLING):
        raise broken_data()
