"""Every Pillow mode a film can have to grey or RGB of 8 bits: one explicit branch a mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.errors import FilmError


def to_mode(image: Image.Image, wanted: str) -> Image.Image:
    """A picture of any mode as ``L`` or ``RGB``.

    Args:
        image: loaded.
        wanted: ``L`` or ``RGB``.

    Raises:
        FilmError: a mode that no film has, or values that are no grey values.
    """
    convert = _MODES.get(image.mode)
    if convert is None:
        raise FilmError(
            "unsupported_mode",
            f"pixels of Pillow mode {image.mode!r} are not read; export the film as grey JPEG or PNG",
        )
    converted = convert(image)
    return converted if converted.mode == wanted else converted.convert(wanted)


def _on_black(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on black, the colour of a film's unexposed surround.

    One that would vanish altogether is shown as if nothing were transparent: some programs fill in no alpha.
    """
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (0, 0):
        return rgba.convert("RGB")
    ground = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return Image.alpha_composite(ground, rgba).convert("RGB")


def _palette(image: Image.Image) -> Image.Image:
    return _on_black(image) if "transparency" in image.info else image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Grey as it is, but black where a PNG names one of its values as transparent."""
    clear = image.info.get("transparency")
    if clear is None:
        return image
    return image.point([0 if value == clear else value for value in range(256)])


def _wide_integer(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    clear = image.info.get("transparency")
    return Image.fromarray(
        wide_to_uint8(values if clear is None else np.where(values == clear, 0, values))
    )


def _float(image: Image.Image) -> Image.Image:
    values = np.array(image, np.float32)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FilmError("damaged", "the film holds values that are no numbers; export it again")
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    # In place: a large film of floats is large enough once.
    values -= low
    values *= 255.0 / (high - low) if high > low else 0.0
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def wide_to_uint8(values: NDArray[np.integer], brightest: int | None = None) -> NDArray[np.uint8]:
    """Grey values of more than 8 bits to 8 bits, without clipping.

    Detectors store 10, 12 or 14 bits in 16; the depth is taken as the least of 8..32 bits that holds
    the brightest pixel, so a 12-bit film is not turned black.

    Args:
        values: integers, (H, W), >= 0.
        brightest: the greatest value of all colours; that of ``values`` if they are the only one.

    Returns:
        uint8, (H, W), the most significant 8 bits of that depth.

    Raises:
        FilmError: a value is negative.
    """
    if int(values.min()) < 0:
        raise FilmError(
            "damaged", "the film holds negative grey values; export it as 8-bit PNG or as DICOM"
        )
    top = int(values.max()) if brightest is None else brightest
    depth = max(8, top.bit_length())
    shifted: NDArray[np.integer] = np.right_shift(values, depth - 8)
    return shifted.astype(np.uint8)


_MODES: Final[dict[str, Callable[[Image.Image], Image.Image]]] = {
    "1": _grey,
    "L": _grey,
    "LA": _on_black,
    "La": _on_black,
    "P": _palette,
    "PA": _on_black,
    "RGB": lambda image: _on_black(image) if "transparency" in image.info else image,
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
