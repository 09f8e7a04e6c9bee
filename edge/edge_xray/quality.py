"""The gate: may the model be asked about this picture at all? By its pixels, and by its features.

The pixel statistics catch what is plainly no chest film, or one that nobody could read; their
thresholds lie outside what the training films show (the share of films beyond each is in its
docstring). The model's own middle features (`edge_xray.metadata.FeatureStatistics`) catch the rest.
"""

from __future__ import annotations

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
    "not_a_chest_film": "light and dark do not lie as in a chest film from the front",
    "unlike_known_films": "a film, but unlike those the model knows",
    "foreign": "no film of the kind that the model knows",
}
"""Every reason this module gives, with what it means."""

THUMB: Final = 32
"""Side, in pixels, of the box-averaged thumbnail that the statistics are taken from."""

BLANK_RANGE: Final = 12.0
"""Grey levels between the 1st and the 99th percentile below which a picture is blank."""

LEAST_RANGE: Final = 40.0
"""Grey levels between the 5th and the 95th percentile below which nobody can read a film."""

DARK_P95: Final = 60.0
"""95th percentile of grey below which a picture is too dark; the darkest of 5,216 films has 107."""

BRIGHT_P5: Final = 200.0
"""5th percentile of grey above which it is too bright; the brightest of 5,216 films has 178."""

COLOURED: Final = 20.0
"""Mean spread of the three colours, in levels, from which a picture is in colour."""

TINTED: Final = 6.0
"""The same from which a film is called tinted: an aged or photographed film."""

PAPER_WHITE: Final = 250
PAPER_SHARE: Final = 0.4
"""Share of the picture that is paper-white on a page; at most 0.073 on 5,216 films."""

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
# fmt: on
"""How light and dark lie in a frontal chest film: the standardized mean of the 8x8 thumbnails of 5,216
children's films (Kermany et al. 2018, CC BY 4.0) and of their mirror images."""

LEAST_LIKENESS: Final = 0.4
"""Correlation with the template below which a picture is no frontal chest film: 0.1 % of films."""

MORE_LIKE_TURNED: Final = 0.1
"""By how much a turned picture must correlate better to be called rotated; no film of 5,216 does."""


def check_pixels(
    pixels: NDArray[np.uint8], *, colour: float = 0.0, chest: bool = True
) -> QualityReport:
    """Judge a picture by its grey values alone.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) RGB, as decoded.
        colour: mean spread of the three colours, in levels, of a picture decoded to grey
            (`edge_xray.decode.DecodedFilm.colour`); an RGB array is measured itself.
        chest: whether the model is for chest films; without it only a blank picture is refused.

    Returns:
        ``reason`` is one of `QUALITY_REASONS` or None.
    """
    if pixels.ndim == 3:
        colour = max(colour, float(np.ptp(pixels.astype(np.int16), axis=2).mean()))
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    thumb = _thumbnail(pixels)
    p1, p5, p95, p99 = np.percentile(thumb, [1, 5, 95, 99])
    if p99 - p1 < BLANK_RANGE:
        return _refuse("blank", "the picture is blank; take or export the film again")
    if not chest:
        return QualityReport()
    if p95 < DARK_P95:
        return _refuse("too_dark", "the film is far too dark to be read; export it again, brighter")
    if p5 > BRIGHT_P5:
        return _refuse(
            "too_bright", "the film is far too bright to be read; export it again, darker"
        )
    if p95 - p5 < LEAST_RANGE:
        return _refuse(
            "no_contrast", "the film has too little contrast to be read; export it again"
        )
    if colour >= COLOURED:
        return _refuse("in_colour", "the picture is in colour, so it is no X-ray film")
    if float((pixels >= PAPER_WHITE).mean()) > PAPER_SHARE:
        return _refuse("page", "the picture is mostly white, like a page; it is no X-ray film")
    reason = _check_layout(thumb)
    if reason is not None:
        return reason
    warnings = []
    if colour >= TINTED:
        warnings.append("the film is tinted; it may be a photograph of a film")
    return QualityReport(warnings=tuple(warnings))


def _refuse(reason: str, message: str) -> QualityReport:
    return QualityReport(reason, message)


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    image = Image.fromarray(pixels).resize((THUMB, THUMB), Image.Resampling.BOX)
    return np.asarray(image, np.float32)


def _check_layout(thumb: NDArray[np.float32]) -> QualityReport | None:
    """Compare where a picture is light and dark with where a chest film is."""
    side, block = CHEST_TEMPLATE.shape[0], THUMB // CHEST_TEMPLATE.shape[0]
    coarse = thumb.reshape(side, block, side, block).mean(axis=(1, 3))
    spread = float(coarse.std())
    if spread == 0.0:
        return _refuse("not_a_chest_film", _NO_CHEST)
    coarse = (coarse - coarse.mean()) / spread
    upright, left, down, right = (
        float((coarse * np.rot90(CHEST_TEMPLATE, quarter)).mean()) for quarter in range(4)
    )
    turned = max(left, down, right)
    if turned >= LEAST_LIKENESS and turned - upright > MORE_LIKE_TURNED:
        way = "upside down" if turned == down else "on its side"
        return _refuse("rotated", f"the film lies {way}; turn it upright and scan it again")
    if upright <= -LEAST_LIKENESS:
        return _refuse(
            "inverted", "black and white are exchanged; export the film with bones white"
        )
    if upright < LEAST_LIKENESS:
        return _refuse("not_a_chest_film", _NO_CHEST)
    return None


_NO_CHEST: Final = (
    "light and dark do not lie as in a chest film from the front; "
    "check that it is one and shows the whole chest"
)


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
    projected = centred @ statistics.components.T.astype(np.float64)
    whitened = projected / np.sqrt(statistics.variances.astype(np.float64))
    inside = np.sqrt(np.mean(whitened**2, axis=1))
    rest = centred - projected @ statistics.components
    outside = np.linalg.norm(rest, axis=1) / statistics.residual_scale
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
    if not score <= statistics.foreign:  # also refuses NaN
        return _refuse(
            "foreign",
            "the model takes this for no film of the kind it knows; check that it is the right picture",
        )
    if score > statistics.unlike:
        return _refuse(
            "unlike_known_films",
            "the film is unlike those the model knows (another machine, age or view?); "
            "a person must read it",
        )
    return QualityReport()
