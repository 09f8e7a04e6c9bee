"""The gate: may the model be asked about this picture at all? By its pixels, and by its features.

The pixel statistics (`edge_xray.pixel_statistics`) catch what is plainly no chest film and what nobody could
read. Every threshold lies at or outside the edge of what 5,216 children's films show (Kermany et al. 2018, the
official training split); the docstrings say by how much. Together they refuse 0.31 % of those films.

    python benchmarks/pixel_gate.py chest_xray/train

prints these figures, but for those of pictures that are no films. What looks like a chest film to them, a CT
slice or another hospital's film, is for the model's own middle features to tell
(`edge_xray.features.FeatureStatistics`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_xray.features import FeatureStatistics, feature_score
from edge_xray.pixel_statistics import Layout, percentiles, sharpness, thumbnail


@dataclass(frozen=True)
class QualityReport:
    """What the gate says of a film.

    Attributes:
        reason: why the film must not be scored, one of `QUALITY_REASONS`,
            `edge_xray.intended_use.INTENDED_USE_REASONS` or `edge_xray.gate.MODEL_REASONS`; None means that it may be.
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
    "page": "it is mostly paper-white, as a page or a drawing; `--any-body-part` scores it all the same",
    "inverted": "black and white are exchanged; `--any-body-part` scores it all the same",
    "rotated": "it lies on its side or upside down; `--any-body-part` scores it all the same",
    "blurred": "nothing in it is sharp",
    "not_a_chest_film": "light and dark do not lie as in a chest film from the front; `--any-view` scores it all the same",
    "cropped": "the film ends within the lungs: their bases are missing; `--any-view` scores it all the same",
    "unlike_known_films": "a film, but unlike those the model knows; `--any-age` scores it all the same",
    "foreign": "no film of the kind that the model knows; `--any-body-part` scores it all the same",
}
"""Every reason this module gives, with what it means."""

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
or looks so. Films have 0.077 at least; the mean of 60 films, in which little is sharp, has 0.040; four
films in five have less than 0.036 after a Gaussian blur of 4 pixels in 224."""

MARGIN_DOUBTED: Final = 0.14
"""Share of the picture that is black margin from which a row says so; one film in two hundred has more.
Such films are scored, a little less well than without it (`benchmarks/quality_gate.py`)."""

FOOT_REFUSED: Final = 0.48
"""Brightness of the lowest rows of the thumbnail, in units of the 95th percentile, below which it is no
chest film: these show the belly. Two films of 5,216 have less; slices of heads have 0.50 at most."""

LIKENESS_REFUSED: Final = 0.35
LIKENESS_DOUBTED: Final = 0.5
"""Correlation with the template below which a picture is no frontal chest film, or an odd one; one
film in two thousand, and one in 250, has less."""

MORE_LIKE_TURNED: Final = 0.1
"""By how much a picture must be likelier when turned a quarter to be called rotated; no film is."""

BASES_REFUSED: Final = -1.55
BASES_DOUBTED: Final = -0.6
"""Lung bases below which a film is cropped, or may be; one film in a thousand, and one in a hundred, has
less (of these many do end above the diaphragm). Of films cut to their upper half 65 % have less than the
first and 96 % less than the second; of those cut to their upper 70 %, 43 % and 87 %."""

TOPS_DOUBTED: Final = -1.8
"""Lung tops below which a film may end above them; one film in a hundred, and no normal one, has less. Of
films cut to their lower half, 60 % and 70 %, 42 %, 47 % and 31 % have, of normal ones 74 %, 85 % and 57 %: many ill
lungs are as white as shoulders. So none is refused for it."""

UPRIGHT_REFUSED: Final = -0.2
UPRIGHT_DOUBTED: Final = 0.0
"""Uprightness below which a film lies upside down, or may; 0.15 % and 0.40 % of films have less, and
98 % of films that do lie so have less than the first."""


def is_blank(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture shows next to nothing, by `BLANK_RANGE`.

    Args:
        pixels: uint8, (H, W), 0..255.
    """
    low, high = np.percentile(pixels, (1, 99))
    return bool(high - low < BLANK_RANGE)


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
    thumb = thumbnail(pixels)
    if pixels.ndim == 3:
        colour = max(colour, float(np.ptp(np.asarray(thumb, np.int16), axis=2).mean()))
        thumb = thumb.convert("L")
    histogram = thumb.histogram()
    p1, p5, p95, p99 = percentiles(histogram, 1, 5, 95, 99)
    if p99 - p1 < BLANK_RANGE:
        return _refuse("blank", "the picture is blank; export the film again")
    if not chest:
        return QualityReport()
    if sum(histogram[PAPER_WHITE:]) > PAPER_SHARE * sum(histogram):
        return _refuse("page", f"the picture is mostly white, like a page; {_IF_A_CHEST_FILM}")
    if p95 < DARK_REFUSED:
        return _refuse("too_dark", "the film is far too dark to be read; export it again, brighter")
    if p5 > BRIGHT_REFUSED:
        return _refuse("too_bright", "the film is far too bright to be read; export it darker")
    if p95 - p5 < LEAST_RANGE:
        return _refuse("no_contrast", "the film has too little contrast; export it again")
    if colour >= COLOUR_REFUSED:
        return _refuse(
            "in_colour", f"the picture is in colour, as no X-ray film is; {_IF_A_CHEST_FILM}"
        )
    report = _check_layout(Layout.of(thumb, p99))
    if report.reason is not None:
        return report
    sharp = sharpness(thumb)
    if sharp < SHARP_REFUSED:
        return _refuse(
            "blurred", "nothing in the film is sharp; export it again, or have a clinician read it"
        )
    doubts = (
        (p95 < DARK_DOUBTED, "the film is dark"),
        (p5 > BRIGHT_DOUBTED, "the film is bright"),
        (colour >= COLOUR_DOUBTED, "the film is tinted; it may be a photograph of a film"),
        (sharp < SHARP_DOUBTED, "the film is not sharp"),
    )
    return QualityReport(warnings=(*(text for doubt, text in doubts if doubt), *report.warnings))


