"""Figures of merit with their 95 % intervals, shared by evaluation and parity. Numpy only.

The device never imports this; it stands here because trainer and converter may only meet here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_xray.metadata import Estimate

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""

BOOTSTRAP_RESAMPLES = 2000
CALIBRATION_BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017."""


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


def wilson(hits: int, total: int) -> Estimate:
    """A proportion with its 95 % Wilson score interval (Wilson 1927).

    Args:
        hits: how many.
        total: of how many; 0 gives NaN with the interval 0..1.
    """
    if total == 0:
        return Estimate(math.nan, 0.0, 1.0)
    share = hits / total
    centre = share + Z_95**2 / (2 * total)
    spread = Z_95 * math.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2))
    scale = 1 + Z_95**2 / total
    return Estimate(share, max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))


def cluster_bootstrap(
    statistic: Callable[[NDArray[np.intp]], float],
    clusters: NDArray[np.generic],
    *,
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic with its 95 % percentile interval, resampling whole clusters (patients).

    Films of one patient are not independent, so patients are drawn with replacement, each with all
    their films (Davison & Hinkley 1997, 3.8).

    Args:
        statistic: takes film indices (with repeats), gives a number; NaN resamples are left out.
        clusters: (n,) which patient each film is of.
        resamples: how many.
        seed: of the draw.
    """
    names, inverse = np.unique(clusters, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    generator = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(
                np.concatenate([members[i] for i in generator.integers(0, len(names), len(names))])
            )
            for _ in range(resamples)
        ]
    )
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.025, 0.975]) if values.size else (math.nan, math.nan)
    return Estimate(statistic(np.arange(len(clusters))), float(low), float(high))


def expected_calibration_error(
    probability: NDArray[np.floating], positive: NDArray[np.bool_], bins: int = CALIBRATION_BINS
) -> float:
    """Mean distance of stated probability and observed share, over equal-width bins (Guo et al. 2017).

    Args:
        probability: (n,) 0..1, of being positive.
        positive: (n,) bool, the reference.
        bins: how many.

    Returns:
        0..1; 0 for no films.
    """
    probability = np.asarray(probability, np.float64)
    if not probability.size:
        return 0.0
    index = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    stated = np.bincount(index, weights=probability, minlength=bins)
    observed = np.bincount(index, weights=np.asarray(positive, np.float64), minlength=bins)
    return float(np.abs(stated - observed).sum() / count.sum())


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
    return float(min(1.0, 2.0 * tail / 2**total))
