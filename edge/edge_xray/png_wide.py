"""PNGs of 16 bits a sample with colour or transparency, of which Pillow keeps the top byte only.

A film of 12 bits stored so would turn black, while the same film in plain grey is read whole.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.errors import FilmError
from edge_xray.headers import PNG_MAGIC, PngHeader
from edge_xray.modes import wide_to_uint8

_OPAQUE: Final = 65535


def read_wide_png(
    data: bytes, png: PngHeader, chunks: Sequence[tuple[bytes, int, int]]
) -> Image.Image:
    """Read such a PNG, laid on black, at the depth that its brightest sample needs.

    Args:
        data: the whole file.
        png: its header.
        chunks: kind, start and end of each of its chunks.

    Returns:
        Mode ``L`` or ``RGB``.

    Raises:
        FilmError: it is interlaced, or its pixels are cut.
        zlib.error: its pixels are damaged.
    """
    if png.interlaced:
        raise FilmError(
            "unsupported_mode",
            "an interlaced PNG of 16 bits with colour or transparency is not read; "
            "export the film as plain grey PNG or as JPEG",
        )
    samples = _samples(data, png, chunks)
    alpha = samples.pop() if png.channels in (2, 4) else None
    key = [data[start:end] for kind, start, end in chunks if kind == b"tRNS"]
    if key and png.channels == 3 and len(key[0]) == 6:
        clear = np.ones((png.height, png.width), np.bool_)
        for values, hidden in zip(samples, struct.unpack(">3H", key[0]), strict=True):
            clear &= values == hidden
        alpha = np.where(clear, 0, _OPAQUE).astype(np.uint16)
    # One that would vanish altogether is shown, as one of 8 bits is: some programs fill in no alpha.
    if alpha is not None and alpha.any() and int(alpha.min()) < _OPAQUE:
        for values in samples:
            shown = values.astype(np.uint32)
            shown *= alpha
            shown //= _OPAQUE
            values[:] = shown
    brightest = max(int(values.max()) for values in samples)
    bands = [Image.fromarray(wide_to_uint8(values, brightest)) for values in samples]
    return bands[0] if len(bands) == 1 else Image.merge("RGB", bands)


def _samples(
    data: bytes, png: PngHeader, chunks: Sequence[tuple[bytes, int, int]]
) -> list[NDArray[np.uint16]]:
    """All channels, each (H, W). A large film fits but once, so nothing is kept longer than needed."""
    packed = b"".join(data[start:end] for kind, start, end in chunks if kind == b"IDAT")
    raw = zlib.decompressobj().decompress(packed, png.decoded_bytes)
    if len(raw) < png.decoded_bytes:
        raise FilmError("truncated", "the PNG ends before the film does; copy or export it again")
    rows = np.frombuffer(raw, np.uint8).reshape(png.height, -1)
    return [_channel(rows, png, channel) for channel in range(png.channels)]


def _channel(rows: NDArray[np.uint8], png: PngHeader, channel: int) -> NDArray[np.uint16]:
    """One channel, unfiltered by Pillow as a grey PNG.

    A filter works on each byte of a pixel by itself (ISO/IEC 15948, 9.2), so the bytes of one channel,
    with the rows' own filter types, are the rows of a grey PNG.
    """
    lane = rows[:, 1:].reshape(png.height, png.width, png.channels, 2)[:, :, channel]
    body = np.hstack((rows[:, :1], lane.reshape(png.height, -1)))
    header = struct.pack(">IIBBBBB", png.width, png.height, 16, 0, 0, 0, 0)
    packed = zlib.compress(body.data, 0)
    del lane, body
    parts = [PNG_MAGIC, *_chunk(b"IHDR", header), *_chunk(b"IDAT", packed), *_chunk(b"IEND", b"")]
    del packed
    grey = io.BytesIO(b"".join(parts))
    del parts
    with Image.open(grey, formats=("PNG",)) as image:
        image.load()
        grey.close()
        return np.asarray(image).astype(np.uint16)


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)
