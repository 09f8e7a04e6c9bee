"""What is fitted after training, on films that were not trained on.

Score calibration, operating points and their review intervals are fitted on validation films only;
the statistics of the middle features on training films, with their thresholds from validation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from edge_xray.calibration import ScoreCalibration, finding_log_odds
from edge_xray.clustered import clustered_share
from edge_xray.errors import UsageError
from edge_xray.features import FeaturePooling, FeatureStatistics, feature_score
from edge_xray.operating_point import OperatingPoint
from edge_xray_trainer.augment import NO_AUGMENTATION

SCREENING_SENSITIVITY = 0.975
"""Share of the findings that the screening point must find on validation.

Not higher: on these data every published model loses specificity, not sensitivity, on films of another
series (docs/design.md), so a threshold that finds 99 % on validation calls healthy children ill there."""

RULE_IN_SPECIFICITY = 0.99
"""Share of the negatives that the rule-in point must clear on validation."""

REVIEW_SHARE = 0.02
"""Share of the validation films on each side of a threshold that a person must decide on."""

FEATURE_COMPONENTS = 64
"""Whitened principal components kept of the middle features."""

SITE_VARIATION = replace(
    NO_AUGMENTATION,
    gamma=0.3,
    contrast=0.25,
    brightness=25.0,
    zoom=0.1,
    zoom_out=0.12,
    border_chance=0.2,
    border=0.1,
)
"""How films of one kind differ between machines and those who work them: exposure, framing, black margins."""

UNLIKE_QUANTILE = 0.995
"""Quantile of validation films' scores above which a film is unlike those the model knows."""

GATE_FILMS = 100
"""Validation films below which the strangest one or two decide that quantile: after 100 films the next is stranger
than all of them in 1 % of cases, twice what `UNLIKE_QUANTILE` means."""

FOREIGN_FACTOR = 1.7
"""Factor on the unlike score above which a film is taken for no film of this kind at all."""


def fit_temperature(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    fitted_on: str,
    log_prior: NDArray[np.floating] | float = 0.0,
) -> ScoreCalibration:
    """Find the temperature with the least negative log-likelihood (Guo et al. 2017, section 4.2).

    Args:
        logits: (n, classes).
        labels: (n,) index of the true class.
        fitted_on: the films, in words.
        log_prior: (classes,) or one number, added to the logits after they are divided by the temperature.
    """
    wide = np.asarray(logits, np.float64)

    def loss(log_temperature: float) -> float:
        scaled = wide / np.exp(log_temperature) + log_prior
        normal = np.logaddexp.reduce(scaled, axis=1)
        return float((normal - scaled[np.arange(len(labels)), labels]).mean())

    return ScoreCalibration(_best_temperature(loss), fitted_on, len(labels))


def fit_finding_temperature(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.generic],
    calibration: ScoreCalibration,
    positive: NDArray[np.bool_],
) -> ScoreCalibration:
    """Find the temperature of the finding, towards targets a little short of 0 and 1 (Platt 1999, section 2.2).

    One temperature for all classes suits the pair that is hardest to tell apart, and leaves the finding, which is
    what a threshold decides on, too unsure. Platt's targets keep films that the network was chosen on, and that
    are told apart better there than others will be, from making it too sure; they count patients, as films of
    one are no new evidence.

    Args:
        logits: (n, classes).
        labels: (n,) index of the true class; films with the finding and without.
        groups: (n,) which patient each film is of.
        calibration: of the classes, fitted before.
        positive: (classes,) bool, whether each is a finding; classes of both kinds.

    Returns:
        The calibration with this temperature as well.
    """
    log_odds = finding_log_odds(logits / calibration.temperature, positive)
    found = positive[labels]
    sick, well = len(np.unique(groups[found])), len(np.unique(groups[~found]))
    target = np.where(found, (sick + 1) / (sick + 2), 1 / (well + 2))

    def loss(log_temperature: float) -> float:
        scaled = log_odds / np.exp(log_temperature)
        return float((np.logaddexp(0.0, scaled) - target * scaled).mean())

    return replace(calibration, finding_temperature=_best_temperature(loss))


