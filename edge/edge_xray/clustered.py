"""Intervals for films that come in clusters: several of one patient are not independent.

Rates in closed form, anything else by a bootstrap of whole clusters, vectorised. Numpy only; the device
never imports this, it stands here because trainer and converter may only meet here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_xray.measures import (
    BOOTSTRAP_RESAMPLES,
    CALIBRATION_BINS,
    Z_95,
    auc,
    calibration_bin,
    mcnemar_exact,
    perfect_auc_limit,
    wilson_limits,
)
from edge_xray.operating_point import Estimate


def clustered_share(
    hit: NDArray[np.bool_] | NDArray[np.floating], clusters: NDArray[np.generic] | Sequence[str]
) -> Estimate:
    """A proportion with a 95 % Wilson interval for films that are not independent.

    Films of one patient resemble each other, so n films tell less than n patients would: Wilson's
    interval is that of `effective_count` films (Dean & Pagano 2015). It never collapses to a point,
    as the percentile bootstrap of a perfect score does.

    Args:
        hit: (n,) bool, whether each film counts as a hit, or 0..1, how often it does (in several
            trials); the mean is the estimate.
        clusters: (n,) which patient each film is of.

    Returns:
        NaN with the interval 0..1 for no films.
    """
    hit = np.asarray(hit, np.float64)
    if not hit.size:
        return Estimate(math.nan, 0.0, 1.0)
    share = float(hit.mean())
    return Estimate(share, *wilson_limits(share, effective_count(hit, clusters)))


def effective_count(
    hit: NDArray[np.bool_] | NDArray[np.floating], clusters: NDArray[np.generic] | Sequence[str]
) -> float:
    """How many independent yes-or-no films would tell as much of a proportion as these do.

    ``p (1 - p) / v`` with ``v`` the between-cluster variance of the ratio (Cochran 1977, 6.13), never
    more than if all films were independent; where ``v`` is 0 (all hits, or none) the number of
    clusters.

    Args:
        hit: (n,) bool, or 0..1 as in `clustered_share`.
        clusters: (n,) which patient each film is of.

    Returns:
        At least 1; 0 for no films.
    """
    hits = np.asarray(hit, np.float64)
    if not hits.size:
        return 0.0
    share = float(hits.mean())
    return _effective(hits, clusters, share * (1 - share))


def _effective(
    values: NDArray[np.float64], clusters: NDArray[np.generic] | Sequence[str], spread: float
) -> float:
    """`effective_count` of values, at least one, whose variance is `spread` if films are independent."""
    _, inverse, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    count = len(sizes)
    off = np.bincount(inverse, weights=values) - float(values.mean()) * sizes
    between = count / max(count - 1, 1) * float((off**2).sum()) / values.size**2
    variance = max(between, float(values.var()) / values.size)
    if count < 2 or variance < np.finfo(float).eps:
        return float(count)
    return max(1.0, spread / variance)


def clustered_difference(
    hit: NDArray[np.bool_], other: NDArray[np.bool_], clusters: NDArray[np.generic] | Sequence[str]
) -> Estimate:
    """``hit - other``: how much two proportions of the same films differ, with a 95 % interval.

    The adjusted Wald interval for paired proportions (Bonett & Price 2012), which adds a film of either
    kind of disagreement, for as many independent films as tell as much as these (as in
    `effective_count`; Dean & Pagano 2015). It has width where no film differs too: none of n seen does
    not say that there are none.

    Args:
        hit: (n,) bool, whether each film counts as a hit.
        other: (n,) bool, the same of what it is compared with.
        clusters: (n,) which patient each film is of.

    Returns:
        -1..1; NaN with the interval -1..1 for no films.
    """
    net = np.asarray(hit, np.float64) - np.asarray(other, np.float64)
    if not net.size:
        return Estimate(math.nan, -1.0, 1.0)
    value = float(net.mean())
    count = _effective(net, clusters, float(net.var()))
    more, less = ((count * float((net == sign).mean()) + 1) / (count + 2) for sign in (1, -1))
    spread = Z_95 * math.sqrt((more + less - (more - less) ** 2) / (count + 2))
    low, high = more - less - spread, more - less + spread
    return Estimate(value, max(-1.0, min(low, value)), min(1.0, max(high, value)))


def clustered_mcnemar(
    right: NDArray[np.bool_],
    other: NDArray[np.bool_],
    clusters: NDArray[np.generic] | Sequence[str],
) -> float:
    """Two-sided exact p that two models decide the same films equally well, by patient.

    If they do, either of them might have given each patient's answers: the sign of a patient's net number
    of films that one model alone gets right falls like a coin, whatever the patient's films have in common
    (sign-flip test, Fisher 1935; whole blocks, Winkler et al. 2014). It is McNemar's exact p where no
    patient has a net number but -1, 0 and 1.

    Args:
        right: (n,) bool, what one model gets right.
        other: (n,) bool, what the other gets right.
        clusters: (n,) which patient each film is of.

    Returns:
        p, 0..1; 1 if the models never disagree in correctness.
    """
    _, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    films = np.asarray(right, np.int64) - np.asarray(other, np.int64)
    net = np.bincount(inverse, weights=films).astype(np.int64)
    sizes = np.abs(net[net != 0])
    if (sizes == 1).all():
        return mcnemar_exact(int((net < 0).sum()), int((net > 0).sum()))
    total = int(sizes.sum())
    # Chance of each sum of the sizes whose coin fell on the one side, 0..total.
    chances = np.zeros(total + 1)
    chances[0] = 1.0
    for size in sizes:
        chances /= 2
        chances[size:] += chances[:-size].copy()
    extreme = np.abs(2 * np.arange(total + 1) - total) >= abs(int(net.sum()))
    return float(min(1.0, chances[extreme].sum()))


def clustered_mean(
    values: NDArray[np.floating], clusters: NDArray[np.generic] | Sequence[str]
) -> Estimate:
    """A mean with a 95 % normal interval for films that are not independent (Cochran 1977, 6.13).

    Args:
        values: (n,) any quantity.
        clusters: (n,) which patient each is of.

    Returns:
        NaN without an interval for no films, a value without an interval for one cluster.
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        return Estimate(math.nan, math.nan, math.nan)
    mean = float(values.mean())
    _, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    off = np.bincount(inverse, weights=values - mean)
    count = len(off)
    if count < 2:
        return Estimate(mean, math.nan, math.nan)
    spread = Z_95 * math.sqrt(count / (count - 1) * float((off**2).sum())) / values.size
    return Estimate(mean, mean - spread, mean + spread)


