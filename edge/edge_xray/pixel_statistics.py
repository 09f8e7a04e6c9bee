"""What is measured of a picture's pixels: its greys, its sharpness, and where it is light and dark.

All of it is taken from a thumbnail of one size, so that it means the same for every film. The four tables
were fitted on 5,216 children's films (Kermany et al. 2018, the official training split, with their mirror
images or folded left on right);

    python benchmarks/pixel_gate.py chest_xray/train

fits them again and says how far they are from these. What follows from the figures is for
`edge_xray.quality` to say.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMB: Final = 128
"""Side, in pixels, of the box-averaged thumbnail that the statistics are taken from."""

MARGIN_SHARE: Final = 0.06
"""Share of the 99th percentile of grey up to which a row or column counts as black margin."""

LEAST_SIDE: Final = 32
"""Pixels of the thumbnail that must remain a side when a margin is cut off."""

FOOT_ROWS: Final = 16
"""Lowest rows of the thumbnail: in a chest film they show the belly."""

ROUNDING_LAPLACIAN: Final = math.sqrt(20 / 12) * math.sqrt(2 / math.pi)
"""Mean absolute Laplacian that rounding to whole levels makes by itself: of five independent errors
with variance 1/12 and weights 4, 1, 1, 1, 1, taken as normal."""

# fmt: off
CHEST_TEMPLATE: Final[NDArray[np.float32]] = np.array([
    [-109,  -52,    4,   79,   79,    4,  -52, -109],
    [-108,   10,   27,   70,   70,   27,   10, -108],
    [-138,   20,  -12,   77,   77,  -12,   20, -138],
    [-157,    3,  -11,  107,  107,  -11,    3, -157],
    [-164,  -21,   13,  126,  126,   13,  -21, -164],
    [-170,  -39,   25,  125,  125,   25,  -39, -170],
    [-167,    2,   87,  143,  143,   87,    2, -167],
    [-149,   77,  138,  163,  163,  138,   77, -149],
], np.float32) / np.float32(100)
"""How light and dark lie in a frontal chest film: the standardized mean of the 8x8 thumbnails of the
5,216 films and of their mirror images."""

UPRIGHT_QUARTER: Final[NDArray[np.float32]] = np.array([
    [ 33, -53, -21,  -3],
    [ -9,  28, -37, -64],
    [ 16,  39,  -8, -29],
    [ 12,  22, -16,  -5],
], np.float32) / np.float32(100)
"""Weights that tell a film from itself turned upside down: Fisher's linear discriminant of the top half
less the mirrored bottom half, left and right averaged (a ridge of 0.03), scaled to a median of 1 on the 5,216
films."""

LUNG_BASES: Final[NDArray[np.float32]] = np.array([
    [ -1,  -8,  -3,   5],
    [ 15,  20,   5, -44],
    [ 15,  -8, -15,  -4],
    [-25,  -1, -10,  50],
    [-39,  -5,  -2,  36],
    [-11, -35, -23, -38],
    [ 27, -47,  28, -41],
    [ 26,  85, 124, -78],
], np.float32) / np.float32(100)
"""Weights that tell a film from its own upper 50, 60 and 70 %: Fisher's linear discriminant of the
standardized 8x8 thumbnails, left and right averaged (a ridge of 0.03), scaled to a median of 1 on the
5,216 films. Below the lungs lies the brightness of diaphragm and belly."""

LUNG_TOPS: Final[NDArray[np.float32]] = np.array([
    [  29,  -95,   76,  -20],
    [  19,   54,   58, -165],
    [   8,   50,  -23,  -86],
    [  -1,   31,  -27,   56],
    [ -28,    4,    9,   90],
    [ -45,  -20,  -45,   14],
    [  10,  -29,  -18,   40],
    [  42,    5,    6,    0],
], np.float32) / np.float32(100)
# fmt: on
"""The same for its own lower 50, 60 and 70 %. Above the lungs lie the shoulders and the neck."""


def thumbnail(pixels: NDArray[np.uint8]) -> Image.Image:
    """A picture box-averaged to `THUMB` pixels a side; the aspect ratio is not kept.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) RGB.
    """
    return Image.fromarray(pixels).resize((THUMB, THUMB), Image.Resampling.BOX)


def percentiles(histogram: list[int], *percents: float) -> list[float]:
    """The grey levels that these shares of a picture do not exceed; counting beats sorting.

    Args:
        histogram: pixels by grey level, `PIL.Image.Image.histogram`.
        percents: shares, 0..100.
    """
    below = list(accumulate(histogram))
    return [float(bisect_left(below, percent / 100 * below[-1])) for percent in percents]


def sharpness(thumb: Image.Image) -> float:
    """Mean absolute Laplacian over standard deviation, less what rounding makes by itself.

    Args:
        thumb: grey, not all of one level.
    """
    grey = np.asarray(thumb, np.int16)
    laplacian = 4 * grey[1:-1, 1:-1]
    for neighbour in (grey[:-2, 1:-1], grey[2:, 1:-1], grey[1:-1, :-2], grey[1:-1, 2:]):
        laplacian -= neighbour
    measured = int(np.abs(laplacian).sum(dtype=np.int64)) / laplacian.size
    return math.sqrt(max(0.0, measured**2 - ROUNDING_LAPLACIAN**2)) / _spread(thumb.histogram())


def _spread(histogram: list[int]) -> float:
    """Standard deviation of the grey levels that were counted."""
    counts = np.array(histogram)
    levels = np.arange(len(histogram))
    mean = (counts @ levels) / counts.sum()
    return math.sqrt((counts @ (levels - mean) ** 2) / counts.sum())


@dataclass(frozen=True)
class Layout:
    """Where a picture is light and dark, black margins left out.

    Attributes:
        margin: share of the picture that is black margin, 0..1.
        coarse: float32, (8, 8), the rest box-averaged and standardized.
        grey: uint8, (THUMB, THUMB), the rest.
        bright: 95th percentile of `grey`.
    """

    margin: float
    coarse: NDArray[np.float32]
    grey: NDArray[np.uint8]
    bright: float

    @classmethod
    def of(cls, thumb: Image.Image, p99: float) -> Layout:
        """Measure a thumbnail.

        Args:
            thumb: grey.
            p99: its 99th percentile of grey.
        """
        rest = _without_margin(thumb, p99)
        margin = 1.0 - rest.width * rest.height / (thumb.width * thumb.height)
        rest = rest.resize((THUMB, THUMB), Image.Resampling.BOX)
        (bright,) = percentiles(rest.histogram(), 95)
        grey = np.asarray(rest)
        coarse = _BLOCK_MEANS @ grey.astype(np.float32) @ _BLOCK_MEANS.T
        return cls(margin, standardized(coarse), grey, bright)

    @property
    def likeness(self) -> list[float]:
        """Correlation with `CHEST_TEMPLATE`, -1..1, as it is and after one, two, three quarter turns to the left."""
        return [float(value) for value in _TURNED_TEMPLATES @ self.coarse.ravel()]

    @property
    def uprightness(self) -> float:
        """By `UPRIGHT_QUARTER`: about 1 for a film that stands upright, about -1 for one upside down."""
        return float((upright_quarter(self.coarse) * UPRIGHT_QUARTER).sum())

    @property
    def bases(self) -> float:
        """By `LUNG_BASES`: about 1 for a film that shows the lungs down to their bases."""
        return float((folded(self.coarse) * LUNG_BASES).sum())

    @property
    def bases_upside_down(self) -> float:
        """`bases` of the picture upside down."""
        return float((folded(self.coarse[::-1]) * LUNG_BASES).sum())

    @property
    def tops(self) -> float:
        """By `LUNG_TOPS`: about 1 for a film that shows the lungs up to their tops."""
        return float((folded(self.coarse) * LUNG_TOPS).sum())

    def foot(self, quarters: int = 0) -> float:
        """Brightness of the lowest rows, in units of the 95th percentile.

        Args:
            quarters: quarter turns to the left that come first.
        """
        turned = np.rot90(self.grey, quarters)
        return float(turned[-FOOT_ROWS:].mean()) / max(self.bright, 1.0)


def standardized(coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean 0 and standard deviation 1; a picture of almost one grey stays flat."""
    return np.asarray((coarse - coarse.mean()) / max(float(coarse.std()), 1.0), np.float32)


