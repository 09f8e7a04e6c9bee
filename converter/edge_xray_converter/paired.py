"""Figures of several models on the same films, and their paired differences, with 95 % intervals.

The intervals are those that an evaluation gives the same figures (`edge_xray.clustered`): of shares in
closed form, of all else by a bootstrap of patients, on the same draws for every model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import (
    ClusterResamples,
    clustered_difference,
    clustered_mcnemar,
    clustered_share,
)
from edge_xray.measures import (
    BOOTSTRAP_RESAMPLES,
    auc,
    expected_calibration_error,
    share_of_two,
)
from edge_xray.operating_point import Estimate

NOTHING = Estimate(math.nan, math.nan, math.nan)
"""A figure that the films or the models do not tell."""

LABEL_FIGURES = frozenset({"class_accuracy", "pair_auc"})
"""Figures that hang on which labels a model has: models of other labels answer other questions."""

_Share: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""The films that count as hits, and the films that they are among; both bool, (n,)."""

_Drawn: TypeAlias = tuple[Estimate, NDArray[np.float64]]
"""A figure, and what it is in every draw: float64, (resamples,)."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one model said of the films.

    Attributes:
        probabilities: float64, (n, classes), calibrated.
        p_finding: float64, (n,), 0..1.
        called_positive: bool, (n,), at the operating point.
        called: str, (n,), the label at the operating point.
        truth: str, (n,), the films' classes in this model's labels, or its finding where no more is known.
        truth_positive: bool, (n,).
        labels: the model's labels, in the order of `probabilities`.
        pair: two positive classes to tell apart, if the model has just two; else None.
        refused: bool, (n,), films that the device would not score, by the model's features; None if it has no
            such gate.
    """

    probabilities: NDArray[np.float64]
    p_finding: NDArray[np.float64]
    called_positive: NDArray[np.bool_]
    called: NDArray[np.str_]
    truth: NDArray[np.str_]
    truth_positive: NDArray[np.bool_]
    labels: tuple[str, ...]
    pair: tuple[str, str] | None
    refused: NDArray[np.bool_] | None = None

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
        class_accuracy: films given their own label at the operating point, of those whose class is known.
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


@dataclass(frozen=True)
class Comparison:
    """A candidate against the reference, on the same films.

    Attributes:
        differences: candidate minus reference for each figure of `Figures`, with intervals. What hangs on
            the labels (`class_accuracy`, `pair_auc`) is NaN if the two models have other labels. A
            difference has no interval (NaN) where it is not paired, as the two take other films for
            positive, and where no draw of patients changes it.
        mcnemar_p: exact p on right and wrong decisions: McNemar's test, by patient
            (`edge_xray.clustered.clustered_mcnemar`).
        only_reference: films that only the reference decides right.
        only_candidate: films that only the candidate decides right.
        finding_flips: numbers of the films found by one and cleared by the other.
        label_flips: numbers of the films that get another label; holds `finding_flips`, and no more
            than these if the two models have other labels.
        agreement: share of films that do not flip.
        largest_shift: largest difference of the probability of a finding, 0..1.
        mean_shift: mean absolute difference of it.
        refusals: share of films that the candidate's gate refuses and the reference's does not; NaN if one of
            them has none.
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
    refusals: float


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
        Figures of each model, and a comparison with the first for each but the first.
    """
    whom = np.asarray(clusters, np.str_)
    resample = partial(ClusterResamples, resamples=resamples, seed=seed)
    drawn = _drawn(outcomes, whom, resample)
    figures = [
        Figures(
            **{
                name: clustered_share(hit[among], whom[among])
                for name, (hit, among) in _shares(outcome).items()
            },
            **{name: estimate for name, (estimate, _) in own.items()},
        )
        for outcome, own in zip(outcomes, drawn, strict=True)
    ]
    comparisons = [
        _comparison(
            outcomes[0],
            outcome,
            _differences(outcomes[0], outcome, drawn[0], own, whom),
            whom,
        )
        for outcome, own in zip(outcomes[1:], drawn[1:], strict=True)
    ]
    return figures, comparisons


