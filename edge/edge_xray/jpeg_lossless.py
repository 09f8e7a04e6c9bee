"""JPEG lossless (ITU-T T.81, annex H): how most X-ray archives store films. Numpy only.

The usual decoders for it are under the GPL or 40 MB large, and the process is simple: every sample is
predicted from its neighbours, and what is stored is a Huffman-coded difference. Where a code begins is
known only once the one before it has been read, and that alone is done one by one here: how many bits
the code at *every* bit would take is looked up beforehand, for a chunk of the stream at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import FilmError
from edge_xray.headers import jpeg_segments, read_jpeg_header

_SOF_LOSSLESS: Final = 0xC3
_DHT: Final = 0xC4
_DRI: Final = 0xDD
_SOS: Final = 0xDA

_Samples = NDArray[np.int32]
_LEFT: Final = 1
_PREDICTORS: Final[dict[int, Callable[[_Samples, _Samples, _Samples], _Samples]]] = {
    _LEFT: lambda a, _b, _c: a,
    2: lambda _a, b, _c: b,
    3: lambda _a, _b, c: c,
    4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1),
    6: lambda a, b, c: b + ((a - c) >> 1),
    7: lambda a, b, _c: (a + b) >> 1,
}
"""Table H.1, in its letters: by selection value, a sample's prediction from the one on its left (a),
above (b) and left above (c)."""

_CODE_BITS: Final = 16
"""Longest Huffman code."""

_SCAN_END: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")

_SPARE_BYTES: Final = 2
"""Unread bytes that an interval may end with; more of them are left over by a piece that became zeros."""

_CHUNK: Final = 1 << 15
"""Bytes of the stream looked up at a time; each takes some 50 bytes while it is."""

_AHEAD: Final = 4
"""Bytes beyond a chunk that the last code that begins in it may reach into."""

_STRIP_ROWS: Final = 256
"""Rows summed at a time, so that a large film is never held twice."""


@dataclass(frozen=True, eq=False)
class _Table:
    """A Huffman table, indexed by the next 16 bits.

    Attributes:
        length: (65536,) uint8, bits of the code that they begin with; 0 for none.
        category: (65536,) uint8, how many bits of difference follow (SSSS, 0..16).
        step: (65536,) uint8, bits of both together; 0 for none.
        difference: (65536,) uint16, the difference; right where ``step`` is at most 16.
    """

    length: NDArray[np.uint8]
    category: NDArray[np.uint8]
    step: NDArray[np.uint8]
    difference: NDArray[np.uint16]


def decode_jpeg_lossless(data: bytes) -> NDArray[np.uint16]:
    """Decode a grey lossless JPEG of 2 to 16 bits.

    Args:
        data: the whole stream, whose size the caller has checked.

    Returns:
        uint16, (H, W), the samples as stored.

    Raises:
        FilmError: the stream is damaged or cut, holds more data than samples, or is of another process
            or in colour.
    """
    header = read_jpeg_header(data)
    if header.marker != _SOF_LOSSLESS or header.components != 1 or not 2 <= header.bits <= 16:
        raise _unsupported(
            f"frame FF{header.marker:02X}, samples {header.components} of {header.bits} bits"
        )
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
    if predictor not in _PREDICTORS:
        raise _unsupported(f"predictor {predictor}")
    if not header.width or not header.height:
        raise _damaged("it gives no size")
    if table not in tables or shift >= header.bits:
        raise _damaged("a table is missing")
    if interval % header.width:
        raise _damaged("it restarts within a row")
    # Each restart interval is a picture of its own; the last is filled up with empty rows.
    rows = min(interval // header.width or header.height, header.height)
    pixels = np.zeros((-(-header.height // rows), rows, header.width), np.uint16)
    ending = _SCAN_END.search(data, scan)
    if not ending:
        raise _truncated()
    stop = ending.start()
    restarts = _RESTART.finditer(data, scan, stop)
    for top, part in zip(range(0, header.height, rows), pixels, strict=True):
        restart = next(restarts, None)
        wanted = part[: header.height - top].reshape(-1)
        _read_differences(data[scan : restart.start() if restart else stop], tables[table], wanted)
        scan = restart.end() if restart else stop
    if stop - scan > _SPARE_BYTES:
        raise _left_over()
    _add_predictions(pixels, predictor, 1 << (header.bits - shift - 1))
    pixels <<= np.uint16(shift)
    return pixels.reshape(-1, header.width)[: header.height]


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
        alone = np.arange(1 << _CODE_BITS, dtype=np.int64) << 16
        difference = _difference(alone, length, category)
        tables[body[0] & 15] = _Table(length, category, step.astype(np.uint8), difference)
        body = values[used:]
    return tables


def _read_differences(segment: bytes, table: _Table, into: NDArray[np.uint16]) -> None:
    """Fill ``into``, (n,) uint16, with the differences of one scan segment, modulo 65536.

    Raises:
        FilmError: the segment ends before them, goes on behind them, or holds an unknown code.
    """
    segment = segment.rstrip(b"\xff")  # fill bytes before the marker
    coded = b""
    done = at = start = 0
    while done < into.size:
        stop = min(start + _CHUNK, len(segment))
        if segment[stop - 1 : stop] == b"\xff":
            stop += 1  # a stuffed byte stays with its zero
        coded += segment[start:stop].replace(b"\xff\0", b"\xff")
        start = stop
        whole = len(coded) - (_AHEAD if stop < len(segment) else 0)
        windows = _windows(coded, whole + 2)
        steps = table.step[windows[: 8 * whole]]
        positions, at = _walk(steps.tobytes(), at, into.size - done)
        if positions.size and not steps[positions[-1]]:
            raise _damaged("it holds a code that is in no table")
        values = table.difference[windows[positions]]
        long = np.flatnonzero(steps[positions] > _CODE_BITS)
        if long.size:
            head = windows[positions[long]].astype(np.int64)
            following = head << 16 | windows[positions[long] + 16]
            values[long] = _difference(following, table.length[head], table.category[head])
        into[done : done + positions.size] = values
        done += positions.size
        if done == into.size:
            if at > 8 * len(coded):
                raise _truncated()
            if len(segment) - stop + len(coded) - -(-at // 8) > _SPARE_BYTES:
                raise _left_over()
        elif stop >= len(segment):
            raise _truncated()
        at -= 8 * whole
        coded = coded[whole:]


def _windows(coded: bytes, count: int) -> NDArray[np.uint16]:
    """The 16 bits from every bit of the first ``count`` bytes on, (8 * count,) uint16."""
    three = np.frombuffer(coded + bytes(_AHEAD), np.uint8)[: count + 2].astype(np.uint32)
    window = three[:-2] << 16 | three[1:-1] << 8 | three[2:]
    shifts = np.arange(8, 0, -1, dtype=np.uint32)
    return (window[:, None] >> shifts).astype(np.uint16).reshape(-1)


def _walk(steps: bytes, at: int, most: int) -> tuple[NDArray[np.int64], int]:
    """Go from code to code, up to ``most`` codes or the end of ``steps``.

    Args:
        steps: by bit, how many bits the code there takes; at 0 it stops.
        at: bit of the first code.
        most: codes wanted.

    Returns:
        The bits where they begin, (n,) int64, and where the next begins.
    """
    begins = bytearray(len(steps))
    try:
        for _ in repeat(None, min(most, len(steps))):
            begins[at] = 1
            at += steps[at]
    except IndexError:
        pass
    return np.flatnonzero(np.frombuffer(begins, np.bool_)), at


def _difference(
    following: NDArray[np.int64], length: NDArray[np.uint8], category: NDArray[np.uint8]
) -> NDArray[np.uint16]:
    """The differences, modulo 65536, of codes of these lengths and categories.

    Args:
        following: (n,) int64, the 32 bits from each code's first on.
        length: (n,) uint8, bits of each code.
        category: (n,) uint8, bits of difference after it.

    Returns:
        uint16, (n,).
    """
    wide = category.astype(np.int64)
    extra = (following << length & 0xFFFFFFFF) >> (32 - wide)
    # Table H.2: the lower half of each category stands for the negative differences.
    negative = extra < np.int64(1) << np.maximum(wide - 1, 0)
    value = np.where(negative, extra - (np.int64(1) << wide) + 1, extra)
    value = np.where(category == 0, 0, np.where(category == 16, 1 << 15, value))
    return value.astype(np.uint16)


def _add_predictions(pixels: NDArray[np.uint16], predictor: int, first: int) -> None:
    """Turn differences into samples, in place (H.1.2.1).

    The first sample of an interval is predicted as ``first``, the others of its first row by the one
    on their left, and the first of each later row by the one above.

    Args:
        pixels: (intervals, rows, W) uint16, differences modulo 65536.
        predictor: selection value of `_PREDICTORS`.
        first: prediction of each interval's first sample.
    """
    rows, width = pixels.shape[1:]
    pixels[:, 0, 0] += np.uint16(first)
    pixels[:, :, 0] = np.cumsum(pixels[:, :, 0], axis=1, dtype=np.uint16)
    lines = pixels.reshape(-1, width) if predictor == _LEFT else pixels[:, 0]
    for top in range(0, len(lines), _STRIP_ROWS):
        strip = lines[top : top + _STRIP_ROWS]
        strip[:] = np.cumsum(strip, axis=1, dtype=np.uint16)
    if predictor == _LEFT or width == 1:
        return
    # The samples of a rising diagonal need only those of the two before it: each is done at once.
    predict, flat, step = _PREDICTORS[predictor], pixels.reshape(len(pixels), -1), width - 1
    for diagonal in range(2, rows + width - 1):
        top, bottom = max(1, diagonal - step), min(rows - 1, diagonal - 1)
        here = slice(diagonal + top * step, diagonal + bottom * step + 1, step)
        left, above, corner = (
            flat[:, here.start - back : here.stop - back : step].astype(np.int32)
            for back in (1, width, width + 1)
        )
        flat[:, here] += predict(left, above, corner).astype(np.uint16)


def _damaged(what: str) -> FilmError:
    return FilmError("damaged", f"the lossless JPEG is damaged: {what}; copy the file again")


def _left_over() -> FilmError:
    return _damaged("it holds more data than the film takes")


def _truncated() -> FilmError:
    return FilmError("truncated", "the lossless JPEG ends before the film does; copy it again")


def _unsupported(what: str) -> FilmError:
    return FilmError(
        "dicom_decoder_missing",
        f"this kind of lossless JPEG ({what}) is not read; export the film uncompressed",
    )
