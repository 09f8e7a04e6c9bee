"""A film's file to uint8 pixels, with one explicit branch for every way a file can hold them.

Content decides what a file is, never its name. Sizes are read from headers before anything is
decoded. Whatever a decoder throws becomes a `FilmError` with a reason.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, PngImagePlugin, UnidentifiedImageError

from edge_xray import headers
from edge_xray.errors import FilmError
from edge_xray.exif import UPRIGHT, png_orientation, without_exif
from edge_xray.film_file import (
    BMP_MAGIC,
    MAX_FILE_BYTES,
    TIFF_MAGIC,
    copied_as_text,
    is_dicom,
    read_file,
)
from edge_xray.input_spec import InputSpec
from edge_xray.jpeg_whole import JpegStream
from edge_xray.modes import to_mode
from edge_xray.png_rows import check_rows
from edge_xray.png_wide import read_wide_png
from edge_xray.preprocess import reduction_factor
from edge_xray.tiff_pieces import check_data, check_pieces, check_wide_colour

if TYPE_CHECKING:
    from edge_xray.dicom_tags import DicomTags

MAX_PIXELS: Final = 50_000_000
"""Largest film decoded, in pixels: above any chest film (a 43 cm plate at 0.1 mm is 18 million)."""

MIN_SIDE: Final = 28
"""Smallest side, in pixels, that can hold a film: the smallest copies in use (MedMNIST) have 28."""

REASONS: Final = {
    "damaged": "the content breaks the rules of its format, or its checksums do not fit",
    "decoder_crashed": "the decoder broke down, and only its own process with it",
    "dicom_decoder_missing": "a DICOM file compressed in a way that no installed decoder reads",
    "dicom_extra_missing": "a DICOM file, and the extra `dicom`, which reads it, is not installed",
    "empty_file": "no byte in it",
    "file_too_large": f"more than {MAX_FILE_BYTES // 2**20} MiB",
    "jpeg_12_bit": "a JPEG of more than 8 bits a sample",
    "jpeg_arithmetic": "a JPEG with arithmetic coding",
    "jpeg_hierarchical": "a hierarchical JPEG",
    "jpeg_lossless": "a lossless JPEG outside DICOM",
    "no_decoder_process": "the operating system started no process to decode the file in",
    "no_picture": "a DICOM file without pixels, such as a report",
    "not_a_file": "a pipe, a device or a folder",
    "not_an_image": "no JPEG, PNG, TIFF, BMP or DICOM",
    "out_of_memory": "the machine had too little memory left for the film",
    "several_frames": "more than one picture in the file; a smaller preview in a JPEG does not count",
    "too_large": f"more than {MAX_PIXELS // 10**6} million pixels, or too much for the memory allowed",
    "too_small": f"fewer than {MIN_SIDE} pixels a side",
    "too_slow": "decoding took longer than allowed",
    "truncated": "the file ends before the film does",
    "unreadable": "the operating system refused to read the file",
    "unsupported_mode": "pixels of a kind that is not read",
}
"""Every reason a file can have for not being decoded, with what it means."""

MACHINE_REASONS: Final = frozenset(
    {
        "dicom_decoder_missing",
        "dicom_extra_missing",
        "no_answer",
        "no_decoder_process",
        "out_of_memory",
        "too_slow",
        "unreadable",
    }
)
"""Reasons that lie with the machine, not with the film: the next scan tries such a film again.

One is not a decoder's: ``no_answer`` of `edge_xray.gate`."""

_COLOUR_MODES: Final = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
_COLOUR_SAMPLE: Final = 64
"""Side, in pixels, of the sample that tells a grey picture from one in colour."""

# Pillow takes a PNG for broken where one of its texts or its colour profile unpacks to more than a megabyte.
# All texts that it keeps stay bounded by its 64 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = headers.MAX_PNG_TEXT

_PHOTOMETRIC: Final = 262
_MIN_IS_WHITE: Final = 0
"""TIFF tag, and its value for a film stored as a negative (TIFF 6.0, section 4)."""

_WIDE_MODES: Final = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
"""Modes that Pillow leaves as stored where it inverts a negative of 8 bits."""