def _shares(outcome: Outcome) -> dict[str, _Share]:
    truth = outcome.truth_positive
    everything = np.ones_like(truth)
    return {
        "accuracy": (outcome.correct, everything),
        "sensitivity": (outcome.called_positive, truth),
        "specificity": (~outcome.called_positive, ~truth),
        "class_accuracy": (outcome.called == outcome.truth, np.isin(outcome.truth, outcome.labels)),
    }


def _drawn(
    outcomes: Sequence[Outcome],
    whom: NDArray[np.str_],
    resample: Callable[[NDArray[np.str_]], ClusterResamples],
) -> list[dict[str, _Drawn]]:
    """The other figures of each model, with what they are in every draw."""
    resamples = resample(whom)
    found: list[dict[str, _Drawn]] = []
    for outcome in outcomes:
        truth, finding = outcome.truth_positive, outcome.p_finding
        errors = resamples.calibration_errors(finding, truth)
        error = expected_calibration_error(finding, truth)
        found.append(
            {
                "auc": _area(resamples, truth, finding),
                "pair_auc": (NOTHING, np.full(1, math.nan)),
                "calibration_error": (resamples.estimate_error(error, errors), errors),
            }
        )
        if outcome.pair is not None:
            among = np.isin(outcome.truth, outcome.pair)
            first, second = (
                outcome.probabilities[among, outcome.labels.index(name)] for name in outcome.pair
            )
            positive = outcome.truth[among] == outcome.pair[0]
            found[-1]["pair_auc"] = _area(
                resample(whom[among]), positive, share_of_two(first, second)
            )
    return found


def _area(
    resamples: ClusterResamples, positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> _Drawn:
    areas = resamples.aucs(positive, score)
    return resamples.estimate_area(auc(positive, score), areas, positive), areas


def _differences(
    reference: Outcome,
    candidate: Outcome,
    before: Mapping[str, _Drawn],
    after: Mapping[str, _Drawn],
    whom: NDArray[np.str_],
) -> Figures:
    differences = _share_differences(reference, candidate, whom)
    for name, (estimate, draws) in after.items():
        other, other_draws = before[name]
        differences[name] = ClusterResamples.estimate(
            estimate.value - other.value, draws - other_draws
        )
    if not _same_labels(reference, candidate):
        differences |= dict.fromkeys(LABEL_FIGURES, NOTHING)
    return Figures(**differences)


def _share_differences(
    reference: Outcome, candidate: Outcome, whom: NDArray[np.str_]
) -> dict[str, Estimate]:
    differences, others = {}, _shares(reference)
    for name, (hit, among) in _shares(candidate).items():
        other, other_among = others[name]
        if np.array_equal(among, other_among):
            differences[name] = clustered_difference(hit[among], other[among], whom[among])
        else:
            now = clustered_share(hit[among], whom[among]).value
            before = clustered_share(other[other_among], whom[other_among]).value
            differences[name] = Estimate(now - before, math.nan, math.nan)
    return differences


def _same_labels(first: Outcome, second: Outcome) -> bool:
    return set(first.labels) == set(second.labels)


def _comparison(
    reference: Outcome, candidate: Outcome, differences: Figures, whom: NDArray[np.str_]
) -> Comparison:
    shift = np.abs(candidate.p_finding - reference.p_finding)
    finding = label = candidate.called_positive != reference.called_positive
    if _same_labels(reference, candidate):
        label = finding | (candidate.called != reference.called)
    return Comparison(
        differences,
        clustered_mcnemar(candidate.correct, reference.correct, whom),
        int((reference.correct & ~candidate.correct).sum()),
        int((candidate.correct & ~reference.correct).sum()),
        tuple(np.flatnonzero(finding).tolist()),
        tuple(np.flatnonzero(label).tolist()),
        float(1.0 - label.mean()),
        float(shift.max()),
        float(shift.mean()),
        _refusals(reference, candidate),
    )


def _refusals(reference: Outcome, candidate: Outcome) -> float:
    if reference.refused is None or candidate.refused is None:
        return math.nan
    return float((candidate.refused & ~reference.refused).mean())
