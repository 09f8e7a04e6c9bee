"""The words that all reports for people share."""

from __future__ import annotations

from typing import Final

from edge_xray.metadata import ModelMetadata
from edge_xray.operating_point import Estimate
from edge_xray.results import Prediction, Row, Run, SkippedFilm

TRIAGE_WORDS: Final = {
    "urgent": "Urgent",
    "review": "To review",
    "supportive": "Supportive care",
    "none": "No sign",
}
NOT_SCORED: Final = "Not scored"
NOT_SCORED_NOTE: Final = "Not scored does not mean no sign: a clinician must read such films."
"""Stands once in a list that has such films."""

REVIEW_ADVICE: Final = "Not sure: a clinician must read this film soon."

_PROBABILITY_WORDS: Final = (
    (0.05, "very low"),
    (0.25, "low"),
    (0.5, "moderate"),
    (0.75, "high"),
)
"""Upper ends (exclusive) of a calibrated probability and what it is called; above: very high."""


def probability_words(p: float) -> str:
    """A calibrated probability in words, ``very low`` to ``very high``."""
    return next((words for end, words in _PROBABILITY_WORDS if p < end), "very high")


def triage_words(row: Row) -> str:
    """The heading of what to do: ``Urgent``, ``To review``, …, ``Not scored``."""
    return TRIAGE_WORDS[row.triage] if isinstance(row, Prediction) else NOT_SCORED


def advice(row: Row, metadata: ModelMetadata) -> str:
    """What to do about a film, in a sentence: the model's own words, or why it was not scored."""
    if isinstance(row, SkippedFilm):
        return sentence(row.message)
    if row.triage == "review":
        return REVIEW_ADVICE
    return next(label.advice for label in metadata.labels if label.name == row.label)


def sentence(text: str) -> str:
    """A message with a capital letter and a full stop."""
    text = text.strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text}."


def percent(p: float) -> str:
    """A probability as whole percent; never 0 or 100, which no model may claim."""
    if p <= 0.005:  # which would be rounded to the even 0
        return "<1 %"
    if p >= 0.995:
        return ">99 %"
    return f"{100 * p:.0f} %"


def estimate(value: Estimate | None) -> str:
    """A measured share with its 95 % interval: ``98.2 % (96.1–99.3)``."""
    if value is None:
        return "not measured"
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f}–{100 * value.high:.1f})"


def operating_point(run: Run) -> str:
    """The operating point in one line: name, threshold and how it did where it was fitted."""
    point = run.point
    text = f"{point.name}: a finding from probability {point.threshold:.3f}"
    if point.review_high > point.review_low:
        text += f", review from {point.review_low:.3f} to {point.review_high:.3f}"
    if point.sensitivity is not None and point.specificity is not None:
        text += (
            f"; where it was fitted (on other films it can do less well): sensitivity {estimate(point.sensitivity)}, specificity {estimate(point.specificity)}"
            f" on {point.films} films"
        )
        if point.measured_on:
            text += f" ({point.measured_on})"
    return text


def row_line(row: Row, run: Run) -> str:
    """One film as one line: for the log of ``edge-xray watch``."""
    share = f" ({percent(row.p_finding)})" if isinstance(row, Prediction) else ""
    doubts = f" [{'; '.join(row.warnings)}]" if row.warnings else ""
    return f"{triage_words(row)}{share}: {row.path}: {advice(row, run.metadata)}{doubts}"
