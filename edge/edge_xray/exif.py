"""What cameras and scanners write beside the pixels: which way is up, and that other pictures follow.

Only that much is read, in bounded time. Pillow never sees these blocks of a JPEG: before version 13 it
copies whatever a block of a few hundred bytes claims to hold, time and again. A broken block says
nothing; the film beside it is whole.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Mapping
from typing import Any, Final, Literal

from edge_xray.errors import FilmError
from edge_xray.headers import JpegHeader, jpeg_frame_size, jpeg_segments

UPRIGHT: Final = 1
"""The EXIF orientation of a picture stored as it is to be seen."""

_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
_LONG: Final = 4
"""Tag and types of EXIF 2.32, table 4."""

_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')

_APP1: Final = 0xE1
_APP2: Final = 0xE2
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_MULTI_PICTURE: Final = b"MPF\0"

_PICTURES: Final = 0xB002
_PICTURE: Final = struct.Struct("4s4s4s4x")
"""Entries of the multi-picture format (CIPA DC-007, 5.2.3.3): attributes, size, offset."""

_MULTI_FRAME: Final = 2
"""Its class of types whose pictures stand in equal rights: panorama, stereo pair, angles."""

_MOST_PREVIEWS: Final = 8
"""Pictures behind the first that can be previews; cameras write four at most."""

_GAIN_MAP: Final = b"hdrgm:Version"
"""What a JPEG says whose second picture, of any size, only tells how bright the first may shine."""


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """Which way up a picture is stored.

    Args:
        exif: the EXIF block, with or without its six bytes of name; may be anything.
        xmp: the XMP packet, asked if EXIF does not say.

    Returns:
        1..8 as in EXIF 2.32, 4.6.4 A; 1 if nothing or nonsense is said.
    """
    # Twice: Pillow puts the name before a PNG's block, and so do some writers.
    entry = _entry(exif.removeprefix(_EXIF).removeprefix(_EXIF), _ORIENTATION)
    if entry is not None:
        order, kind, count, field = entry
        value = int.from_bytes(field[: {_SHORT: 2, _LONG: 4}.get(kind, 0)], order)
        return value if count == 1 and 1 <= value <= 8 else UPRIGHT
    found = _XMP_ORIENTATION.search(xmp)
    return int(found[1]) if found else UPRIGHT


def png_orientation(info: Mapping[Any, object]) -> int:
    """Which way up a PNG is stored, from its texts and blocks as Pillow holds them, unparsed."""
    exif, profile, xmp = (
        info.get(key, b"") for key in ("exif", "Raw profile type exif", "XML:com.adobe.xmp")
    )
    if not exif and isinstance(profile, str):
        # ImageMagick's way before PNG had a chunk for it: a name, a length, then hexadecimal lines.
        with contextlib.suppress(ValueError):
            exif = bytes.fromhex("".join(profile.split("\n", 3)[3:]))
    return orientation(
        exif if isinstance(exif, bytes) else b"",
        xmp.encode("utf-8", "replace") if isinstance(xmp, str) else b"",
    )


def without_exif(data: bytes, header: JpegHeader) -> tuple[bytes, int]:
    """A JPEG without its EXIF and multi-picture blocks, and the orientation that they gave it.

    Args:
        data: the whole file.
        header: its header.

    Raises:
        FilmError: another picture in the file is as good as the first.
    """
    exif = xmp = pictures = b""
    pictures_at = 0
    parts, kept = [], 0
    for marker, start, end in jpeg_segments(data):
        if marker == _APP1 and data.startswith(_EXIF, start):
            exif = exif or data[start:end]
        elif marker == _APP2 and data.startswith(_MULTI_PICTURE, start):
            pictures_at = start + len(_MULTI_PICTURE)
            pictures = data[pictures_at:end]
        else:
            if marker == _APP1 and data.startswith(_XMP, start):
                xmp = xmp or data[start:end]
            continue
        parts.append(data[kept : start - 4])
        kept = end
    if pictures and _GAIN_MAP not in xmp:
        _check_pictures(data, pictures, pictures_at, header.width * header.height)
    return b"".join((*parts, data[kept:])) if parts else data, orientation(exif, xmp)


def _check_pictures(data: bytes, block: bytes, block_at: int, pixels: int) -> None:
    """Tell previews, which are smaller, from a second film."""
    entry = _entry(block, _PICTURES)
    if entry is None:
        return
    order, _, length, field = entry
    at = int.from_bytes(field, order)
    table = block[at : at + length]
    others = list(_PICTURE.iter_unpack(table[: len(table) // 16 * 16]))[1:]
    several = len(others) > _MOST_PREVIEWS
    for attributes, _, offset in others[:_MOST_PREVIEWS]:
        several |= int.from_bytes(attributes, order) >> 16 & 0xFF == _MULTI_FRAME
        with contextlib.suppress(FilmError):
            width, height = jpeg_frame_size(data, block_at + int.from_bytes(offset, order))
            several |= width * height >= pixels
    if several:
        raise FilmError(
            "several_frames",
            "the JPEG holds several pictures, and not as previews; save the film as a file of its own",
        )


def _entry(block: bytes, wanted: int) -> tuple[Literal["little", "big"], int, int, bytes] | None:
    """One entry of a block's first directory (TIFF 6.0, section 2).

    Returns:
        Byte order, type, count and the field that holds the value or its offset; None if not there.
    """
    order: Literal["little", "big"] = "little" if block.startswith(b"II*\0") else "big"
    if order == "big" and not block.startswith(b"MM\0*"):
        return None
    at = int.from_bytes(block[4:8], order)
    entries = int.from_bytes(block[at : at + 2], order)
    for start in range(at + 2, min(at + 2 + 12 * entries, len(block) - 11), 12):
        if int.from_bytes(block[start : start + 2], order) == wanted:
            kind = int.from_bytes(block[start + 2 : start + 4], order)
            count = int.from_bytes(block[start + 4 : start + 8], order)
            return order, kind, count, block[start + 8 : start + 12]
    return None
