"""What JPEG and PNG files say of themselves before anything is decoded. Standard library only.

A decoder believes a header; here it is read first, so that a file that would be refused, or would
cost too much, never reaches one.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from edge_xray.errors import FilmError

JPEG_MAGIC: Final = b"\xff\xd8\xff"
PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"

_SOF_BASELINE: Final = 0xC0
_SOF_EXTENDED: Final = 0xC1
SOF_PROGRESSIVE: Final = 0xC2
_SOF_JPEG_LS: Final = 0xF7
"""Start of frame of JPEG-LS (ITU-T T.87, C.2.2), laid out as JPEG's own."""

_SOF_LOSSLESS: Final = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_SOF_ARITHMETIC: Final = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SOF_HIERARCHICAL: Final = frozenset({0xC5, 0xC6, 0xC7})
_SOF_SEQUENTIAL: Final = frozenset({_SOF_BASELINE, _SOF_EXTENDED})
_SOF_ALL: Final = (
    frozenset({_SOF_BASELINE, _SOF_EXTENDED, SOF_PROGRESSIVE, _SOF_JPEG_LS})
    | _SOF_LOSSLESS
    | _SOF_ARITHMETIC
    | _SOF_HIERARCHICAL
)
"""Frame markers of ITU-T T.81, table B.1, and JPEG-LS'."""

_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length: TEM, RST0..7, SOI."""

_SOS: Final = 0xDA
_EOI: Final = 0xD9

JPEG_BITS: Final = 8

_SCAN_MARKER: Final = re.compile(rb"\xff([\xc0-\xc7\xc9-\xcf\xd9-\xdd\xe0-\xef\xfe])", re.DOTALL)
"""A marker that libjpeg reads in or between scans: EOI, or one with a length. What it does not know
(02..BF) it may skip without the length, so a length believed there would hide scans from the count."""

MAX_JPEG_SCANS: Final = 64
"""Scans of one JPEG: encoders write 10 or so; each more costs a pass over the picture."""

MAX_JPEG_SEGMENTS: Final = 2000
"""Segments, and fill bytes between them, walked in one JPEG: a film has a dozen, one with a colour
profile and a preview some hundred."""

_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples a pixel by PNG colour type (ISO/IEC 15948, table 11.1)."""

_PNG_ONE_PASS: Final = ((0, 0, 1, 1),)
_PNG_PASSES: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row, and steps between columns and rows, of a PNG's passes (ISO/IEC 15948, 8.2)."""

MAX_PNG_CHUNKS: Final = 100_000
"""Chunks walked in one PNG; a film in 8 KiB pieces has a few thousand."""

MAX_PNG_TEXT: Final = 16 * 2**20
MAX_PNG_TEXTS: Final = 16 * MAX_PNG_TEXT
"""Bytes that one text or colour profile of a PNG, as an editor's history, and all of them, may unpack to."""

_PNG_PACKED: Final = (b"iCCP", b"iTXt", b"zTXt")
_DEFLATE_RATIO: Final = 1032
"""Most bytes that one of deflated data gives."""


@dataclass(frozen=True)
class JpegHeader:
    """The frame header of a JPEG or JPEG-LS stream.

    Attributes:
        width: columns.
        height: rows.
        bits: bits a sample.
        components: 1 grey, 3 colour, 4 CMYK.
        marker: second byte of the start-of-frame marker: which process.
        scans: start-of-scan markers; counted only if there may be several, else 1.
        complete: whether the scans hold every coefficient to its last bit.
        buffered: whether the picture comes in several passes, which a decoder must hold in memory.
    """

    width: int
    height: int
    bits: int
    components: int
    marker: int
    scans: int = 1
    complete: bool = True
    buffered: bool = False


