"""Rows that are missing in a PNG whose packed data end early, as their own end mark and checksums allow.

Pillow stops at that mark, reports nothing, and leaves what it has no data for at zero.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image

from edge_xray.errors import FilmError
from edge_xray.headers import PngHeader

_PIECE: Final = 1 << 16
"""Bytes packed and unpacked at a time: nothing of them is kept, and what waits to be unpacked is copied each time."""


def check_rows(
    image: Image.Image, data: bytes, png: PngHeader, chunks: Sequence[tuple[bytes, int, int]]
) -> None:
    """Refuse a loaded PNG that holds fewer rows than its header says.

    Most films are proven whole by a look at the row that is stored last. Only where that is all zero,
    as the black edge of a film is too, are the data unpacked once more and counted.

    Args:
        image: loaded, as Pillow's decoder left it.
        data: the whole file.
        png: its header.
        chunks: kind, start and end of each of its chunks.

    Raises:
        FilmError: rows are missing.
    """
    # The seventh and last pass of an interlaced one holds every second row, and begins with the second.
    last = png.height // 2 * 2 - 1 if png.interlaced else png.height - 1
    if np.asarray(image.crop((0, last, png.width, last + 1))).any():
        return
    engine = zlib.decompressobj()
    missing = png.decoded_bytes
    view = memoryview(data)
    for kind, start, end in chunks:
        for begin in range(start, end, _PIECE) if kind == b"IDAT" else ():
            packed: bytes | memoryview = view[begin : min(begin + _PIECE, end)]
            while packed and missing > 0:
                missing -= len(engine.decompress(packed, _PIECE))
                packed = engine.unconsumed_tail
    if missing > 0:
        raise FilmError("truncated", "the PNG ends before the film does; copy or export it again")
