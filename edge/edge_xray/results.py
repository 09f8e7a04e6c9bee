"""What a scan gives for each film: plain frozen data, small enough to hold a hundred thousand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_xray.errors import EdgeXrayError
from edge_xray.metadata import ModelMetadata, Triage
from edge_xray.operating_point import OperatingPoint
from edge_xray.plural import counted

TRIAGE_ORDER: Final[dict[str, int]] = {"urgent": 0, "review": 1, "supportive": 2, "none": 3}
"""Most urgent first; what was not scored comes after all of them."""

PROBABILITY_DIGITS: Final = 6
"""Decimals kept of a probability: far below what int8 resolves, and rows stay comparable."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A film that was scored.

    Attributes:
        path: the file as it was named or found, always printable.
        sha256: of the file's bytes.
        label: one of the model's classes, decided at the operating point.
        triage: what the film calls for.
        p_finding: calibrated probability of a finding, 0..1.
        probabilities: of each class, in the model's order, adding up to 1.
        warnings: doubts about the film, each in plain words.
        format: ``JPEG``, ``PNG``, ``TIFF``, ``BMP`` or ``DICOM``.
        width: columns in the file, upright.
        height: rows in the file, upright.
        patient: the DICOM patient ID, as a keyed hash unless identifiers were asked for; else empty.
        heatmap: the overlay's file, relative to the results folder; empty if none was made.
        pictured: whether a picture of it was made for the report.
    """

    path: str
    sha256: str
    label: str
    triage: Triage
    p_finding: float
    probabilities: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    format: str = ""
    width: int = 0
    height: int = 0
    patient: str = ""
    heatmap: str = ""
    pictured: bool = False

    @property
    def urgency(self) -> tuple[int, float, str]:
        """Sorting key: most urgent first, then most probable, then by path."""
        return (TRIAGE_ORDER[self.triage], -self.p_finding, self.path)

    def to_record(self) -> dict[str, Any]:
        """Plain data for the journal."""
        return {
            "status": "scored",
            "path": self.path,
            "sha256": self.sha256,
            "label": self.label,
            "triage": self.triage,
            "p_finding": self.p_finding,
            "probabilities": list(self.probabilities),
            "warnings": list(self.warnings),
            "format": self.format,
            "width": self.width,
            "height": self.height,
            "patient": self.patient,
            "heatmap": self.heatmap,
            "pictured": self.pictured,
        }


@dataclass(frozen=True, slots=True)
class SkippedFilm:
    """A film that was not scored, and why.

    Attributes:
        path: the file as it was named or found, always printable.
        sha256: of the file's bytes; empty if they could not be read.
        reason: a short, stable word, for programs.
        message: what happened and what to do, in plain words.
        warnings: further doubts about the film.
        patient: as in `Prediction`.
        pictured: whether a picture of it was made for the report.
    """

    path: str
    sha256: str
    reason: str
    message: str
    warnings: tuple[str, ...] = ()
    patient: str = ""
    pictured: bool = False

    @property
    def urgency(self) -> tuple[int, float, str]:
        """Sorting key: after every scored film."""
        return (len(TRIAGE_ORDER), 0.0, self.path)

    def to_record(self) -> dict[str, Any]:
        """Plain data for the journal."""
        return {
            "status": "not_scored",
            "path": self.path,
            "sha256": self.sha256,
            "reason": self.reason,
            "message": self.message,
            "warnings": list(self.warnings),
            "patient": self.patient,
            "pictured": self.pictured,
        }


Row = Prediction | SkippedFilm


def shared(texts: Iterable[str]) -> tuple[str, ...]:
    """The same texts, each held once in memory however many rows have it."""
    return tuple(sys.intern(text) for text in texts)


def from_record(record: Mapping[str, Any]) -> Row:
    """Read what ``to_record`` wrote.

    Raises:
        EdgeXrayError: the record is none of this version.
    """
    values = dict(record)
    try:
        status = values.pop("status")
        values["warnings"] = shared(values["warnings"])
        if status != "scored":
            return SkippedFilm(**values)
        values["probabilities"] = tuple(float(share) for share in values["probabilities"])
        values["p_finding"] = float(values["p_finding"])
        if values["triage"] not in TRIAGE_ORDER:
            raise ValueError(f"triage {values['triage']!r}")
        return Prediction(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise EdgeXrayError(
            f"a record of the journal cannot be read ({error!r}); remove journal.jsonl from the results folder and scan again"
        ) from error


@dataclass(frozen=True)
class Run:
    """What all rows of a report have in common.

    Attributes:
        metadata: of the model.
        model_sha256: of the whole model file.
        point: the operating point at which films were decided.
        runtime: name and version of the interpreter's library.
        version: of edge-xray.
        finished: local date and time of the report, ``YYYY-MM-DD HH:MM``.
        lifted: options that lifted a limit of the intended use, ``--any-age`` and the like.
    """

    metadata: ModelMetadata
    model_sha256: str
    point: OperatingPoint
    runtime: str
    version: str
    finished: str
    lifted: tuple[str, ...] = ()


@dataclass
class Tally:
    """How many rows there are of each kind; counts as rows are added.

    Attributes:
        triage: count by triage word, most urgent first.
        not_scored: how many films were not scored.
    """

    triage: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TRIAGE_ORDER, 0))
    not_scored: int = 0

    def add(self, row: Row) -> None:
        """Count one row."""
        if isinstance(row, Prediction):
            self.triage[row.triage] += 1
        else:
            self.not_scored += 1

    @property
    def films(self) -> int:
        """All rows."""
        return sum(self.triage.values()) + self.not_scored

    def __str__(self) -> str:
        """One line for people: ``12 films: 2 urgent, 1 to review, …``."""
        words = {
            "urgent": "urgent",
            "review": "to review",
            "supportive": "supportive care",
            "none": "no sign",
        }
        parts = [f"{count} {words[word]}" for word, count in self.triage.items() if count]
        if self.not_scored:
            parts.append(f"{self.not_scored} not scored")
        films = counted(self.films, "film")
        return f"{films}: {', '.join(parts)}" if parts else films
