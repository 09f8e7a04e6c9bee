"""Figures of several models on the same films, and their paired differences, with 95 % intervals.

All intervals come from one bootstrap: patients are drawn with replacement, each with all their films
(Davison & Hinkley 1997, 3.8), and every figure of every model is computed on the same draws. A draw is
a row of film weights, so a figure of 2,000 draws is one matrix product. Where the draws have no width,
as those of a perfect share or area, the interval is the one `edge_xray.clustered` gives an evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import clustered_share, extreme_area
from edge_xray.measures import BOOTSTRAP_RESAMPLES, CALIBRATION_BINS, mcnemar_exact
from edge_xray.metadata import Estimate

LOWER_QUANTILE, UPPER_QUANTILE = 0.025, 0.975


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one model said of the films.

    Attributes:
        probabilities: float64, (n, classes), calibrated.
        p_finding: float64, (n,), 0..1.
        called_positive: bool, (n,), at the operating point.
        called: str, (n,), the label at the operating point.
        truth: str, (n,), the films' classes in this model's labels.
        truth_positive: bool, (n,).
        labels: the model's labels, in the order of `probabilities`.
        pair: two positive classes to tell apart, if the model has just two; else None.
    """

    probabilities: NDArray[np.float64]
    p_finding: NDArray[np.float64]
    called_positive: NDArray[np.bool_]
    called: NDArray[np.str_]
    truth: NDArray[np.str_]
    truth_positive: NDArray[np.bool_]
    labels: tuple[str, ...]
    pair: tuple[str, str] | None

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether finding or no finding was decided right, (n,)."""
        return np.equal(self.called_positive, self.truth_positive)


@dataclass(frozen=True)
class Figures:
    """One model's figures, each with its 95 % interval; NaN where the films do not tell.

    Attributes:
        accuracy: finding or none, at the operating point.
        sensitivity: positives found, of all positives.
        specificity: negatives cleared, of all negatives.
        class_accuracy: films given their own label at the operating point.
        auc: finding against none, without a threshold.
        pair_auc: one positive class against the other, among films of either.
        calibration_error: expected calibration error of the probability of a finding.
    """

    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    class_accuracy: Estimate
    auc: Estimate
    pair_auc: Estimate
    calibration_error: Estimate


def draw_weights(
    clusters: Sequence[str], resamples: int = BOOTSTRAP_RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """How often each film occurs in each draw of patients.

    Args:
        clusters: (n,) whom each film is of.
        resamples: how many draws.
        seed: of the draws.

    Returns:
        float64, (1 + resamples, n); the first row is all ones: the films as they are.
    """
    names, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    return np.concatenate([np.ones((1, len(inverse))), counts[:, inverse].astype(np.float64)])


def weighted_share(
    weights: NDArray[np.float64], hit: NDArray[np.bool_], among: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Share of hits among some films, in each draw; NaN where a draw has none of them.

    Args:
        weights: (r, n) from `draw_weights`.
        hit: (n,) bool.
        among: (n,) bool.

    Returns:
        float64, (r,), 0..1.
    """
    total = weights @ among.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(weights @ (hit & among).astype(np.float64) / total, np.float64)


