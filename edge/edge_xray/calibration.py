"""Scores to calibrated probabilities. *Score* calibration only: int8 ranges are the converter's."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edge_xray.metadata import ScoreCalibration

SMALLEST_PROBABILITY: Final = 2.0**-24
"""Floor before a logarithm: half the spacing of float32 below 1, so 0 and 1 stay finite logits."""


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
    logits: NDArray[np.floating], calibration: ScoreCalibration
) -> NDArray[np.float64]:
    """Calibrated probabilities: ``softmax(logits / temperature)`` (Guo et al. 2017).

    Args:
        logits: (..., classes).
        calibration: the temperature, fitted on validation films.

    Returns:
        float64, (..., classes), 0..1, each row adding up to 1; NaN for a row that has NaN or infinity.
    """
    scaled = np.asarray(logits, np.float64) / calibration.temperature
    with np.errstate(invalid="ignore"):
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)
