"""Where in the film the network saw it: the evidence map laid over the film.

The map is no guess after the fact. Its mean over space *is* the logit, so what is coloured is exactly
what spoke for the finding.
"""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.metadata import ModelMetadata

FULL_COLOUR: Final = 4.0
"""Evidence, in logits, that gets the full colour at least; a film's own maximum if that is more.

A film whose whole map lay at 4 would be scored 0.98, so weak evidence stays pale.
"""

STRONGEST_COVER: Final = 0.6
"""Share of the colour where evidence is strongest; the film stays visible beneath."""

WEAK_COLOUR: Final = (255.0, 200.0, 0.0)
STRONG_COLOUR: Final = (230.0, 20.0, 0.0)
"""RGB of the weakest and the strongest evidence: told apart by brightness too, not by hue alone."""

OVERLAY_SIDE: Final = 1024
"""Longest side of an overlay file, in pixels."""

THUMBNAIL_HEIGHT: Final = 160
THUMBNAIL_WIDTH: Final = 220
"""Box of a report's picture, in pixels: two side by side fit on a phone and on half of A4."""

PICTURE_GAP: Final = 4
"""Pixels between film and heat map."""

PNG_LEVEL: Final = 1
"""zlib's fastest: a fifth of the default's time for an eighth more bytes."""

JPEG_QUALITY: Final = 72
JPEG_END: Final = b"\xff\xd9"


_SHARES: Final = np.linspace(0.0, 1.0, 256)
_COLOURS: Final = (
    np.rint(
        np.array(WEAK_COLOUR) + _SHARES[:, None] * np.subtract(STRONG_COLOUR, WEAK_COLOUR)
    ).astype(np.uint8)
).tobytes()
"""Palette from the weakest to the strongest evidence."""

_COVER: Final = [round(255.0 * STRONGEST_COVER * math.sqrt(share)) for share in _SHARES]
"""How much of the colour is laid on: rises fast and levels off, so that the outline is seen."""


def finding_evidence(evidence: NDArray[np.float32], metadata: ModelMetadata) -> NDArray[np.float32]:
    """What speaks for the finding and against its absence, place by place.

    Args:
        evidence: (h, w, classes), the network's evidence map.
        metadata: of the model.

    Returns:
        float32, (h, w), in logits: the strongest positive class minus the strongest negative one.
    """
    logits = evidence.mean(axis=(0, 1))
    positive = np.array(metadata.positive)
    best = int(np.argmax(np.where(positive, logits, -np.inf)))
    other = int(np.argmax(np.where(positive, -np.inf, logits)))
    return np.asarray(evidence[:, :, best] - evidence[:, :, other], np.float32)


def overlay(film: Image.Image, finding: NDArray[np.float32]) -> Image.Image:
    """Lay evidence for the finding over a film, in colour.

    Args:
        film: grey or RGB, any size.
        finding: (h, w), in logits, from `finding_evidence`; what is not above 0 is not coloured.

    Returns:
        RGB, the film's size.
    """
    scale = max(float(finding.max(initial=0.0)), FULL_COLOUR)
    share = np.rint(np.clip(finding / scale, 0.0, 1.0) * 255.0).astype(np.uint8)
    strength = Image.fromarray(share).resize(film.size, Image.Resampling.BICUBIC)
    colour = strength.copy()
    colour.putpalette(_COLOURS)
    return Image.composite(colour.convert("RGB"), film.convert("RGB"), strength.point(_COVER))


def overlay_png(pixels: NDArray[np.uint8], finding: NDArray[np.float32]) -> bytes:
    """An overlay as a PNG file, at most `OVERLAY_SIDE` pixels a side.

    Args:
        pixels: uint8, (H, W) or (H, W, 3), the decoded film.
        finding: (h, w), from `finding_evidence`.
    """
    film = Image.fromarray(pixels)
    film.thumbnail((OVERLAY_SIDE, OVERLAY_SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    overlay(film, finding).save(stream, "PNG", compress_level=PNG_LEVEL)
    return stream.getvalue()


def report_picture(pixels: NDArray[np.uint8], finding: NDArray[np.float32] | None) -> bytes:
    """The picture of a report's row as JPEG: the film, and beside it the heat map if there is one.

    Args:
        pixels: uint8, (H, W) or (H, W, 3), the decoded film.
        finding: (h, w), from `finding_evidence`, or None.
    """
    film = Image.fromarray(pixels)
    scale = min(1.0, THUMBNAIL_WIDTH / film.width, THUMBNAIL_HEIGHT / film.height)
    size = max(1, round(film.width * scale)), max(1, round(film.height * scale))
    # Box-reduced first: a quarter of the time, and no difference to see at this size.
    film = film.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
    if finding is not None:
        width, height = film.size
        pair = Image.new("RGB", (2 * width + PICTURE_GAP, height))
        pair.paste(film.convert("RGB"), (0, 0))
        pair.paste(overlay(film, finding), (width + PICTURE_GAP, 0))
        film = pair
    stream = io.BytesIO()
    film.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
