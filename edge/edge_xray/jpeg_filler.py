"""Data that are missing in a JPEG, told by what libjpeg puts in their place, or leaves over.

libjpeg decodes what it can and fills the rest with grey, and Pillow passes on no word of it. Where a piece
is lost or broken, the codes after it are read to the end of the data all the same, and the picture comes
out too short by the blocks that were lost: the last of them are filled.

A piece that became zeros, in an interrupted copy or a bad block of a card, is not lost but read as short
codes, more of them than there were: the picture is full too early, and data are left over.
"""

from __future__ import annotations

import io
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.errors import FilmError
from edge_xray.headers import check_jpeg_end, jpeg_blocks, jpeg_segments, read_jpeg_header

FILLER: Final = (127, 128)
"""What libjpeg fills with: 128, the level of a block whose coefficients are all zero; 127 in a CMYK that is stored
as a negative, as Adobe does."""

SHORT_SHARE: Final = 0.01
"""Share of the rows, all filled, from which the data count as cut short."""

_MORE: Final = bytes(range(1, 255)) * 4
"""Coded data that a whole picture has no use for, and one that lacks some takes for its own."""

_SCAN_END: Final = re.compile(rb"\xff[^\0\xd0-\xd7\xff]", re.DOTALL)
"""The first marker after coded data: no stuffed byte and no restart."""

_EOI: Final = b"\xff\xd9"

_EIGHTH: Final = 8

_ZEROS: Final = bytes(32)
"""A run that coded data hardly ever hold: an even area in a file with tables of its own, or a hole."""

_BLOCK_BYTES: Final = 208
"""Most coded bytes of a block: 64 values, each a code of 16 bits and 10 bits more."""


def check_filler(image: Image.Image, data: bytes) -> None:
    """Refuse a decoded JPEG whose end is made up, missing, or reached before its data are read.

    A film may end in a grey of that very level, in a margin say. So where one does, it is decoded again
    with more coded data behind its own: nothing changes in a film that is whole. One that holds a run of
    zeros is decoded again without the last of its data: nothing changes if they were left over.

    Args:
        image: loaded, perhaps at reduced scale.
        data: the file.

    Raises:
        FilmError: ``truncated`` if rows or the end mark are missing, ``damaged`` if less is.
    """
    check_jpeg_end(data)
    if _leaves_data_over(data):
        raise _damaged()
    rows = max(1, round(image.height * SHORT_SHARE))
    bottom = np.asarray(image.crop((0, image.height - rows, image.width, image.height)))
    if not _is_filler(bottom[-1, -1]):
        return
    if np.array_equal(_small(data), _small(_with_more(data))):
        return
    if _is_filler(bottom):
        raise FilmError("truncated", "the JPEG ends before the film does; copy or export it again")
    raise _damaged()


def _is_filler(pixels: NDArray[np.uint8]) -> bool:
    return bool(np.isin(pixels, FILLER).all())


def _damaged() -> FilmError:
    return FilmError(
        "damaged", "a part of the film's data is missing or broken; copy or export it again"
    )


def _leaves_data_over(data: bytes) -> bool:
    """Whether a JPEG with a run of zeros is full before its coded data end.

    What is cut off is more than the last blocks can hold, so that a whole film lacks them, and shows
    filler. It is not told of one that ends in that grey anyway, nor of one in several scans, whose others
    cover for what one of them lacks.
    """
    if _ZEROS not in data or read_jpeg_header(data).buffered:
        return False
    start, end = _first_scan(data)
    if data.find(_ZEROS, start, end) < 0:
        return False
    end = max(start, end - _BLOCK_BYTES * jpeg_blocks(data))
    small = _small(data)
    if _is_filler(small[-1, -1]):
        return False
    return np.array_equal(small, _small(data[:end] + _EOI))


def _small(data: bytes) -> NDArray[np.uint8]:
    """All blocks of a JPEG, each as few pixels: an eighth of its size, and of its memory."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft(None, (image.width // _EIGHTH, image.height // _EIGHTH))
        return np.asarray(image)


def _with_more(data: bytes) -> bytes:
    """The file with `_MORE` at the end of its first scan's coded data."""
    _, end = _first_scan(data)
    return data[:end] + _MORE + data[end:]


def _first_scan(data: bytes) -> tuple[int, int]:
    """Where the first scan's coded data start and end."""
    start = max(end for _, _, end in jpeg_segments(data))
    marker = _SCAN_END.search(data, start)
    return start, marker.start() if marker else len(data)
