"""Stored values of a DICOM picture to grey as its window asks: modality LUT, VOI LUT, inversion.

The order is that of PS3.4 annex N.2: stored values, modality transformation, VOI transformation, and
only then the inversion that MONOCHROME1, a PresentationLUTShape of INVERSE, or both together ask for.
pydicom reads the dataset; its own lookup of tables takes neither entries of one byte each nor a depth
of 9 bits, which the standard allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_xray.dicom_numbers import read_number

WHITE: Final = 255.0

MAX_TABLE: Final = 1 << 17
"""Widest span of stored values that is shaded by a table; twice what 16 bits hold."""

STRIP_ROWS: Final = 256
"""Rows shaded at a time, so that a large film never exists in wide numbers as a whole."""

Shade = Callable[[NDArray[np.float64]], NDArray[np.uint8]]
Transform = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def stored_to_grey(stored: NDArray[Any], dataset: Any) -> NDArray[np.uint8]:
    """Grey as the file asks for it to be shown.

    Without a window and lookup tables, values of 8 bits stay what they are, those of fewer, by BitsStored, are
    scaled to 0..255, and wider ones keep the most significant 8 bits of the least depth that holds the brightest, as
    `edge_xray.modes.wide_to_uint8` does for a PNG of the same pixels. Negative values, floats, or a
    modality transformation without a window, spread from the least to the greatest.

    Args:
        stored: (H, W), integers or floats as stored.
        dataset: the pydicom dataset they are from.

    Returns:
        uint8, (H, W), 0 black.
    """
    low, high = least, greatest = stored.min(), stored.max()
    padding = _padding(dataset)
    if padding is not None:
        inside = (stored < padding[0]) | (stored > padding[1])
        low = stored.min(where=inside, initial=greatest)
        high = stored.max(where=inside, initial=least)
    shade = _shading(float(low), float(high), dataset, stored.dtype.kind == "f")
    grey = np.empty(stored.shape, np.uint8)
    table = None
    if stored.dtype.kind in "iu" and int(greatest) - int(least) < MAX_TABLE:
        table = shade(np.arange(int(least), int(greatest) + 1, dtype=np.float64))
    for top in range(0, stored.shape[0], STRIP_ROWS):
        strip = stored[top : top + STRIP_ROWS]
        if table is None:
            grey[top : top + STRIP_ROWS] = shade(strip.astype(np.float64))
        else:
            grey[top : top + STRIP_ROWS] = table[strip.astype(np.int64) - int(least)]
    if padding is not None:
        # What lies outside the film is black, whatever the window and the inversion make of it.
        grey[~inside] = 0
    return grey


def eight_bit_table(dataset: Any) -> NDArray[np.uint8] | None:
    """What becomes of each 8-bit value, if that does not depend on the picture.

    Returns:
        uint8, (256,), or None when the picture's own least and greatest values decide, or some mark what lies
        outside the film.
    """
    if _padding(dataset) is not None or (
        _window(dataset) is None and _modality(dataset) is not None
    ):
        return None
    return _shading(0.0, WHITE, dataset, False)(np.arange(256, dtype=np.float64))


def _padding(dataset: Any) -> tuple[int, int] | None:
    """The least and the greatest stored value that mark what lies outside the film.

    PixelPaddingValue (0028,0120) alone, or with PixelPaddingRangeLimit (0028,0121) all from the one to
    the other, both included; either may be the lower (PS3.3 C.7.5.1.1.2).
    """
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    if not isinstance(limit, int):
        limit = value
    return min(value, limit), max(value, limit)


def _shading(low: float, high: float, dataset: Any, floating: bool) -> Shade:
    modality = _modality(dataset)
    window = _window(dataset)
    if window is None and modality is None and low >= 0 and not floating:
        display = _by_depth(high, int(dataset.get("BitsStored") or 8))
    elif window is None:
        ends = np.array([low, high])
        if modality is not None:
            # A modality table may fall, but no table turns in between.
            ends = modality(ends)
        display = _spread(float(ends.min()), float(ends.max()))
    else:
        display = window
    inverted = str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1"
    # A film of MONOCHROME1 has it as well, for one and the same inversion (PS3.3 C.8.11.3).
    inverted |= str(dataset.get("PresentationLUTShape")).strip().upper() == "INVERSE"

    def shade(values: NDArray[np.float64]) -> NDArray[np.uint8]:
        if modality is not None:
            values = modality(values)
        grey = np.clip(np.rint(display(values)), 0.0, WHITE).astype(np.uint8)
        return np.subtract(255, grey, dtype=np.uint8) if inverted else grey

    return shade


def _modality(dataset: Any) -> Transform | None:
    """The modality LUT, or else slope and intercept; None if they leave the values what they are."""
    if dataset.get("ModalityLUTSequence"):
        return _lookup(dataset.ModalityLUTSequence[0], dataset)[0]
    slope = read_number(dataset, "RescaleSlope")
    intercept = read_number(dataset, "RescaleIntercept")
    if slope is None or intercept is None or slope == 0.0 or (slope, intercept) == (1.0, 0.0):
        return None
    return lambda values: values * slope + intercept


def _by_depth(high: float, bits_stored: int) -> Transform:
    depth = int(high).bit_length()
    if bits_stored < 8 and depth <= bits_stored:
        return lambda values: values * (WHITE / (2**bits_stored - 1))
    divisor = float(2 ** max(0, depth - 8))
    return lambda values: np.floor(values / divisor)


def _spread(low: float, high: float) -> Transform:
    scale = WHITE / (high - low) if high > low else 0.0
    return lambda values: (values - low) * scale


def _window(dataset: Any) -> Transform | None:
    """The first VOI LUT or, without one, the first window; None if there is neither."""
    if dataset.get("VOILUTSequence"):
        return _voi_table(dataset)
    centre, width = read_number(dataset, "WindowCenter"), read_number(dataset, "WindowWidth")
    if centre is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "SIGMOID" and width > 0:
        # PS3.3 C.11.2.1.3.1; the clip keeps exp() from overflowing far outside the window.
        return lambda x: WHITE / (1.0 + np.exp(np.clip(-4.0 * (x - centre) / width, -50.0, 50.0)))
    if function == "LINEAR_EXACT" and width > 0:
        return lambda x: ((x - centre) / width + 0.5) * WHITE
    if width > 1:
        # PS3.3 C.11.2.1.2.1: the half and the one make a window of 256 at 128 the identity.
        return lambda x: ((x - (centre - 0.5)) / (width - 1) + 0.5) * WHITE
    if width == 1:
        return lambda x: np.where(x > centre - 0.5, WHITE, 0.0)
    return None


def _voi_table(dataset: Any) -> Transform:
    look, entries = _lookup(dataset.VOILUTSequence[0], dataset)
    # Tables often name more bits than they use; the depth is what their brightest entry needs.
    scale = WHITE / (2 ** max(8, int(entries.max()).bit_length()) - 1)
    return lambda values: look(values) * scale


def _lookup(item: Any, dataset: Any) -> tuple[Transform, NDArray[np.float64]]:
    """A lookup table (PS3.3 C.11.1.1) and its entries; values beyond its ends get its first or last entry."""
    count, first = int(item.LUTDescriptor[0]) or 1 << 16, int(item.LUTDescriptor[1])
    entries = _entries(item.LUTData, count, dataset)

    def look(values: NDArray[np.float64]) -> NDArray[np.float64]:
        place = np.clip(np.rint(values) - first, 0, count - 1)
        looked_up: NDArray[np.float64] = np.take(entries, place.astype(np.int64))
        return looked_up

    return look, entries


def _entries(stored: Any, count: int, dataset: Any) -> NDArray[np.float64]:
    """The entries of a table, of one byte each where there are as many bytes.

    Raises:
        ValueError: it has too few of either.
    """
    if not isinstance(stored, bytes):
        words = np.atleast_1d(np.asarray(stored, np.int64)) & 0xFFFF
        if words.size >= count:
            return words[:count].astype(np.float64)
        stored = words.astype("<u2").tobytes()
    if len(stored) >= 2 * count:
        order = "<" if dataset.original_encoding[1] else ">"
        return np.frombuffer(stored, f"{order}u2", count).astype(np.float64)
    if len(stored) > count + count % 2:
        raise ValueError("a lookup table lacks entries of two bytes")
    return np.frombuffer(stored, np.uint8, count).astype(np.float64)
