"""May this film be scored? Tags, pixels and features together, and what the user lifted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edge_xray.classifier import Scores
from edge_xray.decode import DecodedFilm
from edge_xray.intended_use import X_RAY, check_intended_use
from edge_xray.metadata import IntendedUse, ModelMetadata
from edge_xray.quality import QualityReport, check_features, check_pixels

CHEST: Final = "CHEST"
FRONTAL: Final = frozenset({"AP", "PA"})
"""BodyPartExamined and ViewPosition for which, in an X-ray film, the pixels' chest statistics hold."""

MODEL_REASONS: Final = {
    "no_answer": "the model gave no number for the film: its arithmetic broke down on this machine"
}
"""Every reason that lies with the model's answer, with what it means; none of them can be lifted."""

_LIFTED: Final[dict[str, frozenset[str]]] = {
    "--any-age": frozenset({"unlike_known_films"}),
    "--any-view": frozenset({"unlike_known_films", "not_a_chest_film", "cropped"}),
    "--any-body-part": frozenset(
        {
            "unlike_known_films",
            "not_a_chest_film",
            "cropped",
            "foreign",
            "inverted",
            "rotated",
            "page",
        }
    ),
}
"""Reasons of the quality gate that an option turns into a warning.

A film without tags is only known by its looks: who asks for any age asks for films that do not look
like those of the ages the model knows.
"""


@dataclass(frozen=True)
class Limits:
    """Which limits of a model's intended use are lifted.

    Attributes:
        any_age: score patients of any age.
        any_view: score films of any view.
        any_body_part: score films of any body part and modality.
    """

    any_age: bool = False
    any_view: bool = False
    any_body_part: bool = False

    @property
    def lifted(self) -> tuple[str, ...]:
        """The options that are on."""
        on = (self.any_age, self.any_view, self.any_body_part)
        return tuple(option for option, is_on in zip(_LIFTED, on, strict=True) if is_on)


def check_film(film: DecodedFilm, use: IntendedUse, limits: Limits) -> QualityReport:
    """Judge a decoded film before it is scored: first what its file says, then its pixels.

    Args:
        film: decoded.
        use: which films the model is for.
        limits: what is lifted.

    Returns:
        The first reason not to score it, or none; with all warnings up to there.
    """
    frontal = not use.views or not FRONTAL.isdisjoint(use.views)
    x_ray = not use.modalities or not X_RAY.isdisjoint(use.modalities)
    chest = CHEST in use.body_part and frontal and x_ray
    return _in_turn(
        limits,
        QualityReport(warnings=film.warnings),
        lambda: check_intended_use(
            film.tags,
            use,
            any_age=limits.any_age,
            any_view=limits.any_view,
            any_body_part=limits.any_body_part,
        ),
        lambda: check_pixels(film.pixels, colour=film.colour, chest=chest),
    )


def check_scores(
    so_far: QualityReport, scores: Scores, metadata: ModelMetadata, limits: Limits
) -> QualityReport:
    """Judge a film by the model's answer: are there numbers, and are the features those of such a film?

    Args:
        so_far: of `check_film`; its warnings are kept.
        scores: of the film.
        metadata: of the model.
        limits: what is lifted.

    Returns:
        ``reason`` is ``no_answer``, what `edge_xray.quality.check_features` gives, or None.
    """
    if not np.isfinite(scores.logits).all():
        return replace(
            so_far,
            reason="no_answer",
            message="the model gave no number for this film; run edge-xray self-test, then scan again "
            "with another --runtime or another model",
        )
    statistics, features = metadata.features, scores.features
    if statistics is None or features is None:
        return so_far
    return _in_turn(limits, so_far, lambda: check_features(features, statistics))


def _in_turn(
    limits: Limits, so_far: QualityReport, *checks: Callable[[], QualityReport]
) -> QualityReport:
    warnings = so_far.warnings
    for check in checks:
        report = check()
        warnings += report.warnings
        option = _lifted_by(report.reason, limits)
        if option:
            warnings += (f"{report.message}; scored because of {option}",)
        elif report.reason is not None:
            return replace(report, warnings=warnings)
    return QualityReport(warnings=warnings)


def _lifted_by(reason: str | None, limits: Limits) -> str:
    return next((option for option in limits.lifted if reason in _LIFTED[option]), "")
