"""JPEG lossless, first-order prediction: how most X-ray archives store films. Numpy only.

The usual decoders for it are under the GPL or 40 MB large, and the process is simple (ITU-T T.81,
annex H): every sample is its left neighbour plus a Huffman-coded difference. Where a code begins is
known only once the one before it has been read, and that alone is done one by one here: how many bits
the code at *every* bit would take is looked up beforehand, all at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import FilmError
from edge_xray.headers import jpeg_segments, read_jpeg_header

_SOF_LOSSLESS: Final = 0xC3
_DHT: Final = 0xC4
_DRI: Final = 0xDD
_SOS: Final = 0xDA

_LEFT: Final = 1
"""Predictor "left neighbour" (table H.1), the one DICOM's selection value 1 stands for."""

_CODE_BITS: Final = 16
"""Longest Huffman code."""

_SCAN_END: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")

_BLOCK: Final = 1 << 16
"""Samples whose positions are held as Python numbers at a time."""


@dataclass(frozen=True, eq=False)
class _Table:
    """A Huffman table, indexed by the next 16 bits.

    Attributes:
        length: (65536,) uint8, bits of the code that they begin with; 0 for none.
        category: (65536,) uint8, how many bits of difference follow (SSSS, 0..16).
        step: (65536,) uint8, bits of both together; 0 for none.
    """

    length: NDArray[np.uint8]
    category: NDArray[np.uint8]
    step: NDArray[np.uint8]


def decode_jpeg_lossless(data: bytes) -> NDArray[np.uint16]:
    """Decode a grey lossless JPEG of 2 to 16 bits.

    Args:
        data: the whole stream, whose size the caller has checked.

    Returns:
        uint16, (H, W), the samples as stored.

    Raises:
        FilmError: the stream is damaged or cut, in colour, or uses another predictor.
    """
    header = read_jpeg_header(data)
    if header.marker != _SOF_LOSSLESS or header.components != 1 or not 2 <= header.bits <= 16:
        raise _unsupported(f"{header.components} components of {header.bits} bits")
    tables: dict[int, _Table] = {}
    interval = table = predictor = shift = scan = 0
    for marker, start, end in jpeg_segments(data):
        body = data[start:end]
        if marker == _DHT:
            tables.update(_read_tables(body))
        elif marker == _DRI and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif marker == _SOS:
            if len(body) < 6 or body[0] != 1:
                raise _unsupported("several scans")
            table, predictor, shift, scan = body[2] >> 4, body[3], body[5] & 15, end
    if predictor != _LEFT:
        raise _unsupported(f"predictor {predictor}")
    if table not in tables or shift >= header.bits:
        raise _damaged("a table is missing")
    if interval % header.width:
        raise _damaged("it restarts within a row")
    stop = _SCAN_END.search(data, scan)
    segments = _RESTART.split(data[scan : stop.start() if stop else len(data)])
    rows = interval // header.width or header.height
    start_value = 1 << (header.bits - shift - 1)
    pixels = np.empty((header.height, header.width), np.uint16)
    for index, top in enumerate(range(0, header.height, rows)):
        if index >= len(segments):
            raise _truncated()
        part = pixels[top : top + rows]
        differences = _differences(segments[index], tables[table], part.size)
        differences = differences.reshape(part.shape)
        differences[:, 0] = np.cumsum(differences[:, 0]) + start_value
        part[:] = np.cumsum(differences, axis=1) & 0xFFFF
    return pixels << np.uint16(shift)


def _read_tables(body: bytes) -> dict[int, _Table]:
    """The Huffman tables of one DHT segment (annex C gives the codes in order of length)."""
    tables = {}
    while body:
        counts, values = body[1:17], body[17:]
        if len(counts) < 16 or len(values) < sum(counts):
            raise _damaged("a Huffman table is cut")
        length = np.zeros(1 << _CODE_BITS, np.uint8)
        category = np.zeros(1 << _CODE_BITS, np.uint8)
        at = used = 0
        for bits, count in enumerate(counts, 1):
            span = 1 << (_CODE_BITS - bits)
            for value in values[used : used + count]:
                if value > 16 or at + span > 1 << _CODE_BITS:
                    raise _damaged("a Huffman table is wrong")
                length[at : at + span] = bits
                category[at : at + span] = value
                at += span
            used += count
        # A difference of category 16 is 32768 and has no further bits.
        step = np.where(length > 0, length + np.where(category < 16, category, 0), 0)
        tables[body[0] & 15] = _Table(length, category, step.astype(np.uint8))
        body = values[used:]
    return tables


def _differences(segment: bytes, table: _Table, count: int) -> NDArray[np.int64]:
    """The next ``count`` differences of a scan segment, (count,) int64."""
    coded = np.frombuffer(segment.replace(b"\xff\0", b"\xff") + bytes(5), np.uint8)
    steps = np.empty((coded.size - 4, 8), np.uint8)
    window = coded[:-4].astype(np.uint32) << 16
    window |= coded[1:-3].astype(np.uint32) << 8
    window |= coded[2:-2]
    for bit in range(8):
        steps[:, bit] = table.step[(window >> np.uint32(8 - bit)) & 0xFFFF]
    jumps = steps.tobytes()
    end = 8 * (coded.size - 5)
    values = np.empty(count, np.int64)
    at = 0
    for first in range(0, count, _BLOCK):
        wanted = min(_BLOCK, count - first)
        positions: list[int] = []
        append = positions.append
        try:
            for _ in range(wanted):
                append(at)
                at += jumps[at]
        except IndexError:
            raise _truncated() from None
        values[first : first + wanted] = _values(coded, np.array(positions), table)
    if at > end:
        raise _truncated()
    return values


def _values(
    coded: NDArray[np.uint8], positions: NDArray[np.int64], table: _Table
) -> NDArray[np.int64]:
    """The differences whose codes begin at these bits."""
    byte, bit = positions >> 3, positions & 7
    window = np.zeros(len(positions), np.int64)
    for offset in range(5):
        window = window << 8 | coded[byte + offset]
    following = window >> (8 - bit) & 0xFFFFFFFF
    index = following >> 16
    length = table.length[index].astype(np.int64)
    if not length.all():
        raise _damaged("it holds a code that is in no table")
    category = table.category[index].astype(np.int64)
    extra = (following << length & 0xFFFFFFFF) >> (32 - category)
    # Table H.2: the lower half of each category stands for the negative differences.
    negative = extra < np.int64(1) << np.maximum(category - 1, 0)
    value = np.where(negative, extra - (np.int64(1) << category) + 1, extra)
    return np.where(category == 0, 0, np.where(category == 16, 1 << 15, value))


def _damaged(what: str) -> FilmError:
    return FilmError("damaged", f"the lossless JPEG is damaged: {what}; copy the file again")


def _truncated() -> FilmError:
    return FilmError("truncated", "the lossless JPEG ends before the film does; copy it again")


def _unsupported(what: str) -> FilmError:
    return FilmError(
        "dicom_decoder_missing",
        f"lossless JPEG with {what} needs a decoder that is not installed; "
        "run: pip install python-gdcm, or export the film uncompressed",
    )
