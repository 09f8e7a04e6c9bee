"""The gate: may the model be asked about this picture at all? By its pixels, and by its features.

The pixel statistics catch what is plainly no chest film and what nobody could read. Every threshold
lies outside what 5,216 children's films show (Kermany et al. 2018, the official training split); the
docstrings say by how much. Together they refuse 0.33 % of those films. What looks like a chest film to
them, a CT slice or another hospital's film, is for the model's own middle features to tell
(`edge_xray.metadata.FeatureStatistics`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.metadata import FeatureStatistics


@dataclass(frozen=True)
class QualityReport:
    """What the gate says of a film.

    Attributes:
        reason: why the film must not be scored, one of `QUALITY_REASONS` or
            `edge_xray.intended_use.INTENDED_USE_REASONS`; None means that it may be.
        message: the same in plain words, with what to do; empty without a reason.
        warnings: doubts that a scored film's row carries, in plain words.
    """

    reason: str | None = None
    message: str = ""
    warnings: tuple[str, ...] = ()


QUALITY_REASONS: Final = {
    "blank": "the picture is one even grey",
    "too_dark": "almost all of it is black",
    "too_bright": "almost all of it is white",
    "no_contrast": "its greys differ too little to be read",
    "in_colour": "it is in colour, as no X-ray film is",
    "page": "it is mostly paper-white, as a page or a drawing",
    "inverted": "black and white are exchanged",
    "rotated": "it lies on its side or upside down",
    "blurred": "nothing in it is sharp",
    "not_a_chest_film": "light and dark do not lie as in a chest film from the front",
    "cropped": "the film ends within the lungs: their bases are missing",
    "unlike_known_films": "a film, but unlike those the model knows",
    "foreign": "no film of the kind that the model knows",
}
"""Every reason this module gives, with what it means."""

THUMB: Final = 128
"""Side, in pixels, of the box-averaged thumbnail that the statistics are taken from."""

BLANK_RANGE: Final = 12.0
"""Grey levels from the 1st to the 99th percentile below which a picture is blank; films have 84."""

LEAST_RANGE: Final = 40.0
"""Grey levels from the 5th to the 95th percentile below which nobody can read it; films have 68."""

DARK_REFUSED: Final = 70.0
DARK_DOUBTED: Final = 105.0
"""95th percentile of grey below which a picture is too dark, or dark; the darkest film has 107."""

BRIGHT_REFUSED: Final = 185.0
BRIGHT_DOUBTED: Final = 130.0
"""5th percentile of grey above which it is too bright, or bright; the brightest film has 178, and one
in a thousand has 119 or more."""

COLOUR_REFUSED: Final = 20.0
COLOUR_DOUBTED: Final = 6.0
"""Mean spread of the three colours, in levels, from which a picture is in colour, or tinted as an aged
or photographed film is; films have 0."""

PAPER_WHITE: Final = 240
PAPER_SHARE: Final = 0.4
"""Share of a picture that is paper-white from which it is a page; films have at most 0.15."""

SHARP_REFUSED: Final = 0.036
SHARP_DOUBTED: Final = 0.07
"""Mean absolute Laplacian over standard deviation, of the thumbnail, below which a picture is blurred,
or looks so. Films have 0.077 at least; the mean of 60 films, in which little is sharp, has 0.040; three
films in four have less than 0.036 after a Gaussian blur of 4 pixels in 224."""

ROUNDING_LAPLACIAN: Final = math.sqrt(20 / 12) * math.sqrt(2 / math.pi)
"""Mean absolute Laplacian that rounding to whole levels makes by itself: of five independent errors
with variance 1/12 and weights 4, 1, 1, 1, 1, taken as normal."""

MARGIN_SHARE: Final = 0.06
"""Share of the 99th percentile of grey up to which a row or column counts as black margin."""

MARGIN_DOUBTED: Final = 0.14
"""Share of the picture that is black margin from which a row says so; one film in two hundred has more.
With as little as a tenth more a side, the features of seven films in ten are unlike those the model knows."""

LEAST_SIDE: Final = 32
"""Pixels of the thumbnail that must remain a side when a margin is cut off."""

FOOT_ROWS: Final = 16
FOOT_REFUSED: Final = 0.48
"""Brightness of the lowest rows of the thumbnail, in units of the 95th percentile, below which it is no
chest film: these show the belly. One film in a thousand has less; slices of heads have 0.50 at most."""

# fmt: off
CHEST_TEMPLATE: Final[NDArray[np.float32]] = np.array([
    [-111, -51,   5,  79,  79,   5, -51, -111],
    [-108,   7,  30,  70,  70,  30,   7, -108],
    [-137,  19,  -8,  77,  77,  -8,  19, -137],
    [-158,   6,  -9, 107, 107,  -9,   6, -158],
    [-166, -16,  13, 125, 125,  13, -16, -166],
    [-170, -35,  26, 125, 125,  26, -35, -170],
    [-168,   2,  87, 141, 141,  87,   2, -168],
    [-153,  74, 137, 162, 162, 137,  74, -153],
], np.float32) / np.float32(100)
"""How light and dark lie in a frontal chest film: the standardized mean of the 8x8 thumbnails of the
5,216 films and of their mirror images."""

UPRIGHT_QUARTER: Final[NDArray[np.float32]] = np.array([
    [ 47, -59, -20,   7],
    [-25,  30, -33, -87],
    [ 22,  30,   9, -39],
    [ 17,  37, -21,   2],
], np.float32) / np.float32(100)
"""Weights that tell a film from itself turned upside down: Fisher's linear discriminant of the top half
less the mirrored bottom half, left and right averaged, scaled to a median of 1 on the 5,216 films."""

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
# fmt: on
"""Weights that tell a film from its own upper 50, 60 and 70 %: Fisher's linear discriminant of the
standardized 8x8 thumbnails, left and right averaged (a ridge of 0.03), scaled to a median of 1 on the
5,216 films. Below the lungs lies the brightness of diaphragm and belly."""

LIKENESS_REFUSED: Final = 0.35
LIKENESS_DOUBTED: Final = 0.5
"""Correlation with the template below which a picture is no frontal chest film, or an odd one; one
film in a thousand, and one in two hundred, has less."""

MORE_LIKE_TURNED: Final = 0.1
"""By how much a picture must be likelier when turned a quarter to be called rotated; no film is."""

BASES_REFUSED: Final = -1.55
BASES_DOUBTED: Final = -0.6
"""Lung bases below which a film is cropped, or may be; one film in a thousand, and one in a hundred, has
less (of these many do end above the diaphragm). Of films cut to their upper half 64 % have less than the
first and 96 % less than the second; of those cut to their upper 70 %, 43 % and 87 %."""

UPRIGHT_REFUSED: Final = -0.2
UPRIGHT_DOUBTED: Final = 0.0
"""Uprightness below which a film lies upside down, or may; 0.15 % and 0.45 % of films have less, and
98 % of films that do lie so have less than the first."""


def check_pixels(
    pixels: NDArray[np.uint8], *, colour: float = 0.0, chest: bool = True
) -> QualityReport:
    """Judge a picture by its grey values alone.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) RGB, as decoded.
        colour: mean spread of the three colours, in levels, of a picture decoded to grey
            (`edge_xray.decode.DecodedFilm.colour`); an RGB array is measured itself.
        chest: whether the model is for frontal chest films; otherwise only a blank picture is refused.

    Returns:
        ``reason`` is one of `QUALITY_REASONS` or None.
    """
    image = Image.fromarray(pixels).resize((THUMB, THUMB), Image.Resampling.BOX)
    if pixels.ndim == 3:
        colour = max(colour, float(np.ptp(np.asarray(image, np.int16), axis=2).mean()))
        image = image.convert("L")
    levels = np.asarray(image)
    grey = levels.astype(np.float32)
    p1, p5, p95, p99 = _percentiles(levels, 1, 5, 95, 99)
    if p99 - p1 < BLANK_RANGE:
        return _refuse("blank", "the picture is blank; take or export the film again")
    if not chest:
        return QualityReport()
    if float((levels >= PAPER_WHITE).mean()) > PAPER_SHARE:
        return _refuse("page", "the picture is mostly white, like a page; it is no X-ray film")
    if p95 < DARK_REFUSED:
        return _refuse("too_dark", "the film is far too dark to be read; export it again, brighter")
    if p5 > BRIGHT_REFUSED:
        return _refuse("too_bright", "the film is far too bright to be read; export it darker")
    if p95 - p5 < LEAST_RANGE:
        return _refuse("no_contrast", "the film has too little contrast; export it again")
    if colour >= COLOUR_REFUSED:
        return _refuse("in_colour", "the picture is in colour, so it is no X-ray film")
    report = _check_layout(image, p99)
    if report.reason is not None:
        return report
    sharpness = _sharpness(grey)
    if sharpness < SHARP_REFUSED:
        return _refuse("blurred", "nothing in the film is sharp; take or export it again")
    doubts = (
        (p95 < DARK_DOUBTED, "the film is dark"),
        (p5 > BRIGHT_DOUBTED, "the film is bright"),
        (colour >= COLOUR_DOUBTED, "the film is tinted; it may be a photograph of a film"),
        (sharpness < SHARP_DOUBTED, "the film is not sharp"),
    )
    return QualityReport(warnings=(*(text for doubt, text in doubts if doubt), *report.warnings))


def _refuse(reason: str, message: str) -> QualityReport:
    return QualityReport(reason, message)


def _percentiles(levels: NDArray[np.uint8], *percents: float) -> list[float]:
    """The grey levels that these shares of the picture do not exceed; counting beats sorting."""
    below = np.cumsum(np.bincount(levels.ravel(), minlength=256))
    return [float(np.searchsorted(below, percent / 100 * levels.size)) for percent in percents]


def _sharpness(grey: NDArray[np.float32]) -> float:
    inner = 4 * grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    measured = float(np.abs(inner - around).mean())
    return math.sqrt(max(0.0, measured**2 - ROUNDING_LAPLACIAN**2)) / float(grey.std())


def _check_layout(image: Image.Image, bright: float) -> QualityReport:
    """Compare where a picture is light and dark with where a chest film is, margins left out."""
    whole = image.width * image.height
    image = _without_margin(image, bright)
    margin = 1.0 - image.width * image.height / whole
    grey = np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BOX))
    block = THUMB // CHEST_TEMPLATE.shape[0]
    coarse = grey.reshape(-1, block, THUMB // block, block).mean(axis=(1, 3), dtype=np.float32)
    coarse = (coarse - coarse.mean()) / max(float(coarse.std()), 1.0)
    likeness = [
        float((np.rot90(coarse, quarters) * CHEST_TEMPLATE).mean()) for quarters in range(4)
    ]
    turned = max((1, 3), key=lambda quarters: likeness[quarters])
    if likeness[0] <= -LIKENESS_REFUSED and likeness[turned] < -likeness[0]:
        return _refuse("inverted", "black and white are exchanged; export it with bones white")
    if likeness[turned] - likeness[0] > MORE_LIKE_TURNED:
        if likeness[turned] < LIKENESS_REFUSED or _foot(np.rot90(grey, turned)) < FOOT_REFUSED:
            return _refuse("not_a_chest_film", _NO_CHEST)
        return _refuse("rotated", "the film lies on its side; turn it upright and scan it again")
    uprightness, bases = _uprightness(coarse), _bases(coarse)
    cropped = bases < BASES_REFUSED
    if likeness[2] >= LIKENESS_REFUSED and uprightness < UPRIGHT_REFUSED:
        # What ends within the lungs is dark below, as a film upside down is.
        if cropped and _bases(coarse[::-1]) < BASES_DOUBTED:
            return _refuse("cropped", _CROPPED)
        if _foot(grey[::-1]) < FOOT_REFUSED:
            return _refuse("not_a_chest_film", _NO_CHEST)
        return _refuse("rotated", "the film lies upside down; turn it and scan it again")
    if likeness[0] < LIKENESS_REFUSED or _foot(grey) < FOOT_REFUSED:
        return _refuse("not_a_chest_film", _NO_CHEST)
    if cropped:
        return _refuse("cropped", _CROPPED)
    doubts = (
        (margin > MARGIN_DOUBTED, "a black margin surrounds the film; export it without one"),
        (bases < BASES_DOUBTED, "the lower part of the lungs may be missing"),
        (uprightness < UPRIGHT_DOUBTED, "the film may lie upside down"),
        (likeness[0] < LIKENESS_DOUBTED, "the film may not show the whole chest from the front"),
    )
    return QualityReport(warnings=tuple(text for doubt, text in doubts if doubt))


def _foot(grey: NDArray[np.uint8]) -> float:
    """Brightness of the lowest rows, in units of the 95th percentile."""
    (bright,) = _percentiles(grey, 95)
    return float(grey[-FOOT_ROWS:].mean()) / max(bright, 1.0)


def _without_margin(image: Image.Image, bright: float) -> Image.Image:
    """Cut off black rows and columns at the edges: collimation, or a film on a larger ground."""
    lit = np.asarray(image) > MARGIN_SHARE * bright
    # An edge with some lit pixels, a side letter say, is margin all the same.
    rows = np.flatnonzero(lit.mean(axis=1) > MARGIN_SHARE)
    columns = np.flatnonzero(lit.mean(axis=0) > MARGIN_SHARE)
    if min(rows.size, columns.size) < LEAST_SIDE:
        return image
    if rows.size == image.height and columns.size == image.width:
        return image
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return image.crop(box)


def _uprightness(coarse: NDArray[np.float32]) -> float:
    half = coarse.shape[0] // 2
    difference = (coarse - coarse[::-1])[:half] / 2
    return float((_folded(difference) * UPRIGHT_QUARTER).sum())


def _bases(coarse: NDArray[np.float32]) -> float:
    return float((_folded(coarse) * LUNG_BASES).sum())


def _folded(coarse: NDArray[np.floating]) -> NDArray[np.floating]:
    """The left half of a coarse picture, averaged with the mirrored right half."""
    return ((coarse + coarse[:, ::-1]) / 2)[:, : coarse.shape[1] // 2]


_NO_CHEST: Final = (
    "light and dark do not lie as in a chest film from the front; "
    "check that it is one and shows the whole chest"
)

_CROPPED: Final = "the film ends within the lungs; take or export it so that all of them show"


def feature_score(
    features: NDArray[np.floating], statistics: FeatureStatistics
) -> NDArray[np.float64]:
    """How far films lie from those the model knows, by its middle features.

    The formula is that of `edge_xray.metadata.FeatureStatistics`: root mean square of the whitened
    components, plus what the components leave out, in units of what they leave out of known films.

    Args:
        features: (n, c), each film's features averaged over space.
        statistics: fitted on films in range.

    Returns:
        (n,) float64, >= 0; about 2 for a film like those it was fitted on, NaN for features that are
        no numbers.
    """
    centred = np.asarray(features, np.float64) - statistics.mean
    components = statistics.components.astype(np.float64)
    projected = centred @ components.T
    inside = np.sqrt(np.mean(projected**2 / statistics.variances, axis=1))
    outside = np.linalg.norm(centred - projected @ components, axis=1) / statistics.residual_scale
    return np.asarray(inside + outside, np.float64)


def check_features(features: NDArray[np.floating], statistics: FeatureStatistics) -> QualityReport:
    """Judge a film by the model's middle features.

    Args:
        features: (c,), averaged over space.
        statistics: from the model's metadata.

    Returns:
        ``reason`` is ``foreign``, ``unlike_known_films`` or None.
    """
    score = float(feature_score(features[np.newaxis], statistics)[0])
    if not score <= statistics.foreign:  # refuses NaN as well
        return _refuse(
            "foreign",
            "the model takes this for no film of the kind it knows; check that it is the right one",
        )
    if score > statistics.unlike:
        return _refuse(
            "unlike_known_films",
            "the film is unlike those the model knows (another machine, age or view?); "
            "a person must read it",
        )
    return QualityReport()
