"""Numbers that a DICOM file writes as text (VR DS and IS), so read that a bad one costs no film."""

from __future__ import annotations

import math
from typing import Any, Final

DISPLAY_NUMBERS: Final = ("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept")
"""What decides how a film's values are shown."""


def read_number(dataset: Any, keyword: str) -> float | None:
    """The first value of an element; a decimal comma, which some units write, counts as a point.

    Args:
        dataset: a pydicom dataset.
        keyword: of the element.

    Returns:
        None if it is absent, unreadable or not finite.
    """
    try:
        number = float(_text(dataset, keyword).replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def unread_numbers(dataset: Any) -> tuple[str, ...]:
    """The keywords of what is given and cannot be read."""
    return tuple(
        keyword
        for keyword in (*DISPLAY_NUMBERS, "NumberOfFrames")
        if _text(dataset, keyword) and read_number(dataset, keyword) is None
    )


def _text(dataset: Any, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom converts lazily, and throws what it likes
        value = dataset.get_item(keyword).value
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        value = value.split("\\")
    if hasattr(value, "__getitem__"):
        value = value[0] if len(value) else None
    return "" if value is None else str(value).strip(" \0")