def extreme_area(
    value: float, positive: NDArray[np.bool_], clusters: NDArray[np.generic] | Sequence[str]
) -> Estimate:
    """An area of exactly 0 or 1, which resampling leaves as it is, with its 95 % interval.

    That of `perfect_auc_limit` for the number of clusters that hold a positive, and a negative.

    Args:
        value: 0 or 1.
        positive: (n,) bool, the reference.
        clusters: (n,) which patient each film is of.
    """
    positive, clusters = np.asarray(positive, bool), np.asarray(clusters)
    counts = [len(np.unique(clusters[own])) for own in (positive, ~positive)]
    width = 1 - perfect_auc_limit(counts[0], counts[1])
    return Estimate(value, max(0.0, value - width), min(1.0, value + width))


class ClusterResamples:
    """Bootstrap resamples of whole clusters as weights, so that a statistic is a matrix product.

    Drawing patients with replacement means that each film counts as often as its patient was drawn
    (Davison & Hinkley 1997, 3.8). The same resamples serve all statistics of one set of films, so
    that differences of them are paired.

    Attributes:
        weights: (resamples, n) float32, how often each film counts.
        clusters: (n,) which cluster each film is of, as a number.
    """

    def __init__(
        self,
        clusters: NDArray[np.generic] | Sequence[str],
        *,
        resamples: int = BOOTSTRAP_RESAMPLES,
        seed: int = 0,
    ) -> None:
        """Draw the resamples.

        Args:
            clusters: (n,) which patient each film is of.
            resamples: how many.
            seed: of the draw.
        """
        names, inverse = np.unique(np.asarray(clusters), return_inverse=True)
        count = len(names)
        self.clusters: NDArray[np.intp] = inverse
        generator = np.random.default_rng(seed)
        shares = np.full(count, 1.0 / max(count, 1))
        drawn = generator.multinomial(count, shares, size=resamples) if count else None
        self.weights: NDArray[np.float32] = (
            np.zeros((resamples, 0), np.float32)
            if drawn is None
            else drawn.astype(np.float32)[:, inverse]
        )

    @staticmethod
    def estimate(value: float, resampled: NDArray[np.floating]) -> Estimate:
        """A value with the 95 % percentile interval of its resamples; NaN resamples are left out.

        Args:
            value: the statistic, or the difference of two.
            resampled: (resamples,) of it.

        Returns:
            Without an interval (NaN) where the resamples do not vary, as those of a single patient: that does not
            say that other patients would not.
        """
        resampled = resampled[np.isfinite(resampled)]
        if resampled.size and not math.isnan(value):
            low, high = np.quantile(resampled, [0.025, 0.975])
            if high - low > np.finfo(float).eps:
                return Estimate(value, float(low), float(high))
        return Estimate(value, math.nan, math.nan)

    @staticmethod
    def estimate_error(value: float, resampled: NDArray[np.floating]) -> Estimate:
        """A calibration error with the 95 % basic interval of its resamples (Davison & Hinkley 1997, 5.2.1).

        Chance makes the error of a sample larger than the true one, and that of a resample larger once more: their
        percentiles lie above the true error, often above the sample's too. So they are mirrored at the sample's.

        Args:
            value: the error, 0..1.
            resampled: (resamples,) of it.

        Returns:
            The value lies in the interval; without one (NaN) where the resamples do not vary, as in `estimate`.
        """
        own = ClusterResamples.estimate(value, resampled)
        if math.isnan(own.low):
            return own
        low, high = 2 * value - own.high, 2 * value - own.low
        return Estimate(value, max(0.0, min(low, value)), min(1.0, max(high, value)))

    def aucs(self, positive: NDArray[np.bool_], score: NDArray[np.floating]) -> NDArray[np.float64]:
        """`auc` of every resample.

        Args:
            positive: (n,) bool, the reference.
            score: (n,) higher means more likely positive.

        Returns:
            (resamples,); NaN where a class is empty.
        """
        positive = np.asarray(positive, bool)
        order = np.argsort(score, kind="stable")
        ordered = np.asarray(score)[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else order
        result = np.full(len(self.weights), math.nan)
        if not len(starts):
            return result
        for rows in np.array_split(np.arange(len(result)), max(1, self.weights.size // 10**7)):
            weights = self.weights[rows][:, order].astype(np.float64)
            up = np.add.reduceat(weights * positive[order], starts, axis=1)
            down = np.add.reduceat(weights * ~positive[order], starts, axis=1)
            wins = (up * (np.cumsum(down, axis=1) - down / 2)).sum(axis=1)
            pairs = up.sum(axis=1) * down.sum(axis=1)
            result[rows] = np.divide(wins, pairs, out=np.full(len(rows), math.nan), where=pairs > 0)
        return result

    def auc(self, positive: NDArray[np.bool_], score: NDArray[np.floating]) -> Estimate:
        """`edge_xray.measures.auc` with its 95 % interval; arguments as there.

        See `estimate_area`. NaN with 0..1 if a class is empty.
        """
        value = auc(positive, score)
        if math.isnan(value):
            return Estimate(math.nan, 0.0, 1.0)
        return self.estimate_area(value, self.aucs(positive, score), positive)

    def estimate_area(
        self, value: float, resampled: NDArray[np.floating], positive: NDArray[np.bool_]
    ) -> Estimate:
        """An area with the 95 % interval of its logarithm of odds (Pepe 2003, 5.2.5), by the spread of its resamples.

        Near 1, where good models are, the percentiles of the resamples themselves lean high and miss the true area
        two to three times as often as they should. An area of exactly 0 or 1, which resampling leaves as it is, has
        the interval of `perfect_auc_limit` for the number of clusters.

        Args:
            value: the area, or a mean of several.
            resampled: (resamples,) of it; NaN is left out.
            positive: (n,) bool, the reference.

        Returns:
            Without an interval (NaN) where the resamples do not vary, as in `estimate`.
        """
        if value in (0.0, 1.0):
            return extreme_area(value, positive, self.clusters)
        told = resampled[np.isfinite(resampled)]
        # The deviation of equal numbers is not quite 0.
        if math.isnan(value) or not told.size or np.ptp(told) < np.finfo(float).eps:
            return Estimate(value, math.nan, math.nan)
        middle = math.log(value / (1 - value))
        away = Z_95 * float(told.std()) / (value * (1 - value))
        low, high = ((1 + math.tanh((middle + end) / 2)) / 2 for end in (-away, away))
        return Estimate(value, low, high)

    def calibration_errors(
        self, probability: NDArray[np.floating], positive: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """`expected_calibration_error` of every resample; arguments as there."""
        probability = np.asarray(probability, np.float64)
        gaps = np.zeros((len(probability), CALIBRATION_BINS))
        index = calibration_bin(probability)
        gaps[np.arange(len(probability)), index] = probability - np.asarray(positive, np.float64)
        total = self.weights.sum(axis=1, dtype=np.float64)
        errors: NDArray[np.float64] = np.abs(self.weights @ gaps).sum(axis=1) / np.maximum(total, 1)
        return errors