@dataclass(frozen=True)
class PngHeader:
    """The header of a PNG.

    Attributes:
        width: columns.
        height: rows.
        bits: bits a sample, 1..16.
        channels: samples a pixel, 1..4.
        interlaced: whether the picture comes in seven passes.
    """

    width: int
    height: int
    bits: int
    channels: int
    interlaced: bool = False

    @property
    def wide(self) -> bool:
        """Whether it has 16 bits a sample beside colour or transparency."""
        return self.bits == 16 and self.channels > 1

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the unpacked picture, filter bytes included."""
        passes = _PNG_PASSES if self.interlaced else _PNG_ONE_PASS
        sides = (
            (-(-(self.width - x) // dx), -(-(self.height - y) // dy)) for x, y, dx, dy in passes
        )
        return sum(
            rows * (1 + -(-columns * self.bits * self.channels // 8))
            for columns, rows in sides
            if columns > 0  # a pass without pixels has no rows
        )


def jpeg_segments(data: bytes, at: int = 0) -> Iterator[tuple[int, int, int]]:
    """Walk a JPEG's segments up to its first scan.

    Args:
        data: the whole stream.
        at: where the JPEG starts in it.

    Yields:
        The marker's second byte, and where its payload starts and ends; the scan's own header last.

    Raises:
        FilmError: a marker is missing, there are too many, or the stream ends before its first scan.
    """
    at += 2
    for _ in range(MAX_JPEG_SEGMENTS):
        if at + 4 > len(data):
            raise _truncated("JPEG")
        if data[at] != 0xFF:
            raise FilmError("damaged", "the JPEG is damaged: a marker is missing; copy it again")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            end = at + 2 + length
            if marker == _EOI or length < 2 or end > len(data):
                raise _truncated("JPEG")
            yield marker, at + 4, end
            if marker == _SOS:
                return
            at = end
    raise _too_many_segments()


def _too_many_segments() -> FilmError:
    return FilmError("damaged", "the JPEG has far too many segments; export the film again")


def _truncated(kind: str) -> FilmError:
    return FilmError("truncated", f"the {kind} ends before the film does; copy or export it again")


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Find the start of frame of a JPEG or JPEG-LS stream.

    Args:
        data: the whole file, or one DICOM frame.

    Raises:
        FilmError: the stream is no JPEG, or ends or breaks before its first scan.
    """
    header = None
    first_scan = 0
    for marker, start, end in jpeg_segments(data):
        if marker in _SOF_ALL:
            if header is not None:
                raise FilmError("damaged", "the JPEG has two frame headers; export the film again")
            if end - start < 6:
                raise FilmError("damaged", "the JPEG's frame header is cut; copy it again")
            bits, height, width, components = struct.unpack_from(">BHHB", data, start)
            header = JpegHeader(width, height, bits, components, marker)
        elif marker == _SOS and start < end:
            first_scan = data[start]
    if header is None:
        raise FilmError("damaged", "the JPEG has no frame header; copy or export it again")
    # A sequential picture whose first scan holds every component has no other: libjpeg refuses one.
    several = header.marker in _SOF_SEQUENTIAL and first_scan < header.components
    if several or header.marker == SOF_PROGRESSIVE:
        scans, complete = _read_scans(data, header)
        header = replace(header, scans=scans, complete=complete, buffered=True)
    return header


def jpeg_frame_size(data: bytes, at: int) -> tuple[int, int]:
    """Columns and rows of a JPEG that starts somewhere in a file; zeros if none does.

    Raises:
        FilmError: it ends or breaks before its first scan.
    """
    if data[at : at + 3] == JPEG_MAGIC:
        for marker, start, end in jpeg_segments(data, at):
            if marker in _SOF_ALL and end - start >= 6:
                height, width = struct.unpack_from(">HH", data, start + 1)
                return width, height
    return 0, 0


def _read_scans(data: bytes, header: JpegHeader) -> tuple[int, bool]:
    """Count a picture's scans, and whether they give every coefficient's last bit."""
    progressive = header.marker == SOF_PROGRESSIVE
    bands = 64 if progressive else 1
    missing = {(component, band) for component in range(header.components) for band in range(bands)}
    names: list[int] = []
    scans = 0
    end = 2
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = _SCAN_MARKER.search(data, end)
        if marker is None or marker[1][0] == _EOI or scans > MAX_JPEG_SCANS:
            return scans, not missing
        start = marker.end() + 2
        end = marker.end() + int.from_bytes(data[marker.end() : start], "big")
        if marker[1][0] == header.marker:
            names = list(data[start + 6 : end : 3])
        elif marker[1][0] == _SOS and start < end <= len(data):
            scans += 1
            count = data[start]
            first, last, bits = data[end - 3 : end] if progressive else (0, 0, 0)
            for name in data[start + 1 : start + 1 + 2 * count : 2]:
                if name in names and bits & 15 == 0:
                    missing -= {(names.index(name), band) for band in range(first, last + 1)}
    raise _too_many_segments()