def _best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature with the least of a loss that takes its logarithm."""
    # Temperatures of 0.05 to 20 hold every network that learned anything.
    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def fit_operating_points(
    p_finding: NDArray[np.floating],
    positive: NDArray[np.bool_],
    groups: NDArray[np.generic],
    measured_on: str,
) -> tuple[OperatingPoint, ...]:
    """Choose the thresholds of ``screening`` (the default), ``balanced`` and ``rule-in``, in rising order.

    Args:
        p_finding: (n,) calibrated probability of a finding.
        positive: (n,) bool, the reference; both classes present.
        groups: (n,) which patient each film is of; the intervals are clustered by it.
        measured_on: the films, in words; that the thresholds were chosen on them is added.
    """
    scores = np.asarray(p_finding, np.float64)
    found, cleared = np.sort(scores[positive]), np.sort(scores[~positive])
    # The k-th lowest finding may be missed: the threshold lies midway to the next lower score.
    missed = int(np.floor((1.0 - SCREENING_SENSITIVITY) * len(found) + 1e-9))
    screening = _below(scores, found[missed])
    kept = int(np.ceil(RULE_IN_SPECIFICITY * len(cleared) - 1e-9))
    rule_in = _above(scores, cleared[kept - 1])
    candidates = np.unique(scores)
    sensitivity = 1.0 - np.searchsorted(found, candidates) / len(found)
    specificity = np.searchsorted(cleared, candidates) / len(cleared)
    balanced = _below(scores, candidates[np.argmax(sensitivity + specificity)])
    # On films told apart too well the rules cross, and who asks for fewer alarms would get more.
    balanced = max(balanced, screening)
    rule_in = max(rule_in, balanced)
    rules = {
        "screening": (
            screening,
            f"highest threshold that finds at least {SCREENING_SENSITIVITY:.1%} of the findings",
        ),
        "balanced": (
            balanced,
            "threshold with the largest sum of sensitivity and specificity, no lower than screening",
        ),
        "rule-in": (
            rule_in,
            f"lowest threshold that clears at least {RULE_IN_SPECIFICITY:.0%} of the negatives, no lower "
            "than balanced",
        ),
    }
    points = []
    for name, (threshold, rule) in rules.items():
        low, high = _review_interval(scores, threshold)
        points.append(
            OperatingPoint(
                name,
                threshold,
                low,
                high,
                rule,
                f"{measured_on}, on which the threshold was chosen",
                len(scores),
                clustered_share(scores[positive] >= threshold, groups[positive]),
                clustered_share(scores[~positive] < threshold, groups[~positive]),
            )
        )
    return tuple(points)


def _below(scores: NDArray[np.float64], score: float) -> float:
    """Midway between a score and the next lower one, so that the score itself is positive."""
    lower = scores[scores < score]
    return float((score + (lower.max() if lower.size else 0.0)) / 2)


def _above(scores: NDArray[np.float64], score: float) -> float:
    """Midway between a score and the next higher one, so that the score itself is negative."""
    higher = scores[scores > score]
    return float((score + (higher.min() if higher.size else 1.0)) / 2)


def _review_interval(scores: NDArray[np.float64], threshold: float) -> tuple[float, float]:
    below, above = np.sort(scores[scores < threshold])[::-1], np.sort(scores[scores >= threshold])
    count = max(1, round(REVIEW_SHARE * len(scores)))
    low = float(below[min(count, len(below)) - 1]) if below.size else threshold
    # The upper end is itself no review: it lies behind the last score that is one.
    high = _above(scores, above[min(count, len(above)) - 1]) if above.size else threshold
    return low, high


def gate_remark(films: int) -> str:
    """What to say of a gate whose line was drawn with so many validation films; empty where they are enough."""
    if films >= GATE_FILMS:
        return ""
    return (
        f"The quality gate's line was drawn with only {films} validation films, one or two of which decide it: it may "
        f"refuse many films of the same kind. Have {GATE_FILMS} or more for validation, or look at how many "
        "edge-xray scan leaves unscored."
    )


def fit_feature_statistics(
    training: NDArray[np.floating],
    varied: NDArray[np.floating],
    validation: NDArray[np.floating],
    fitted_on: str,
    pooling: FeaturePooling = "mean",
) -> FeatureStatistics:
    """Fit what the quality gate needs to tell films the model knows from all else.

    Fitted on training films alone, the statistics take a margin or another exposure for a strange film, for
    these hardly vary within one site.

    Args:
        training: (n, c) middle features of training films, as `edge_xray.features.pool_features` gives them.
        varied: (any, c) the same of training films varied by `SITE_VARIATION`.
        validation: (m, c) the same of validation films as they are, which set the two thresholds.
        fitted_on: the films, in words.
        pooling: how the features were pooled.

    Raises:
        UsageError: the features are the same of all films.
    """
    values = np.concatenate([training, varied]).astype(np.float64)
    if (values == values[0]).all():
        raise UsageError(
            "the network's features are the same of all films, so it learned nothing and nothing can be told by "
            "them: lower --learning-rate and start again with --restart"
        )
    mean = values.mean(axis=0)
    centred = values - mean
    _, singular, components = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2 / max(1, len(values) - 1)
    # A channel that never varies would be divided by nothing.
    kept = min(FEATURE_COMPONENTS, int((variances > 1e-8 * variances[0]).sum()))
    components, variances = components[:kept], variances[:kept]
    residual = centred - (centred @ components.T) @ components
    residual_scale = float(np.sqrt((residual**2).sum(axis=1).mean()))
    draft = FeatureStatistics(
        mean.astype(np.float32),
        components.astype(np.float32),
        variances.astype(np.float32),
        # Where nothing is left out, rounding must not count as something.
        max(residual_scale, float(np.sqrt(variances[-1]))),
        unlike=0.0,
        foreign=0.0,
        pooling=pooling,
    )
    unlike = float(np.quantile(feature_score(validation, draft), UNLIKE_QUANTILE))
    return replace(
        draft,
        unlike=unlike,
        foreign=unlike * FOREIGN_FACTOR,
        films=len(training),
        fitted_on=f"{fitted_on}, as they are and varied as films of other sites are; "
        f"thresholds from {len(validation)} validation films: "
        f"the {UNLIKE_QUANTILE:.1%} quantile, and {FOREIGN_FACTOR:g} x that",
    )
