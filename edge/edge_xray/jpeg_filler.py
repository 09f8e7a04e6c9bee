"""Data that are missing in a JPEG, told by what libjpeg puts in their place.

libjpeg decodes what it can and fills the rest with grey, and Pillow passes on no word of it. Where a piece
is lost or broken, the codes after it are read to the end of the data all the same, and the picture comes
out too short by the blocks that were lost: the last of them are filled.
"""

from __future__ import annotations

import io
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.errors import FilmError
from edge_xray.headers import jpeg_segments

FILLER: Final = 128
"""What libjpeg fills with: the level of a block whose coefficients are all zero."""

SHORT_SHARE: Final = 0.01
"""Share of the rows, all filled, from which the data count as cut short."""

_MORE: Final = bytes(range(1, 255)) * 4
"""Coded data that a whole picture has no use for, and one that lacks some takes for its own."""

_SCAN_END: Final = re.compile(rb"\xff[^\0\xd0-\xd7\xff]", re.DOTALL)
"""The first marker after coded data: no stuffed byte and no restart."""

_EIGHTH: Final = 8


def check_filler(image: Image.Image, data: bytes) -> None:
    """Refuse a decoded JPEG whose end is made up.

    A film may end in a grey of that very level, in a margin say. So where one does, it is decoded again
    with more coded data behind its own: nothing changes in a film that is whole.

    Args:
        image: loaded, of mode ``L``, ``RGB`` or ``YCbCr``, perhaps at reduced scale.
        data: the file.

    Raises:
        FilmError: ``truncated`` if rows are missing, ``damaged`` if less is.
    """
    rows = max(1, round(image.height * SHORT_SHARE))
    bottom = image.crop((0, image.height - rows, image.width, image.height)).convert("L")
    if bottom.getpixel((image.width - 1, rows - 1)) != FILLER:
        return
    if np.array_equal(_small(data), _small(_with_more(data))):
        return
    if bottom.getextrema() == (FILLER, FILLER):
        raise FilmError("truncated", "the JPEG ends before the film does; copy or export it again")
    raise FilmError(
        "damaged", "a part of the film's data is missing or broken; copy or export it again"
    )


def _small(data: bytes) -> NDArray[np.uint8]:
    """All blocks of a JPEG, each as few pixels: an eighth of its size, and of its memory."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft(None, (image.width // _EIGHTH, image.height // _EIGHTH))
        return np.asarray(image)


def _with_more(data: bytes) -> bytes:
    """The file with `_MORE` at the end of its first scan's coded data."""
    start = max(end for _, _, end in jpeg_segments(data))
    marker = _SCAN_END.search(data, start)
    end = marker.start() if marker else len(data)
    return data[:end] + _MORE + data[end:]
