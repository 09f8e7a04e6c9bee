"""Whether a JPEG's data are those of its whole picture, which libjpeg tells, and Pillow passes no word of.

libjpeg decodes what it can. Where a piece of the coded data is lost, or others stand in its place, the codes
after it are read to the end all the same, and the picture comes out too short by some blocks, which are
filled with grey, or is full before its data end. So Pillow gets the data in pieces: it must ask for the
last of them, and for nothing behind them.
"""

from __future__ import annotations

import io
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.errors import FilmError, broken_data
from edge_xray.headers import SOF_PROGRESSIVE, check_jpeg_end, jpeg_segments, read_jpeg_header

FILLER: Final = (127, 128)
"""What libjpeg fills with: 128, the level of a block whose coefficients are all zero; 127 in a CMYK that is stored
as a negative, as Adobe does."""

SHORT_SHARE: Final = 0.01
"""Share of the rows, all filled, from which the data count as cut short."""

_AHEAD: Final = bytes(range(1, 9))
"""Coded data behind a picture's own: libjpeg takes in 57 bits at a time (``MIN_GET_BITS``), also for its last code."""

_SPARE_BYTES: Final = 16
_SPARE_ZEROS: Final = 256
"""Bytes behind the last code that some cameras leave, of any kind and zeros: no piece is lost where they are left over."""

_MORE: Final = bytes(range(1, 255)) * 4
"""Coded data that a whole scan has no use for, and one that lacks some takes for its own."""

_MARK: Final = 0xFF
_EOI: Final = b"\xff\xd9"

_BLOCK_BYTES: Final = 208
_MEANS_BYTES: Final = 34
"""Most coded bytes of a block, 64 values of 26 bits, and of the means of 10 blocks of several colours, which a
progressive JPEG codes together (ITU-T T.81, B.2.3)."""

_SCAN_END: Final = re.compile(rb"\xff[^\0\xd0-\xd7\xff]", re.DOTALL)
"""The first marker after coded data: no stuffed byte and no restart."""

_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
_RESTARTS: Final = 8
"""Markers between coded data that stand by themselves, numbered 0 to 7 over and over (ITU-T T.81, F.1.1.5.2)."""

_EIGHTH: Final = 8


class JpegStream(io.BytesIO):
    """A JPEG for Pillow to read, which notes how much of it the picture took.

    Of a JPEG in several scans nothing is noted, since libjpeg reads all of them before it gives the first row.
    """

    def __init__(self, data: bytes) -> None:
        """Take a JPEG whose header is sound."""
        super().__init__(data)
        self._data = data
        self._several = read_jpeg_header(data).buffered
        self._start, self._end = _first_scan(data)
        zeros = data[max(self._start, self._end - _SPARE_ZEROS) : self._end]
        spare = len(zeros) - len(zeros.rstrip(b"\0")) + _SPARE_BYTES
        self._last = max(self._start, self._end - spare)
        self._asked = 0

    def read(self, size: int | None = -1) -> bytes:
        """Read on, but first no further than to the last of the coded data, then to their end."""
        at = self.tell()
        if self._several:
            return super().read(size)
        if at < self._last:
            most = self._last - at
            return super().read(most if size is None or size < 0 else min(size, most))
        self._asked += 1
        if self._asked == 1:
            return super().read(self._end - at) + _AHEAD
        return super().read(size)

    def check(self, image: Image.Image) -> None:
        """Refuse a JPEG whose picture took less or more than its data.

        Args:
            image: opened from this stream and loaded, perhaps at reduced scale.

        Raises:
            FilmError: ``truncated`` if rows or the end mark are missing, ``damaged`` if it is anything else.
        """
        check_jpeg_end(self._data, self._end)
        rows = max(1, round(image.height * SHORT_SHARE))
        bottom = np.asarray(image.crop((0, image.height - rows, image.width, image.height)))
        if self._several:
            lacks, left_over = _judge_first_scan(self._data)
        else:
            lacks, left_over = self._asked > 1, self._asked == 0
        if lacks and _is_filler(bottom):
            raise FilmError(
                "truncated", "the JPEG ends before the film does; copy or export it again"
            )
        if lacks or left_over or not self._restarts_in_order():
            raise broken_data()

    def _restarts_in_order(self) -> bool:
        """Whether no restart marker of the first scan is lost; asked last, for a broken file may hold millions."""
        found = _RESTART.finditer(self._data, self._start, self._end)
        return all(at[0][1] % _RESTARTS == n % _RESTARTS for n, at in enumerate(found))


def check_jpeg_data(data: bytes) -> None:
    """Decode a JPEG as small as can be, to refuse one whose picture took less or more than its data.

    Raises:
        FilmError: as `JpegStream.check`.
    """
    stream = JpegStream(data)
    stream.check(_small(stream))


def _is_filler(pixels: NDArray[np.uint8]) -> bool:
    return bool(np.isin(pixels, FILLER).all())


def _judge_first_scan(data: bytes) -> tuple[bool, bool]:
    """Whether the first of several scans lacks data, and whether some are left over.

    It holds at least the means of all blocks. One that lacks none does not change with more behind it, and one that
    needs its last does without them, unless what they say is the filler's grey, or with others in their place, unless
    all of these are darker than black. What is behind a restart marker was bounded by it, and is not judged.
    """
    header = read_jpeg_header(data)
    start, end = _first_scan(data)
    if header.marker != SOF_PROGRESSIVE:
        last = _BLOCK_BYTES
    else:
        last = _SPARE_BYTES if header.components == 1 else _MEANS_BYTES
    cut = max(start, end - last)
    cut -= data[cut - 1] == _MARK  # what follows it belongs to it
    whole = _first_picture(data[:end])
    lacks = _first_picture(data[:end] + _MORE) != whole
    if lacks or len(set(whole)) == 1 or _RESTART.search(data, cut, end):
        return lacks, False
    return lacks, all(_first_picture(data[:cut] + other) == whole for other in (b"", _MORE))


def _first_picture(data: bytes) -> bytes:
    """The pixels that a JPEG cut within its first scan gives."""
    return _small(io.BytesIO(data + _EOI)).tobytes()


def _small(stream: io.BytesIO) -> Image.Image:
    """All blocks of a JPEG, each as few pixels: an eighth of its size, and of its memory."""
    with Image.open(stream, formats=("JPEG",)) as image:
        # A strip of a TIFF can have fewer rows than a block.
        image.draft(None, (-(-image.width // _EIGHTH), -(-image.height // _EIGHTH)))
        image.load()
        return image


def _first_scan(data: bytes) -> tuple[int, int]:
    """Where the first scan's coded data start and end."""
    start = max(end for _, _, end in jpeg_segments(data))
    marker = _SCAN_END.search(data, start)
    end = marker.start() if marker else len(data)
    while end > start and data[end - 1] == _MARK:  # as many as one likes before a marker
        end -= 1
    return start, end
