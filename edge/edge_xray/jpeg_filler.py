"""Data that are missing in a JPEG, told by what libjpeg puts in their place.

libjpeg decodes what it can and fills the rest with grey, and Pillow passes on no word of it. Where a piece
is lost or broken, the codes after it are read to the end of the data all the same, and the picture comes
out too short by the blocks that were lost: the last of them are filled.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from edge_xray.errors import FilmError

FILLER: Final = 128
"""What libjpeg fills with: the level of a block whose coefficients are all zero."""

SHORT_SHARE: Final = 0.01
"""Share of the rows, all filled, from which the data count as cut short."""

_BLOCK: Final = 8
"""Samples of a block in each direction (ITU-T T.81, A.1.1)."""


def check_filler(image: Image.Image, height: int) -> None:
    """Refuse a decoded JPEG whose end is made up.

    A flat grey of that very level may be part of a picture, in a margin say. But it does not fill the last
    blocks of the last row alone while the blocks above them hold something else.

    Args:
        image: loaded, of mode ``L``, ``RGB`` or ``YCbCr``, perhaps at reduced scale.
        height: rows in the file.

    Raises:
        FilmError: ``truncated`` if rows are missing, ``damaged`` if less is.
    """
    rows = max(1, round(image.height * SHORT_SHARE))
    bottom = image.crop((0, image.height - rows, image.width, image.height)).convert("L")
    if bottom.getextrema() == (FILLER, FILLER):
        if image.convert("L").getextrema() != (FILLER, FILLER):
            raise FilmError(
                "truncated", "the JPEG ends before the film does; copy or export it again"
            )
        return
    if bottom.getpixel((image.width - 1, rows - 1)) != FILLER:
        return
    unit = [_BLOCK, _BLOCK]
    layers = getattr(image, "layer", ())
    if len(layers) > 1:  # blocks of several colours come in units of what they share
        unit = [_BLOCK * max(layer[axis] for layer in layers) for axis in (1, 2)]
    scale = image.height / height
    across, down = (max(1, round(side * scale)) for side in unit)
    last = (height - 1) // unit[1] * down
    if last < down:
        return
    grey = np.asarray(image.crop((0, last - down, image.width, image.height)).convert("L"))
    filled = grey[down:] == FILLER
    run = int(np.argmin(np.append(filled.all(axis=0)[::-1], False)))
    if run >= across and not (grey[:down, -run:] == FILLER).all():
        raise FilmError(
            "damaged", "a part of the film's data is missing or broken; copy or export it again"
        )
