"""What Pillow and libtiff read of a TIFF otherwise than it is meant, without a word.

Strips and tiles that it does not hold are left black. A packed one that was damaged is read as far as the picture goes,
and a checksum, which lies behind that, never. Colours of 16 bits keep their upper 8, which are black in a film
of 12, and are mixed up where each colour has strips of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image

from edge_xray.errors import FilmError, broken_data
from edge_xray.headers import check_jpeg, read_jpeg_header
from edge_xray.jpeg_whole import check_jpeg_data
from edge_xray.run_lengths import check_runs

_WIDTH: Final = 256
_HEIGHT: Final = 257
_BITS: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_FILL_ORDER: Final = 266
_STRIP_OFFSETS: Final = 273
_SAMPLES: Final = 277
_STRIP_ROWS: Final = 278
_STRIP_BYTES: Final = 279
_PLANES: Final = 284
_TILE_WIDTH: Final = 322
_TILE_HEIGHT: Final = 323
_TILE_OFFSETS: Final = 324
_TILE_BYTES: Final = 325
_JPEG_TABLES: Final = 347
"""Tags of TIFF 6.0, sections 8 and 15, and of Adobe's Technical Note 2."""

_OLD_JPEG: Final = 6
"""Compression whose strips need not be named (TIFF 6.0, section 22)."""

_JPEG: Final = 7
_DEFLATE: Final = frozenset({8, 32946})
"""Compressions whose pieces are JPEGs that share their tables, and zlib streams (TIFF Technical Note 2 of Adobe, and
the number before it)."""

_RUN_LENGTHS: Final = 32773
"""Compression whose pieces are PackBits (TIFF 6.0, section 9)."""

_CHECKED: Final = _DEFLATE | {_JPEG, _RUN_LENGTHS}
"""Compressions whose data tell more than whether they give all pixels."""

_LOWEST_FIRST: Final = 2
"""FillOrder of data whose bytes are stored with their lowest bit first, packed ones too."""

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits the other way round."""

_UNPACKED_AT_ONCE: Final = 1 << 20
"""Bytes of a piece that are unpacked before they are thrown away."""

_LUMA_AND_CHROMA: Final = 6
"""PhotometricInterpretation of a picture that may hold fewer samples of its colours (TIFF 6.0, section 21)."""

_EACH_SAMPLE: Final = 2
"""PlanarConfiguration of a picture whose samples have strips or tiles of their own."""

_WIDE_BITS: Final = 16
_COLOURS: Final = 3

_LEAST_BRIGHT: Final = 64
"""Level out of 255 that the upper 8 of 16 bits reach if 15 or 16 are used."""

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


def check_data(tags: Mapping[int, Any], data: bytes) -> None:
    """Refuse a TIFF with a packed strip or tile whose data are more or fewer than its pixels take, or do not fit a checksum.

    Args:
        tags: of its first picture, by number, as Pillow reads them; the picture was loaded.
        data: the whole file.

    Raises:
        FilmError: a strip or tile is damaged.
        zlib.error: a deflated one is.
    """
    compression = tags.get(_COMPRESSION)
    if compression not in _CHECKED:
        return  # a single strip of such data, the size of the film, would be copied for nothing
    tiled = _TILE_OFFSETS in tags
    offsets = tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS, ())
    lengths = tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    for n, (offset, length) in enumerate(zip(offsets, lengths, strict=False)):
        packed = data[offset : offset + length]
        if compression != _JPEG and tags.get(_FILL_ORDER) == _LOWEST_FIRST:
            packed = packed.translate(_REVERSED)
        if compression in _DEFLATE:
            _check_deflated(packed)
        elif compression == _JPEG:
            # The tables are a JPEG without a picture, between the marks of its start and end.
            jpeg = tags.get(_JPEG_TABLES, b"\xff\xd8\xff\xd9")[:-2] + packed[2:]
            check_jpeg(header := read_jpeg_header(jpeg))
            if header.components != 2:  # which Pillow opens within a TIFF alone
                check_jpeg_data(jpeg)
        elif compression == _RUN_LENGTHS and tags.get(_PHOTOMETRIC) != _LUMA_AND_CHROMA:
            check_runs(packed, _piece_bytes(tags, n))


def _check_deflated(packed: bytes) -> None:
    """Unpack for the checksum: a decoder stops at the last pixel, and a broken piece may give that long before its end."""
    stream = zlib.decompressobj()
    while packed and not stream.eof:
        stream.decompress(packed, _UNPACKED_AT_ONCE)
        packed = stream.unconsumed_tail
    if not stream.eof:
        raise broken_data()


def _piece_bytes(tags: Mapping[int, Any], n: int) -> int:
    """Bytes of a strip or tile, unpacked."""
    height = tags[_HEIGHT]
    if _TILE_OFFSETS in tags:
        width, rows = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
    else:
        width, most = tags[_WIDTH], min(tags.get(_STRIP_ROWS) or height, height)
        rows = min(most, height - n % -(-height // most) * most)
    # All samples have as many bits, or Pillow reads none of it; some files say it once for all.
    bits = tags.get(_BITS, (1,))[0]
    if tags.get(_PLANES) != _EACH_SAMPLE:
        bits *= tags.get(_SAMPLES, 1)
    return int(rows * -(-width * bits // 8))


def check_wide_colour(tags: Mapping[int, Any], image: Image.Image) -> None:
    """Refuse a TIFF of colours of 16 bits that were not read as they are meant.

    Args:
        tags: of its first picture, by number, as Pillow reads them.
        image: loaded.

    Raises:
        FilmError: its colours have strips of their own, or fewer than 15 bits are used.
    """
    if tags.get(_SAMPLES, 1) < _COLOURS or _WIDE_BITS not in tags.get(_BITS, ()):
        return
    brightest = int(np.asarray(image.convert("RGB")).max())
    if tags.get(_PLANES) == _EACH_SAMPLE or brightest < _LEAST_BRIGHT:
        raise FilmError(
            "unsupported_mode",
            "a TIFF of colours of 16 bits is not read as it is meant; export the film as grey",
        )
