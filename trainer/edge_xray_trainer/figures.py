"""Figures of merit of a scored set of films: finding or none, which class, reliability, ROC.

Pure functions of what the films are (`Reference`) and what a model says of them (`Scored`). Rates have
clustered Wilson intervals (`edge_xray.clustered.clustered_share`), all else a bootstrap of patients (areas on the
logit scale). A figure of no films is NaN, a rate of none has the interval 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import ClusterResamples, clustered_share, effective_count
from edge_xray.measures import (
    BOOTSTRAP_RESAMPLES,
    CALIBRATION_BINS,
    calibration_bin,
    calibration_error_by_chance,
    complement,
    expected_calibration_error,
    predictive_values,
    roc_curve,
    share_of_two,
)
from edge_xray.metadata import ModelMetadata
from edge_xray.operating_point import Estimate
from edge_xray_trainer.scoring import Reference, Scored

MAX_PAIRED_CLASSES = 6
"""Positive classes up to which each is compared with each other one."""

ROC_POINTS = 400
"""Points kept of a ROC curve."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn.

    Attributes:
        resamples: of the patients.
        seed: of the draw.
    """

    resamples: int = BOOTSTRAP_RESAMPLES
    seed: int = 0

    def of(self, clusters: NDArray[np.generic]) -> ClusterResamples:
        """Resamples of these clusters."""
        return ClusterResamples(clusters, resamples=self.resamples, seed=self.seed)


@dataclass(frozen=True)
class Measures:
    """Normal against finding, at the operating point.

    Attributes:
        films: how many.
        patients: of how many patients.
        positives: films whose reference is the finding.
        counts: true positive, false positive, true negative, false negative.
        auc: area under the ROC curve of the probability of the finding; bootstrap by patient.
        accuracy: films called right, of all.
        sensitivity: positives called positive, of all positives.
        specificity: negatives called negative, of all negatives.
        review: films given to a person, of all.
    """

    films: int
    patients: int
    positives: int
    counts: tuple[int, int, int, int]
    auc: Estimate
    accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    review: Estimate

    @property
    def type_1(self) -> Estimate:
        """Negatives called positive, of all negatives: false alarms."""
        return complement(self.specificity)

    @property
    def type_2(self) -> Estimate:
        """Positives called negative, of all positives: misses."""
        return complement(self.sensitivity)


@dataclass(frozen=True, eq=False)
class Classes:
    """Which class, for films whose class is known.

    Attributes:
        names: the classes.
        confusion: (classes, classes) films, the reference down, the model's decision across.
        accuracy: films given their own class, of all.
        recall: by class, films given it, of those that are it.
        one_against_rest: by class, AUC of its probability against all other classes.
        pairs: by ``(first, second)`` of the positive classes, AUC of
            ``p_first / (p_first + p_second)`` on films of these two.
    """

    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    accuracy: Estimate
    recall: Mapping[str, Estimate]
    one_against_rest: Mapping[str, Estimate]
    pairs: Mapping[tuple[str, str], Estimate]


@dataclass(frozen=True, eq=False)
class Subgroup:
    """Figures on some of the films.

    Attributes:
        by: what divides the films.
        name: which of the divided.
        measures: normal against finding.
        pairs: between positive classes, as in `Classes.pairs`.
    """

    by: str
    name: str
    measures: Measures
    pairs: Mapping[tuple[str, str], Estimate]


@dataclass(frozen=True)
class Reliability:
    """Whether stated probabilities are what happens.

    Attributes:
        finding: expected calibration error of the probability of the finding; it leans high where films are few.
        classes: the same of the most probable class' probability (Guo et al. 2017).
        finding_by_chance: what `finding` would be on average if what is stated were what happens.
        classes_by_chance: the same of `classes`.
        stated: mean stated probability in each bin; NaN in an empty one.
        observed: share of positives in each bin.
        films: in each bin.
    """

    finding: Estimate
    classes: Estimate
    finding_by_chance: float
    classes_by_chance: float
    stated: tuple[float, ...]
    observed: tuple[Estimate, ...]
    films: tuple[int, ...]


def measure(
    reference: Reference,
    scored: Scored,
    bootstrap: Bootstrap,
    members: NDArray[np.bool_] | None = None,
) -> Measures:
    """Figures of merit at the operating point.

    Rates have clustered Wilson intervals (`edge_xray.clustered.clustered_share`), the AUC one by
    bootstrap of patients. A rate of no films is NaN with the interval 0..1.

    Args:
        reference: what the films are.
        scored: what the model says.
        bootstrap: how intervals are drawn.
        members: (n,) bool, the films that count; None: all.
    """
    keep = np.ones(len(reference.positive), bool) if members is None else members
    positive, called = reference.positive[keep], scored.called[keep]
    clusters = reference.clusters[keep]
    resamples = bootstrap.of(clusters)
    return Measures(
        films=len(positive),
        patients=len(np.unique(clusters)),
        positives=int(positive.sum()),
        counts=(
            int((called & positive).sum()),
            int((called & ~positive).sum()),
            int((~called & ~positive).sum()),
            int((~called & positive).sum()),
        ),
        auc=resamples.auc(positive, scored.p_finding[keep]),
        accuracy=clustered_share(called == positive, clusters),
        sensitivity=clustered_share(called[positive], clusters[positive]),
        specificity=clustered_share(~called[~positive], clusters[~positive]),
        review=clustered_share(scored.review[keep], clusters),
    )


def measure_classes(
    reference: Reference, scored: Scored, metadata: ModelMetadata, bootstrap: Bootstrap
) -> Classes | None:
    """Which class: confusion, recall, AUC one against the rest and between positive classes.

    Args:
        reference: what the films are.
        scored: what the model says.
        metadata: of the model.
        bootstrap: how intervals are drawn.

    Returns:
        None if of no film the class is known.
    """
    known = reference.index >= 0
    if not known.any():
        return None
    names = metadata.label_names
    index, decided = reference.index[known], scored.decided[known]
    shares, clusters = scored.probabilities[known], reference.clusters[known]
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (index, decided), 1)
    resamples = bootstrap.of(clusters)
    present = [i for i in range(len(names)) if (index == i).any()]
    return Classes(
        names=names,
        confusion=confusion,
        accuracy=clustered_share(index == decided, clusters),
        recall={
            names[i]: clustered_share(decided[index == i] == i, clusters[index == i])
            for i in present
        },
        one_against_rest={names[i]: resamples.auc(index == i, shares[:, i]) for i in present},
        pairs=measure_pairs(reference, scored, metadata, bootstrap),
    )


def measure_pairs(
    reference: Reference,
    scored: Scored,
    metadata: ModelMetadata,
    bootstrap: Bootstrap,
    members: NDArray[np.bool_] | None = None,
) -> dict[tuple[str, str], Estimate]:
    """Each positive class against each other one; see `Classes.pairs`.

    Args:
        reference: what the films are.
        scored: what the model says.
        metadata: of the model.
        bootstrap: how intervals are drawn.
        members: (n,) bool, the films that count; None: all.

    Returns:
        Empty where fewer than two positive classes are there, or more than `MAX_PAIRED_CLASSES`.
    """
    keep = np.ones(len(reference.index), bool) if members is None else members
    index, shares = reference.index[keep], scored.probabilities[keep]
    clusters, names = reference.clusters[keep], metadata.label_names
    found = [i for i in range(len(names)) if metadata.positive[i] and (index == i).any()]
    pairs: dict[tuple[str, str], Estimate] = {}
    if len(found) > MAX_PAIRED_CLASSES:
        return pairs
    for place, first in enumerate(found):
        for second in found[place + 1 :]:
            both = (index == first) | (index == second)
            pairs[names[first], names[second]] = bootstrap.of(clusters[both]).auc(
                index[both] == first, share_of_two(shares[both, first], shares[both, second])
            )
    return pairs


def measure_predictive_values(
    reference: Reference, scored: Scored, prevalence: float
) -> tuple[Estimate, Estimate]:
    """Positive and negative predictive value where a share of the films filmed show the finding.

    See `edge_xray.measures.predictive_values`.

    Args:
        reference: what the films are.
        scored: what the model says.
        prevalence: share of positives, more than 0 and less than 1.
    """
    rates, counts = [], []
    for own, right in (
        (reference.positive, scored.called),
        (~reference.positive, ~scored.called),
    ):
        rates.append(float(right[own].mean()) if own.any() else math.nan)
        counts.append(effective_count(right[own], reference.clusters[own]))
    return predictive_values(rates[0], rates[1], counts[0], counts[1], prevalence)


def measure_reliability(
    reference: Reference, scored: Scored, resamples: ClusterResamples
) -> Reliability:
    """Expected calibration error and the points of its diagram.

    Args:
        reference: what the films are.
        scored: what the model says.
        resamples: of the films' patients.
    """
    p, positive = scored.p_finding, reference.positive
    index = calibration_bin(p)
    members = [index == place for place in range(CALIBRATION_BINS)]
    confidence = scored.probabilities.max(axis=1)
    right = scored.probabilities.argmax(axis=1) == reference.index
    classes, classes_by_chance = Estimate(math.nan, math.nan, math.nan), math.nan
    if (reference.index >= 0).all():
        classes_by_chance = calibration_error_by_chance(confidence)
        classes = resamples.estimate_error(
            expected_calibration_error(confidence, right),
            resamples.calibration_errors(confidence, right),
        )
    return Reliability(
        finding=resamples.estimate_error(
            expected_calibration_error(p, positive),
            resamples.calibration_errors(p, positive),
        ),
        classes=classes,
        finding_by_chance=calibration_error_by_chance(p),
        classes_by_chance=classes_by_chance,
        stated=tuple(float(p[own].mean()) if own.any() else math.nan for own in members),
        observed=tuple(clustered_share(positive[own], reference.clusters[own]) for own in members),
        films=tuple(int(own.sum()) for own in members),
    )


def measure_roc(
    reference: Reference, scored: Scored
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rate at every threshold, thinned to `ROC_POINTS`.

    Args:
        reference: what the films are.
        scored: what the model says.

    Returns:
        Two ascending arrays from 0 to 1; only the ends if a class is empty.
    """
    positive = reference.positive
    if positive.all() or not positive.any():
        ends = np.array([0.0, 1.0])
        return ends, ends
    false, true = roc_curve(positive, scored.p_finding)
    if len(true) > ROC_POINTS:
        keep = np.unique(np.linspace(0, len(true) - 1, ROC_POINTS).astype(int))
        false, true = false[keep], true[keep]
    return false, true