def check_jpeg_end(data: bytes, end: int) -> None:
    """Refuse a JPEG whose last scan is followed by no end mark; what is behind that does not matter.

    Args:
        data: the whole stream.
        end: where its first scan's coded data end.

    Raises:
        FilmError: there is none, or too many segments before it.
    """
    for _ in range(MAX_JPEG_SEGMENTS):
        marker = _SCAN_MARKER.search(data, end)
        if marker is None:
            raise _truncated("JPEG")
        if marker[1][0] == _EOI:
            return
        end = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    raise _too_many_segments()


def check_jpeg(header: JpegHeader) -> None:
    """Refuse, by name, the kinds of JPEG that are not read.

    Raises:
        FilmError: arithmetic coding, 12 bits, lossless, hierarchical, or too many scans.
    """
    again = "export the film as an ordinary 8-bit JPEG or as PNG"
    if header.marker in _SOF_ARITHMETIC:
        raise FilmError("jpeg_arithmetic", f"JPEG with arithmetic coding is not read; {again}")
    if header.marker in _SOF_LOSSLESS or header.marker == _SOF_JPEG_LS:
        raise FilmError("jpeg_lossless", f"lossless JPEG outside DICOM is not read; {again}")
    if header.marker in _SOF_HIERARCHICAL:
        raise FilmError("jpeg_hierarchical", f"hierarchical JPEG is not read; {again}")
    if header.bits != JPEG_BITS:
        raise FilmError(
            "jpeg_12_bit", f"JPEG with {header.bits} bits a sample is not read; {again}"
        )
    if header.height == 0 or header.width == 0:
        raise FilmError("damaged", f"the JPEG's header gives no size; {again}")
    if header.scans > MAX_JPEG_SCANS:
        raise FilmError("too_large", f"the JPEG has more than {MAX_JPEG_SCANS} scans; {again}")
    if not header.complete:
        raise _truncated("JPEG")


def read_png_header(data: bytes) -> PngHeader:
    """Read a PNG's first chunk.

    Raises:
        FilmError: it is cut or no header chunk.
    """
    if len(data) < 33:
        raise _truncated("PNG")
    length, kind = struct.unpack_from(">I4s", data, 8)
    if length != 13 or kind != b"IHDR":
        raise FilmError("damaged", "the PNG does not begin with its header; export it again")
    width, height, bits, colour, interlace = struct.unpack_from(">IIBBxxB", data, 16)
    if colour not in _PNG_CHANNELS or bits not in (1, 2, 4, 8, 16) or not (width and height):
        raise FilmError("damaged", "the PNG's header is damaged; export the film again")
    return PngHeader(width, height, bits, _PNG_CHANNELS[colour], interlace != 0)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Walk a PNG's chunks, and check each one's checksum, which Pillow skips for the pixels.

    Yields:
        A chunk's kind, and where its content starts and ends; the last is ``IEND``.

    Raises:
        FilmError: a checksum is wrong, the file ends early, its texts and profiles may unpack to very much, or it
            holds an animation.
    """
    at, texts = len(PNG_MAGIC), 0
    view = memoryview(data)
    for _ in range(MAX_PNG_CHUNKS):
        if at + 12 > len(data):
            raise _truncated("PNG")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise _truncated("PNG")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise FilmError(
                "damaged", "the PNG is damaged: a checksum does not fit; copy or export it again"
            )
        if kind == b"acTL":
            raise FilmError("several_frames", "the PNG is an animation; save the film by itself")
        texts += min(_DEFLATE_RATIO * length, MAX_PNG_TEXT) if kind in _PNG_PACKED else 0
        if texts > MAX_PNG_TEXTS:
            raise FilmError(
                "damaged",
                "the PNG has far too many texts or colour profiles; export the film again",
            )
        yield kind, at + 8, end
        if kind == b"IEND":
            return
        at = end + 4
    raise FilmError("damaged", f"the PNG has more than {MAX_PNG_CHUNKS} pieces; export it again")
