"""Scores to calibrated probabilities. *Score* calibration only: int8 ranges are the converter's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_xray._compat import Self
from edge_xray.metadata_fields import (
    check_at_least_0,
    check_fields,
    is_number,
    read_fields,
    wrong,
)

SMALLEST_PROBABILITY: Final = 2.0**-24
"""Floor before a logarithm: half the spacing of float32 below 1, so 0 and 1 stay finite logits."""

LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-6, 1e6
"""Bounds of a temperature: far beyond what is ever fitted, and no logit overflows between them."""


@dataclass(frozen=True)
class ScoreCalibration:
    """Temperature scaling (Guo et al. 2017), once for the classes and once more for the finding.

    Attributes:
        temperature: divisor of the logits, > 0; 1 means not calibrated.
        finding_temperature: divisor of the log-odds of a finding that the first one leaves, > 0; 1 leaves them
            as they are. What is between the classes of a finding is not changed by it.
        fitted_on: which films they were fitted on, in words; empty if they were not fitted.
        films: how many.
    """

    temperature: float = 1.0
    fitted_on: str = ""
    films: int = 0
    finding_temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a temperature that cannot divide."""
        for name in ("temperature", "finding_temperature"):
            value = getattr(self, name)
            if not (is_number(value) and LEAST_TEMPERATURE <= value <= MOST_TEMPERATURE):
                bounds = f"{LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}"
                raise wrong(self, name, f"a positive number, {bounds}")
        check_fields(self)
        check_at_least_0(self, "films")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "temperature": self.temperature,
            "finding_temperature": self.finding_temperature,
            "fitted_on": self.fitted_on,
            "films": self.films,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**read_fields(record, cls))


def to_logits(
    output: NDArray[np.floating], kind: Literal["logits", "softmax", "sigmoid"]
) -> NDArray[np.float64]:
    """A network's output without an evidence map, as logits.

    Args:
        output: (..., classes); for ``sigmoid`` (..., 1) means two classes, the second the one scored.
        kind: what the output is.

    Returns:
        float64, (..., classes): as they are; the logarithm of a softmax (its logits but for a
        constant); for a sigmoid with one unit ``(0, log(p / (1 - p)))``, with several units the
        logarithms of their odds.
    """
    values = np.asarray(output, np.float64)
    if kind == "logits":
        return values
    values = np.clip(values, SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY)
    if kind == "softmax":
        return np.asarray(np.log(values), np.float64)
    odds = np.log(values) - np.log1p(-values)
    if odds.shape[-1] == 1:
        odds = np.concatenate([np.zeros_like(odds), odds], axis=-1)
    return np.asarray(odds, np.float64)


def probabilities(
    logits: NDArray[np.floating],
    calibration: ScoreCalibration,
    positive: Sequence[bool] | NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Calibrated probabilities: ``softmax(logits / temperature)`` (Guo et al. 2017).

    With a `ScoreCalibration.finding_temperature` the log-odds of a finding are then divided by that, and the
    classes on either side keep their shares of it. It leaves the order of films by a finding as it is; the first
    temperature leaves the order of a film's classes, and that of films by a finding only where there are two classes.

    Args:
        logits: (..., classes).
        calibration: the temperatures, fitted on validation films.
        positive: of each class, whether it is a finding; classes of both kinds.

    Returns:
        float64, (..., classes), 0..1, each row adding up to 1; NaN for a row that has NaN or infinity.
    """
    scaled = np.asarray(logits, np.float64) / calibration.temperature
    with np.errstate(invalid="ignore"):
        if calibration.finding_temperature != 1.0:
            log_odds = finding_log_odds(scaled, positive)[..., None]
            # Half of what the odds grow by on either side: the ratio of the sides is what counts.
            growth = (1.0 / calibration.finding_temperature - 1.0) * log_odds / 2.0
            scaled = scaled + np.where(np.asarray(positive), growth, -growth)
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def finding_log_odds(
    logits: NDArray[np.floating], positive: Sequence[bool] | NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Logarithm of the odds that a film shows the finding.

    Args:
        logits: (..., classes).
        positive: of each class, whether it is a finding; classes of both kinds.

    Returns:
        float64, (...).
    """
    wide, side = np.asarray(logits, np.float64), np.asarray(positive)
    found = np.logaddexp.reduce(wide[..., side], axis=-1)
    return np.asarray(found - np.logaddexp.reduce(wide[..., ~side], axis=-1), np.float64)