def folded(coarse: NDArray[np.floating]) -> NDArray[np.floating]:
    """The left half of a coarse picture, (n, n) to (n, n / 2), averaged with the mirrored right half."""
    return ((coarse + coarse[:, ::-1]) / 2)[:, : coarse.shape[1] // 2]


def upright_quarter(coarse: NDArray[np.floating]) -> NDArray[np.floating]:
    """The top half less the mirrored bottom half, halved and folded: (n, n) to (n / 2, n / 2)."""
    half = coarse.shape[0] // 2
    return folded((coarse - coarse[::-1])[:half] / 2)


def _without_margin(thumb: Image.Image, p99: float) -> Image.Image:
    """Cut off black rows and columns at the edges: collimation, or a film on a larger ground."""
    lit = np.asarray(thumb) > MARGIN_SHARE * p99
    # An edge with some lit pixels, a side letter say, is margin all the same.
    rows = np.flatnonzero(lit.mean(axis=1) > MARGIN_SHARE)
    columns = np.flatnonzero(lit.mean(axis=0) > MARGIN_SHARE)
    if min(rows.size, columns.size) < LEAST_SIDE:
        return thumb
    if rows.size == thumb.height and columns.size == thumb.width:
        return thumb
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return thumb.crop(box)


_BLOCK: Final = THUMB // len(CHEST_TEMPLATE)
_BLOCK_MEANS: Final[NDArray[np.float32]] = np.repeat(
    np.eye(len(CHEST_TEMPLATE), dtype=np.float32) / np.float32(_BLOCK), _BLOCK, axis=1
)
"""(8, THUMB): from both sides, the mean of each block of a thumbnail."""

_TURNED_TEMPLATES: Final = (
    np.stack([np.rot90(CHEST_TEMPLATE, -quarters).ravel() for quarters in range(4)])
    / CHEST_TEMPLATE.size
)
"""A row a quarter turn: its product with a picture is what the turned picture's with the template would be."""
