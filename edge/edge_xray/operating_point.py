"""Where a model's line between "no sign" and "finding" is drawn, and estimates of how it did there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_xray._compat import Self
from edge_xray.errors import ModelError
from edge_xray.metadata_fields import (
    as_record,
    check_at_least_0,
    check_fields,
    check_not_blank,
    is_number,
    place_of,
    read_fields,
    shown,
)


@dataclass(frozen=True)
class Estimate:
    """A measured proportion or area with its 95 % interval.

    Attributes:
        value: the estimate, 0..1.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain data, JSON-ready."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**read_fields(record, cls))


@dataclass(frozen=True)
class OperatingPoint:
    """Where the line between "no sign" and "finding" is drawn, and how it did there.

    Attributes:
        name: ``screening``, ``balanced`` or ``rule-in``, or any other word.
        threshold: a film is positive when its calibrated probability of a finding is >= this.
        review_low: lower end of the interval around the threshold in which a film is ``review``.
        review_high: upper end of it; a film with ``review_low <= p < review_high`` is ``review``.
        rule: the rule by which the threshold was chosen, in words.
        measured_on: the films that the two figures below are from, in words.
        films: how many.
        sensitivity: positives found at the threshold, of all positives; None if not measured.
        specificity: negatives cleared at the threshold, of all negatives; None if not measured.
    """

    name: str
    threshold: float
    review_low: float
    review_high: float
    rule: str = ""
    measured_on: str = ""
    films: int = 0
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None

    def __post_init__(self) -> None:
        """Refuse an interval that does not hold its threshold, and figures that are no shares."""
        check_fields(self)
        check_not_blank(self, "name")
        check_at_least_0(self, "films")
        if not 0.0 <= self.review_low <= self.threshold <= self.review_high <= 1.0:
            raise ModelError(
                f"{place_of(self)}: expected 0 <= review_low <= threshold <= review_high "
                f"<= 1, got {self.review_low}, {self.threshold}, {self.review_high}"
            )
        for name in ("sensitivity", "specificity"):
            figure: Estimate | None = getattr(self, name)
            # An estimate of something else, or of no films, may be anything, NaN too.
            for part, share in figure.to_dict().items() if figure else ():
                if not (is_number(share) and 0 <= share <= 1):
                    raise ModelError(
                        f"{place_of(self)}: {name}: {part} must be a number of 0 to 1, got {shown(share)}"
                    )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "name": self.name,
            "threshold": self.threshold,
            "review_low": self.review_low,
            "review_high": self.review_high,
            "rule": self.rule,
            "measured_on": self.measured_on,
            "films": self.films,
            "sensitivity": self.sensitivity.to_dict() if self.sensitivity else None,
            "specificity": self.specificity.to_dict() if self.specificity else None,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        values = read_fields(record, cls)
        for name in ("sensitivity", "specificity"):
            values[name] = as_record(values.get(name), Estimate.from_dict)
        return cls(**values)
