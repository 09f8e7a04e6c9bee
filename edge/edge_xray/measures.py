"""Figures of merit with their 95 % intervals, shared by evaluation and parity. Numpy only.

The device never imports this; it stands here because trainer and converter may only meet here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_xray.operating_point import Estimate

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

BOOTSTRAP_RESAMPLES = 2000
CALIBRATION_BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017."""

CHANCE_DRAWS = 1000
"""Draws for the calibration error that chance alone makes."""


def auc(positive: NDArray[np.bool_], score: NDArray[np.floating]) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half.

    Mann-Whitney form (Hanley & McNeil 1982).

    Args:
        positive: (n,) bool, the reference.
        score: (n,) higher means more likely positive.

    Returns:
        0..1; NaN if one of the two classes is empty.
    """
    positive = np.asarray(positive, bool)
    score = np.asarray(score, np.float64)
    count_positive, count_negative = int(positive.sum()), int((~positive).sum())
    if not count_positive or not count_negative:
        return math.nan
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    wins = ranks[positive].sum() - count_positive * (count_positive + 1) / 2.0
    return float(wins / (count_positive * count_negative))


def share_of_two(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """``first / (first + second)``: how much speaks for one of two classes. Half where both are 0, which tells nothing.

    Args:
        first: (n,) probability of the one, >= 0.
        second: (n,) of the other.

    Returns:
        (n,) 0..1.
    """
    both = np.asarray(first, np.float64) + second
    share: NDArray[np.float64] = np.divide(first, both, out=np.full(len(both), 0.5), where=both > 0)
    return share


def roc_curve(
    positive: NDArray[np.bool_], score: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rate at every threshold.

    Args:
        positive: (n,) bool, the reference; both kinds among them.
        score: (n,) higher means more likely positive.

    Returns:
        Two ascending arrays from 0 to 1.
    """
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    true = np.cumsum(positive[order])[last] / positive.sum()
    false = np.cumsum(~positive[order])[last] / (~positive).sum()
    return np.r_[0.0, false], np.r_[0.0, true]


def wilson_limits(share: float, total: float) -> tuple[float, float]:
    """Ends of the 95 % Wilson score interval (Wilson 1927) of a share.

    Args:
        share: 0..1.
        total: of how many, > 0; need not be whole.
    """
    centre = share + Z_95**2 / (2 * total)
    spread = Z_95 * math.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2))
    scale = 1 + Z_95**2 / total
    # Rounding may push an end of the interval past a share of 0 or 1.
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def calibration_bin(probability: NDArray[np.floating]) -> NDArray[np.intp]:
    """Which of the `CALIBRATION_BINS` bins of equal width each probability, 0..1, lies in: (n,)."""
    return np.minimum((probability * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)


def expected_calibration_error(
    probability: NDArray[np.floating], positive: NDArray[np.bool_]
) -> float:
    """Mean distance of stated probability and observed share, over equal-width bins (Guo et al. 2017).

    Args:
        probability: (n,) 0..1, of being positive.
        positive: (n,) bool, the reference.

    Returns:
        0..1; 0 for no films.
    """
    probability = np.asarray(probability, np.float64)
    if not probability.size:
        return 0.0
    index = calibration_bin(probability)
    stated = np.bincount(index, probability, CALIBRATION_BINS)
    observed = np.bincount(index, np.asarray(positive, np.float64), CALIBRATION_BINS)
    return float(np.abs(stated - observed).sum() / probability.size)


def calibration_error_by_chance(probability: NDArray[np.floating]) -> float:
    """What `expected_calibration_error` is on average where what is stated is what happens.

    The error of a sample is never 0: with few films in a bin, the observed share misses the stated one by
    chance. Each draw lets every film be positive with its stated probability (Broecker & Smith 2007).

    Args:
        probability: (n,) 0..1, of being positive.

    Returns:
        0..1; 0 for no films.
    """
    probability = np.asarray(probability, np.float64)
    generator = np.random.default_rng(0)
    errors = [
        expected_calibration_error(probability, generator.random(len(probability)) < probability)
        for _ in range(CHANCE_DRAWS)
    ]
    return float(np.mean(errors))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test: binomial on the discordant pairs (McNemar 1947).

    Args:
        only_first: films that only the first model gets right.
        only_second: films that only the second gets right.

    Returns:
        p, 0..1; 1 if the models never disagree in correctness.
    """
    total = only_first + only_second
    tail = sum(math.comb(total, k) for k in range(min(only_first, only_second) + 1))
    # Whole numbers to the end: beyond 1,023 films neither fits a float, their ratio always does.
    return float(min(1.0, 2 * tail / 2**total))


def complement(estimate: Estimate) -> Estimate:
    """``1 - estimate`` with its interval: an error rate from a rate of success."""
    return Estimate(1 - estimate.value, 1 - estimate.high, 1 - estimate.low)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first - second`` with its 95 % interval, for two estimates from different patients.

    The square-and-add interval from the two intervals (Newcombe 1998, method 10; Zou & Donner
    2008): right for rates near 0 or 1. Not for two models on the same films: they are paired, see
    `edge_xray.clustered.clustered_difference`.

    Args:
        first: an estimate.
        second: the reference, from other patients; the value is NaN if either's is.
    """
    value = first.value - second.value
    if math.isnan(value):
        return Estimate(math.nan, -1.0, 1.0)
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above)


