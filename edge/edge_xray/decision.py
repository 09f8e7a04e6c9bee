"""Probabilities to what to do: the label and the triage word at an operating point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_xray.metadata import ModelMetadata, Triage
from edge_xray.operating_point import OperatingPoint


@dataclass(frozen=True)
class Decision:
    """What a film is called and what it calls for.

    Attributes:
        label: one of the model's classes.
        triage: the class's own triage word, or ``review`` inside the review interval.
        p_finding: calibrated probability of a finding, 0..1.
    """

    label: str
    triage: Triage
    p_finding: float


def p_finding(probabilities: NDArray[np.floating], metadata: ModelMetadata) -> float:
    """Probability that a film shows the finding: the sum over the positive classes, 0..1.

    NaN for probabilities that are no numbers: nothing is known then, least of all that there is no finding.
    """
    total = np.asarray(probabilities, np.float64)[np.array(metadata.positive)].sum()
    return float(np.clip(total, 0.0, 1.0))


def decide(
    probabilities: NDArray[np.floating], metadata: ModelMetadata, point: OperatingPoint
) -> Decision:
    """Decide about one film.

    The film is positive when its probability of a finding reaches the point's threshold, which is
    not 0.5 but the one fitted on validation films. The label is then the most probable positive
    class, else the most probable negative one. Inside the review interval the label stays and the
    triage word is ``review``: a person decides.

    Args:
        probabilities: (classes,), calibrated.
        metadata: of the model that gave them.
        point: the operating point.
    """
    finding = p_finding(probabilities, metadata)
    positive = np.array(metadata.positive)
    wanted = positive if finding >= point.threshold else ~positive
    best = int(np.argmax(np.where(wanted, probabilities, -1.0)))
    label = metadata.labels[best]
    review = point.review_low <= finding < point.review_high
    return Decision(label.name, "review" if review else label.triage, finding)
