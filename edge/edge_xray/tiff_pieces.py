"""Strips and tiles that a TIFF does not hold: Pillow and libtiff leave some of them black, without a word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_xray.errors import FilmError

_WIDTH: Final = 256
_HEIGHT: Final = 257
_COMPRESSION: Final = 259
_STRIP_OFFSETS: Final = 273
_SAMPLES: Final = 277
_STRIP_ROWS: Final = 278
_PLANES: Final = 284
_TILE_WIDTH: Final = 322
_TILE_HEIGHT: Final = 323
_TILE_OFFSETS: Final = 324
"""Tags of TIFF 6.0, sections 8 and 15."""

_OLD_JPEG: Final = 6
"""Compression whose strips need not be named (TIFF 6.0, section 22)."""

_EACH_SAMPLE: Final = 2
"""PlanarConfiguration of a picture whose samples have strips or tiles of their own."""

_HEADER_BYTES: Final = 8
"""Length of a TIFF's header; what is said to lie in it is nowhere."""


def check_pieces(tags: Mapping[int, Any]) -> None:
    """Refuse a TIFF that names no place for some of its strips or tiles.

    Args:
        tags: of its first picture, by number, as Pillow reads them.

    Raises:
        FilmError: a strip or tile is missing.
    """
    width, height = tags[_WIDTH], tags[_HEIGHT]
    if _TILE_OFFSETS in tags:
        offsets = tags[_TILE_OFFSETS]
        pieces = -(-width // tags[_TILE_WIDTH]) * -(-height // tags[_TILE_HEIGHT])
    else:
        offsets = tags.get(_STRIP_OFFSETS)
        pieces = -(-height // (tags.get(_STRIP_ROWS) or height))
    if offsets is None or tags.get(_COMPRESSION) == _OLD_JPEG:
        return
    if tags.get(_PLANES) == _EACH_SAMPLE:
        pieces *= tags.get(_SAMPLES, 1)
    if len(offsets) < pieces or min(offsets[:pieces]) < _HEADER_BYTES:
        raise FilmError(
            "truncated", "the TIFF lacks a part of the film; copy or export the film again"
        )