def mean_of_two(first: Estimate, second: Estimate) -> Estimate:
    """The mean of two estimates from different films, such as sensitivity and specificity.

    Square-and-add interval, as in `difference`.

    Args:
        first: an estimate; the mean is NaN with 0..1 if either value is NaN.
        second: another.
    """
    value = (first.value + second.value) / 2
    if math.isnan(value):
        return Estimate(math.nan, 0.0, 1.0)
    below = math.hypot(first.value - first.low, second.value - second.low) / 2
    above = math.hypot(first.high - first.value, second.high - second.value) / 2
    return Estimate(value, value - below, value + above)


def perfect_auc_limit(positives: int, negatives: int) -> float:
    """Lower end of the 95 % interval of an AUC of 1, where a bootstrap sees no spread at all.

    The least area that an observed 1 does not contradict, by Newcombe's (2006) score interval for
    the area, method 5, with the Hanley & McNeil variance.

    Args:
        positives: (independent) positives, the reference.
        negatives: (independent) negatives.

    Returns:
        0..1; 0 if either count is 0. An AUC of 0 has the interval from 0 to one less this.
    """
    if not positives or not negatives:
        return 0.0
    extra = (positives + negatives) / 2 - 1

    def spread(area: float) -> float:
        pairs = 1 + extra * (1 - area) / (2 - area) + extra * area / (1 + area)
        return math.sqrt(area * (1 - area) * pairs / (positives * negatives))

    low, high = 0.5, 1.0
    for _ in range(60):
        area = (low + high) / 2
        low, high = (area, high) if 1 - area > Z_95 * spread(area) else (low, area)
    return low


def predictive_values(
    sensitivity: float,
    specificity: float,
    positives: float,
    negatives: float,
    prevalence: float,
) -> tuple[Estimate, Estimate]:
    """Positive and negative predictive value at a chosen prevalence, with 95 % intervals.

    Bayes' rule; logit intervals of Mercaldo, Lau & Zhou 2007. A rate of 0 or 1, which has no logit, counts as if
    half a film more had been called right and half a film more wrong.

    Args:
        sensitivity: 0..1, on the reference's positives.
        specificity: 0..1, on the reference's negatives.
        positives: (effective) number of positives that the sensitivity is from.
        negatives: (effective) number of negatives that the specificity is from.
        prevalence: share of positives among those who will be filmed, 0 < prevalence < 1.

    Returns:
        ``(PPV, NPV)``; NaN with 0..1 where there were no positives or no negatives, or where no film
        (or every film) is called positive.
    """
    empty = Estimate(math.nan, 0.0, 1.0)
    if not positives or not negatives:
        return empty, empty

    def with_logit(share: float, total: float) -> tuple[float, float]:
        return (share, total) if 0 < share < 1 else ((share * total + 0.5) / (total + 1), total + 1)

    def interval(value: float, logit: float, variance: float) -> Estimate:
        low, high = (
            math.exp(-np.logaddexp(0.0, -(logit + sign * Z_95 * math.sqrt(variance))))
            for sign in (-1, 1)
        )
        # The value of a rate of 0 or 1 is itself 0 or 1, beyond the two ends.
        return Estimate(value, min(low, value), max(high, value))

    true_positive = sensitivity * prevalence
    false_positive = (1 - specificity) * (1 - prevalence)
    true_negative = specificity * (1 - prevalence)
    false_negative = (1 - sensitivity) * prevalence
    se, n1 = with_logit(sensitivity, positives)
    sp, n0 = with_logit(specificity, negatives)
    odds = math.log(prevalence / (1 - prevalence))
    ppv = npv = empty
    if true_positive + false_positive > 0:
        ppv = interval(
            true_positive / (true_positive + false_positive),
            math.log(se / (1 - sp)) + odds,
            (1 - se) / se / n1 + sp / (1 - sp) / n0,
        )
    if true_negative + false_negative > 0:
        npv = interval(
            true_negative / (true_negative + false_negative),
            math.log(sp / (1 - se)) - odds,
            se / (1 - se) / n1 + (1 - sp) / sp / n0,
        )
    return ppv, npv