_UPRIGHTS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture upright, by its EXIF orientation."""


@dataclass(frozen=True, eq=False)
class DecodedFilm:
    """A film as pixels.

    Attributes:
        pixels: uint8, (H0, W0) grey or (H0, W0, 3) RGB; box-reduced if the file is much larger than
            the network's input (`edge_xray.preprocess.reduction_factor`).
        format: ``JPEG``, ``PNG``, ``TIFF``, ``BMP`` or ``DICOM``.
        width: columns in the file, upright.
        height: rows in the file, upright.
        tags: what a DICOM file says of the film; None for every other format.
        colour: mean spread of the three colours of the file, in levels, 0..255; 0 for a grey file.
        warnings: doubts of the decoder that the film's row carries, in plain words.
    """

    pixels: NDArray[np.uint8]
    format: str
    width: int
    height: int
    tags: DicomTags | None = None
    colour: float = 0.0
    warnings: tuple[str, ...] = ()


def decode(source: Path | bytes, spec: InputSpec) -> DecodedFilm:
    """Read a film.

    Args:
        source: a file, or the bytes of one.
        spec: the network's input; it decides grey or colour and how far a large film is reduced.

    Returns:
        The film's pixels.

    Raises:
        FilmError: the file is empty, no film, damaged, too large, or of a kind that is not read; its
            reason is one of `REASONS`.
    """
    data = source if isinstance(source, bytes) else read_file(source)
    if not data:
        raise FilmError("empty_file", "the file is empty; copy it again from the X-ray machine")
    if copied_as_text(data):
        raise FilmError(
            "damaged",
            "the film was copied as if it were text, which breaks it; copy it again as it is (FTP: binary)",
        )
    if is_dicom(data):
        from edge_xray.dicom import decode_dicom

        return decode_dicom(data, spec)
    for magic, decode_kind in (
        (headers.JPEG_MAGIC, _decode_jpeg),
        (headers.PNG_MAGIC, _decode_png),
        (TIFF_MAGIC, _decode_tiff),
        (BMP_MAGIC, _decode_bmp),
    ):
        if data.startswith(magic):
            return decode_kind(data, spec)
    raise FilmError(
        "not_an_image",
        "the content is not JPEG, PNG, TIFF, BMP or DICOM; export the film again",
    )


@contextmanager
def decoder_errors() -> Iterator[None]:
    """Turn whatever a decoder throws into a `FilmError`.

    Decoders were seen to throw SyntaxError, RecursionError, struct.error, AttributeError,
    NotImplementedError and more on damaged files: each is one more damaged file.
    """
    try:
        yield
    except (FilmError, KeyboardInterrupt, SystemExit):
        raise
    except UnidentifiedImageError as error:
        raise FilmError(
            "damaged",
            "the film's header is damaged, or names pixels of a kind that is not read; "
            "export the film as 8-bit JPEG or PNG",
        ) from error
    except (MemoryError, Image.DecompressionBombError) as error:
        raise FilmError(
            "too_large", "the film does not fit into the memory allowed; export it smaller"
        ) from error
    except BaseException as error:  # the panic of a decoder written in Rust is no Exception
        if "truncated" in str(error).lower():
            raise FilmError(
                "truncated", "the file ends before the film does; copy it again from where it came"
            ) from error
        raise FilmError("damaged", "the film is damaged; copy or export it again") from error


def quiet_decoders() -> None:
    """Silence the warnings of Pillow and pydicom in this process; every film has its own verdict."""
    for module in ("PIL", "pydicom"):
        warnings.filterwarnings("ignore", module=rf"{module}\.")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


def check_size(width: int, height: int) -> None:
    """Refuse a film whose header names a size that cannot be a film or would not fit.

    Raises:
        FilmError: with the size received and the size expected.
    """
    if width * height > MAX_PIXELS:
        raise FilmError(
            "too_large",
            f"the film has {width}x{height} pixels, more than {MAX_PIXELS // 10**6} million; "
            "export it smaller",
        )
    if min(width, height) < MIN_SIDE:
        raise FilmError(
            "too_small",
            f"the film has {width}x{height} pixels; at least {MIN_SIDE} a side are needed; export it larger",
        )


@contextmanager
def _opened(stream: io.BytesIO, kind: str) -> Iterator[Image.Image]:
    """A picture as Pillow opens it, whatever is thrown meanwhile as a `FilmError`."""
    with decoder_errors(), Image.open(stream, formats=(kind,)) as image:
        check_size(*image.size)
        yield image


def _decode_jpeg(data: bytes, spec: InputSpec) -> DecodedFilm:
    header = headers.read_jpeg_header(data)
    headers.check_jpeg(header)
    check_size(header.width, header.height)
    data, orientation = without_exif(data, header)
    stream = JpegStream(data)
    with _opened(stream, "JPEG") as image:
        # Upright and in full: loading leaves a part of it.
        size = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
        load_jpeg(image, stream, wanted_mode(spec), reduction_factor(*size, spec))
        return finish(_upright(image, orientation), "JPEG", size, spec)


def _decode_png(data: bytes, spec: InputSpec) -> DecodedFilm:
    header = headers.read_png_header(data)
    check_size(header.width, header.height)
    chunks = list(headers.png_chunks(data))
    with _opened(io.BytesIO(data), "PNG") as image:
        if header.wide:
            shown = read_wide_png(data, header, chunks)
        else:
            image.load()
            check_rows(image, data, header, chunks)
            shown = image
        shown = _upright(shown, png_orientation(image.info))
        return finish(shown, "PNG", shown.size, spec)


def _decode_tiff(data: bytes, spec: InputSpec) -> DecodedFilm:
    with _opened(io.BytesIO(data), "TIFF") as opened:
        image = _load_tiff(opened, data)
        return finish(image, "TIFF", image.size, spec)  # Pillow set it upright while it loaded it


def _decode_bmp(data: bytes, spec: InputSpec) -> DecodedFilm:
    with _opened(io.BytesIO(data), "BMP") as image:
        image.load()
        return finish(image, "BMP", image.size, spec)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """A loaded picture that is stored by an EXIF orientation, as it is to be seen."""
    return image if orientation == UPRIGHT else image.transpose(_UPRIGHTS[orientation])


def finish(
    image: Image.Image,
    kind: str,
    size: tuple[int, int],
    spec: InputSpec,
    tags: DicomTags | None = None,
) -> DecodedFilm:
    """Bring a loaded picture to the network's mode, and box-reduce it unless its decoder has done so.

    Args:
        image: of any mode, upright, in full size or reduced by the film's reduction factor.
        kind: the file's format.
        size: columns and rows in the file, upright.
        spec: the network's input.
        tags: of a DICOM file.
    """
    width, height = size
    wanted, factor = wanted_mode(spec), reduction_factor(width, height, spec)
    colour = _colour(image)
    if image.mode == "YCbCr" and wanted == "L":
        image = image.getchannel("Y")
    image = to_mode(image, wanted)
    if max(image.size) > -(-max(width, height) // factor):
        image = image.reduce(factor)
    return DecodedFilm(np.asarray(image, np.uint8), kind, width, height, tags, colour)


def _colour(image: Image.Image) -> float:
    """Mean spread of the three colours over a sample of the picture, in levels."""
    if image.mode not in _COLOUR_MODES:
        return 0.0
    sample = image.resize((_COLOUR_SAMPLE, _COLOUR_SAMPLE), Image.Resampling.NEAREST).convert("RGB")
    return float(np.ptp(np.asarray(sample, np.int16), axis=2).mean())


def _load_tiff(image: Image.Image, data: bytes) -> Image.Image:
    # One step to a second page, never Pillow's count of them: a chain of pages can be endless.
    if _has_second_page(image):
        raise FilmError(
            "several_frames",
            "the file holds several pictures; save the film as a file of its own",
        )
    tags = getattr(image, "tag_v2", {})
    check_pieces(tags)
    tags = dict(tags)
    image.load()
    check_data(tags, data)
    check_wide_colour(tags, image)
    if image.mode in _WIDE_MODES and tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:
        return ImageChops.invert(to_mode(image, "L"))
    return image


def _has_second_page(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def wanted_mode(spec: InputSpec) -> str:
    """Pillow's mode of the pixels that the network takes: ``L`` or ``RGB``."""
    return "RGB" if spec.channels == 3 else "L"


def load_jpeg(image: Image.Image, stream: JpegStream, wanted: str, factor: int) -> None:
    """Decode an opened JPEG at reduced scale, and refuse one whose picture took less or more than its data.

    Args:
        image: opened and not loaded.
        stream: what it was opened from.
        wanted: ``L`` or ``RGB``.
        factor: 1, 2, 4 or 8.

    Raises:
        FilmError: a piece of the picture's data is missing, broken or too much.
    """
    if image.mode in ("L", "RGB"):
        # Asks libjpeg for the averages of factor x factor pixels, and not to turn luma to RGB.
        mode = "YCbCr" if image.mode == "RGB" and wanted == "L" else wanted
        if _is_stored_as_rgb(image):
            mode = "RGB"  # no luma in the file, and libjpeg makes none
        image.draft(mode, (image.width // factor, image.height // factor))
    image.load()
    stream.check(image)


def _is_stored_as_rgb(image: Image.Image) -> bool:
    """Whether an opened JPEG holds red, green and blue, by libjpeg's own rule."""
    if image.mode != "RGB" or "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return bytes(layer[0] for layer in getattr(image, "layer", ())) == b"RGB"
