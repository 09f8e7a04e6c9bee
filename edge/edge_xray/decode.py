"""A film's file to uint8 pixels, with one explicit branch for every way a file can hold them.

Content decides what a file is, never its name. Sizes are read from headers before anything is
decoded. Whatever a decoder throws becomes a `FilmError` with a reason.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_xray.errors import FilmError
from edge_xray.metadata import InputSpec
from edge_xray.preprocess import reduction_factor

MAX_PIXELS: Final = 50_000_000
"""Largest film decoded, in pixels: above any chest film (a 43 cm plate at 0.1 mm is 18 million)."""

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""Largest file read."""

MIN_SIDE: Final = 28
"""Smallest side, in pixels, that can hold a film: the smallest copies in use (MedMNIST) have 28."""

RASTER_FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP")


@dataclass(frozen=True, eq=False)
class DecodedFilm:
    """A film as pixels.

    Attributes:
        pixels: uint8, (H0, W0) grey or (H0, W0, 3) RGB; box-reduced if the file is much larger than
            the network's input (`edge_xray.preprocess.reduction_factor`).
        format: ``JPEG``, ``PNG``, ``TIFF``, ``BMP`` or ``DICOM``.
        width: columns in the file, upright.
        height: rows in the file, upright.
    """

    pixels: NDArray[np.uint8]
    format: str
    width: int
    height: int


def decode(source: Path | bytes, spec: InputSpec) -> DecodedFilm:
    """Read a film.

    Args:
        source: a file, or the bytes of one.
        spec: the network's input; it decides grey or colour and how far a large film is reduced.

    Returns:
        The film's pixels.

    Raises:
        FilmError: the file is empty, no film, damaged, too large, or of a kind that is not read.
    """
    data = source if isinstance(source, bytes) else _read(source)
    if not data:
        raise FilmError("empty_file", "the file is empty; copy it again from the X-ray machine")
    if is_dicom(data):
        from edge_xray.dicom import decode_dicom

        return decode_dicom(data, spec)
    return _decode_raster(data, spec)


def is_dicom(data: bytes) -> bool:
    """Whether the content is DICOM Part 10: ``DICM`` after a preamble of 128 bytes (PS3.10 7.1)."""
    return data[128:132] == b"DICM"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise FilmError(
            "unreadable",
            f"the file cannot be read ({error.strerror or error}); check its permissions and the disk",
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise FilmError(
            "file_too_large",
            f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB; export the film as JPEG",
        )
    return data


def _decode_raster(data: bytes, spec: InputSpec) -> DecodedFilm:
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images and odd metadata; the caps below decide instead.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=RASTER_FORMATS) as image:
                return _decode_image(image, spec)
    except FilmError:
        raise
    except UnidentifiedImageError as error:
        raise FilmError(
            "not_an_image",
            "the content is not JPEG, PNG, TIFF, BMP or DICOM; export the film again",
        ) from error
    except MemoryError as error:
        raise FilmError("too_large", "the film does not fit into memory") from error
    except Exception as error:
        # Decoders were seen to throw SyntaxError, RecursionError, struct.error, AttributeError,
        # NotImplementedError and more on damaged files: each is one more damaged file.
        raise FilmError(
            "damaged", f"the film is damaged ({_short(error)}); copy or export it again"
        ) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:119] + "…"


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
            f"the film has {width}x{height} pixels; at least {MIN_SIDE} a side are needed",
        )


def _decode_image(image: Image.Image, spec: InputSpec) -> DecodedFilm:
    check_size(*image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise FilmError(
            "several_frames",
            f"the file holds {getattr(image, 'n_frames', 0)} pictures; save the film as a file of its own",
        )
    file_format = image.format or ""
    width, height = image.size
    factor = reduction_factor(width, height, spec)
    wanted = "RGB" if spec.channels == 3 else "L"
    if file_format == "JPEG" and image.mode in ("L", "RGB"):
        # Asks libjpeg for the averages of factor x factor pixels, and for luma only.
        image.draft(wanted, (width // factor, height // factor))
        image.load()
    else:
        image.load()
    orientation = image.getexif().get(0x0112, 1)
    if orientation != 1:
        image = ImageOps.exif_transpose(image)
        if orientation in (5, 6, 7, 8):
            width, height = height, width
    grey = _to_wanted(image, wanted)
    if max(grey.size) > -(-max(width, height) // factor):
        grey = grey.reduce(factor)
    return DecodedFilm(np.asarray(grey, np.uint8), file_format, width, height)


def _to_wanted(image: Image.Image, wanted: str) -> Image.Image:
    convert = _MODES.get(image.mode)
    if convert is None:
        raise FilmError(
            "unsupported_mode",
            f"pixels of Pillow mode {image.mode!r} are not read; export the film as grey JPEG or PNG",
        )
    converted = convert(image)
    return converted if converted.mode == wanted else converted.convert(wanted)


def _on_black(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on black, the colour of a film's unexposed surround."""
    rgba = image.convert("RGBA")
    ground = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return Image.alpha_composite(ground, rgba).convert("RGB")


def _palette(image: Image.Image) -> Image.Image:
    return _on_black(image) if "transparency" in image.info else image.convert("RGB")


def _wide_integer(image: Image.Image) -> Image.Image:
    return Image.fromarray(wide_to_uint8(np.asarray(image)))


def _float(image: Image.Image) -> Image.Image:
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise FilmError("damaged", "the film holds values that are no numbers; export it again")
    low, high = float(values.min()), float(values.max())
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    scale = 255.0 / (high - low) if high > low else 0.0
    return Image.fromarray(np.round((values - low) * scale).astype(np.uint8))


def wide_to_uint8(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Grey values of more than 8 bits to 8 bits, without clipping.

    Detectors store 10, 12 or 14 bits in 16; the depth is taken as the least of 8..32 bits that holds
    the brightest pixel, so a 12-bit film is not turned black.

    Args:
        values: integers, (H, W), >= 0.

    Returns:
        uint8, (H, W), the most significant 8 bits of that depth.

    Raises:
        FilmError: a value is negative.
    """
    if values.size and int(values.min()) < 0:
        raise FilmError(
            "damaged", "the film holds negative grey values; export it as 8-bit PNG or as DICOM"
        )
    depth = max(8, int(values.max(initial=0)).bit_length())
    return (values.astype(np.int64) >> (depth - 8)).astype(np.uint8)


_MODES: Final[dict[str, Callable[[Image.Image], Image.Image]]] = {
    "1": lambda image: image.convert("L"),
    "L": lambda image: image,
    "LA": _on_black,
    "La": _on_black,
    "P": _palette,
    "PA": _on_black,
    "RGB": lambda image: image,
    "RGBA": _on_black,
    "RGBa": _on_black,
    "RGBX": lambda image: image.convert("RGB"),
    "CMYK": lambda image: image.convert("RGB"),
    "YCbCr": lambda image: image.convert("RGB"),
    "LAB": lambda image: image.getchannel("L"),
    "I": _wide_integer,
    "I;16": _wide_integer,
    "I;16B": _wide_integer,
    "I;16L": _wide_integer,
    "I;16N": _wide_integer,
    "F": _float,
}