def weighted_auc(
    weights: NDArray[np.float64], positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area under the ROC curve in each draw, ties half (Hanley & McNeil 1982).

    Args:
        weights: (r, n) from `draw_weights`.
        positive: (n,) bool.
        score: (n,), higher means more likely positive.

    Returns:
        float64, (r,), 0..1; NaN where a draw lacks a class.
    """
    if not positive.size:
        return np.full(len(weights), math.nan)
    levels, inverse = np.unique(score, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(len(levels)))
    ordered = weights[:, order]
    above = np.add.reduceat(ordered * positive[order], starts, axis=1)
    below = np.add.reduceat(ordered * ~positive[order], starts, axis=1)
    wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(wins / (above.sum(axis=1) * below.sum(axis=1)), np.float64)


def weighted_calibration_error(
    weights: NDArray[np.float64], probability: NDArray[np.float64], positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Expected calibration error in each draw, over equal-width bins (Guo et al. 2017).

    Args:
        weights: (r, n) from `draw_weights`.
        probability: (n,), 0..1.
        positive: (n,) bool.

    Returns:
        float64, (r,), 0..1.
    """
    index = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    bins = np.eye(CALIBRATION_BINS)[index]
    gap = np.abs(weights @ (bins * (probability - positive)[:, None]))
    return np.asarray(gap.sum(axis=1) / weights.sum(axis=1), np.float64)


def _draws(weights: NDArray[np.float64], outcome: Outcome) -> dict[str, NDArray[np.float64]]:
    """Every figure in every draw; the first of each is the figure itself."""
    truth = outcome.truth_positive
    everything = np.ones_like(truth)
    draws = {
        "accuracy": weighted_share(weights, outcome.correct, everything),
        "sensitivity": weighted_share(weights, outcome.called_positive, truth),
        "specificity": weighted_share(weights, ~outcome.called_positive, ~truth),
        "class_accuracy": weighted_share(weights, outcome.called == outcome.truth, everything),
        "auc": weighted_auc(weights, truth, outcome.p_finding),
        "calibration_error": weighted_calibration_error(weights, outcome.p_finding, truth),
    }
    draws["pair_auc"] = np.full(len(weights), math.nan)
    if outcome.pair is not None:
        first, second = (
            outcome.probabilities[:, outcome.labels.index(name)] for name in outcome.pair
        )
        among = np.isin(outcome.truth, outcome.pair)
        share = first / np.maximum(first + second, np.finfo(np.float64).tiny)
        draws["pair_auc"] = weighted_auc(
            weights[:, among], outcome.truth[among] == outcome.pair[0], share[among]
        )
    return draws


def _interval(draws: NDArray[np.float64]) -> Estimate:
    values = draws[1:][np.isfinite(draws[1:])]
    if not values.size or not math.isfinite(draws[0]):
        return Estimate(float(draws[0]), math.nan, math.nan)
    low, high = np.quantile(values, [LOWER_QUANTILE, UPPER_QUANTILE])
    return Estimate(float(draws[0]), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """A candidate against the reference, on the same films.

    Attributes:
        differences: candidate minus reference for each figure of `Figures`, with intervals.
        mcnemar_p: exact p of McNemar's test on right and wrong decisions.
        only_reference: films that only the reference decides right.
        only_candidate: films that only the candidate decides right.
        finding_flips: numbers of the films found by one and cleared by the other.
        label_flips: numbers of the films that get another label; holds `finding_flips`, and no more
            than these if the two models have other labels.
        agreement: share of films that do not flip.
        largest_shift: largest difference of the probability of a finding, 0..1.
        mean_shift: mean absolute difference of it.
    """

    differences: Figures
    mcnemar_p: float
    only_reference: int
    only_candidate: int
    finding_flips: tuple[int, ...]
    label_flips: tuple[int, ...]
    agreement: float
    largest_shift: float
    mean_shift: float


def compare(
    outcomes: Sequence[Outcome],
    clusters: Sequence[str],
    *,
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = 0,
) -> tuple[list[Figures], list[Comparison]]:
    """Compare models on the same films.

    Args:
        outcomes: of the models, the reference first.
        clusters: (n,) whom each film is of.
        resamples: how many draws of patients.
        seed: of the draws.

    Returns:
        Figures of each model, and a comparison with the first for each but the first. The interval of
        a share or area that is 0 or 1 is no bootstrap's: see `_with_width`.
    """
    weights = draw_weights(clusters, resamples, seed)
    draws = [_draws(weights, outcome) for outcome in outcomes]
    figures = [
        _with_width({name: _interval(values) for name, values in model.items()}, outcome, clusters)
        for model, outcome in zip(draws, outcomes, strict=True)
    ]
    comparisons = [
        _comparison(
            outcomes[0],
            outcome,
            Figures(**{name: _interval(model[name] - draws[0][name]) for name in model}),
        )
        for model, outcome in zip(draws[1:], outcomes[1:], strict=True)
    ]
    return figures, comparisons


def _with_width(
    estimates: dict[str, Estimate], outcome: Outcome, clusters: Sequence[str]
) -> Figures:
    """Give figures that no draw of patients changes the interval that an evaluation gives them."""
    truth, whom = outcome.truth_positive, np.asarray(clusters)
    shares = {
        "accuracy": (outcome.correct, whom),
        "sensitivity": (outcome.called_positive[truth], whom[truth]),
        "specificity": (~outcome.called_positive[~truth], whom[~truth]),
        "class_accuracy": (outcome.called == outcome.truth, whom),
    }
    for name, (hit, own) in shares.items():
        if estimates[name].value in (0.0, 1.0) or estimates[name].low == estimates[name].high:
            estimates[name] = clustered_share(hit, own)
    areas = {"auc": (truth, whom)}
    if outcome.pair is not None:
        among = np.isin(outcome.truth, outcome.pair)
        areas["pair_auc"] = (outcome.truth[among] == outcome.pair[0], whom[among])
    for name, (positive, own) in areas.items():
        if estimates[name].value in (0.0, 1.0):
            estimates[name] = extreme_area(estimates[name].value, positive, own)
    return Figures(**estimates)


def _comparison(reference: Outcome, candidate: Outcome, differences: Figures) -> Comparison:
    shift = np.abs(candidate.p_finding - reference.p_finding)
    finding = np.flatnonzero(candidate.called_positive != reference.called_positive)
    other = candidate.called_positive != reference.called_positive
    if set(candidate.labels) == set(reference.labels):
        other |= candidate.called != reference.called
    only_reference = int((reference.correct & ~candidate.correct).sum())
    only_candidate = int((candidate.correct & ~reference.correct).sum())
    return Comparison(
        differences,
        mcnemar_exact(only_reference, only_candidate),
        only_reference,
        only_candidate,
        tuple(int(i) for i in finding),
        tuple(int(i) for i in np.flatnonzero(other)),
        float(1.0 - other.mean()),
        float(shift.max()),
        float(shift.mean()),
    )