def _refuse(reason: str, message: str) -> QualityReport:
    return QualityReport(reason, message)


def _check_layout(layout: Layout) -> QualityReport:
    """Compare where a picture is light and dark with where a chest film is."""
    likeness, bases = layout.likeness, layout.bases
    turned = max((1, 3), key=lambda quarters: likeness[quarters])
    if likeness[0] <= -LIKENESS_REFUSED and likeness[turned] < -likeness[0]:
        return _refuse(
            "inverted",
            "black and white seem to be exchanged; if so, export it with bones white, else a clinician must read it",
        )
    if likeness[turned] - likeness[0] > MORE_LIKE_TURNED:
        if likeness[turned] < LIKENESS_REFUSED or layout.foot(turned) < FOOT_REFUSED:
            return _refuse("not_a_chest_film", _NO_CHEST)
        return _refuse(
            "rotated",
            "the film seems to lie on its side; if so, turn it and scan it again, else a clinician must read it",
        )
    cropped, uprightness = bases < BASES_REFUSED, layout.uprightness
    if likeness[2] >= LIKENESS_REFUSED and uprightness < UPRIGHT_REFUSED:
        # What ends within the lungs is dark below, as a film upside down is.
        if cropped and layout.bases_upside_down < BASES_DOUBTED:
            return _refuse("cropped", _CROPPED)
        if layout.foot(2) < FOOT_REFUSED:
            return _refuse("not_a_chest_film", _NO_CHEST)
        return _refuse(
            "rotated",
            "the film seems to lie upside down; if so, turn it and scan it again, else a clinician must read it",
        )
    if likeness[0] < LIKENESS_REFUSED or layout.foot() < FOOT_REFUSED:
        return _refuse("not_a_chest_film", _NO_CHEST)
    if cropped:
        return _refuse("cropped", _CROPPED)
    doubts = (
        (
            layout.margin > MARGIN_DOUBTED,
            "a black margin surrounds the film; export it without one",
        ),
        (bases < BASES_DOUBTED, "the lower part of the lungs may be missing"),
        (layout.tops < TOPS_DOUBTED, "the upper part of the lungs may be missing"),
        (uprightness < UPRIGHT_DOUBTED, "the film may lie upside down"),
        (likeness[0] < LIKENESS_DOUBTED, "the film may not show the whole chest from the front"),
    )
    return QualityReport(warnings=tuple(text for doubt, text in doubts if doubt))


_IF_A_CHEST_FILM: Final = "if it is a chest film, a clinician must read it"

_NO_CHEST: Final = (
    f"light and dark do not lie as in a chest film from the front; {_IF_A_CHEST_FILM}"
)

_CROPPED: Final = "the film ends within the lungs; export it so that all of them show, or have a clinician read it"


def check_features(features: NDArray[np.floating], statistics: FeatureStatistics) -> QualityReport:
    """Judge a film by the model's middle features.

    Args:
        features: (c,), as `edge_xray.features.pool_features` gives them.
        statistics: from the model's metadata.

    Returns:
        ``reason`` is ``foreign``, ``unlike_known_films`` or None.
    """
    score = float(feature_score(features[np.newaxis], statistics)[0])
    if not score <= statistics.foreign:  # refuses NaN as well
        return _refuse(
            "foreign",
            "the model takes this for no film of the kind it knows; if it is the right one, a clinician must read it",
        )
    if score > statistics.unlike:
        return _refuse(
            "unlike_known_films",
            "the film is unlike those the model knows (another machine, age or view?); "
            "a clinician must read it",
        )
    return QualityReport()
