"""What a conversion may cost, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_xray.errors import UsageError

if TYPE_CHECKING:
    from edge_xray_converter.paired import Comparison


@dataclass(frozen=True)
class Budget:
    """Largest losses a candidate may show against the reference; all as shares, 0..1.

    The defaults let an honest int8 conversion of a well-trained network pass on a few hundred films
    (field figures: 1 % of decisions flip at 0.5, AUC moves by 0.0002) and fail one that went wrong.

    Attributes:
        accuracy_drop: of decisions, finding or none.
        label_accuracy_drop: of labels; wider, for causes that a network hardly tells apart (bacterial
            and viral) change places over a hair.
        sensitivity_drop: at the operating point.
        auc_drop: of the area under the ROC curve of finding against none.
        pair_auc_drop: of telling two positive classes apart; wider, for fewer films tell.
        flips: share of films that get another label.
        mean_shift: mean absolute difference of the probability of a finding.
        refusals: share of films that the device would no longer score, for its gate is drawn by the features of
            the float network.
    """

    accuracy_drop: float = 0.005
    label_accuracy_drop: float = 0.02
    sensitivity_drop: float = 0.005
    auc_drop: float = 0.002
    pair_auc_drop: float = 0.01
    flips: float = 0.03
    mean_shift: float = 0.02
    refusals: float = 0.03

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            UsageError: names the option, the value received and what was expected.
        """
        for name, limit in vars(self).items():
            if not 0 <= limit <= 1:  # NaN too, which the command line takes for a number.
                raise UsageError(f"--max-{name.replace('_', '-')}: expected 0 to 1, got {limit}")


@dataclass(frozen=True)
class Check:
    """One line of the verdict.

    Attributes:
        name: what is checked.
        measured: the loss, as a share; below 0 for a gain.
        limit: what the budget allows.
        passed: whether it is kept.
    """

    name: str
    measured: float
    limit: float
    passed: bool


TOLERANCE = 1e-9
"""Sums of floating point differ in the last digits; a loss of just the limit passes."""


def too_few_films(films: int, findings: int, budget: Budget) -> str:
    """What to say when one film alone is more than may be lost; empty when there are enough.

    To allow less than usual asks for no more films: to allow nothing would ask for ever more.

    Args:
        films: how many the verdict is on.
        findings: how many of them are with a finding, of which sensitivity is a share.
        budget: what may be lost.
    """
    for count, kind, allowed, usual, figure in (
        (films, "", budget.accuracy_drop, Budget.accuracy_drop, "accuracy"),
        (
            findings,
            " with a finding",
            budget.sensitivity_drop,
            Budget.sensitivity_drop,
            "sensitivity",
        ),
    ):
        share = max(allowed, usual)
        if count >= 1 and 1 / count > share + TOLERANCE:
            return (
                f"One film of {count}{kind} is {1 / count:.2%}, more than the {allowed:.2%} of {figure} that may be "
                f"lost: on so few films a single one decides. Judge on {math.ceil(1 / share)} films{kind} or more, or "
                "allow more: each check has an option of its name, --max-accuracy-drop, --max-flips and so on."
            )
    return ""


def wider_limits(budget: Budget) -> str:
    """What to say of limits wider than the usual ones, by which a PASS says less; empty if none is.

    Args:
        budget: what may be lost.
    """
    usual = vars(Budget())
    wider = [
        f"{name.replace('_', ' ').replace('auc', 'AUC')} {limit:g} (usual {usual[name]:g})"
        for name, limit in vars(budget).items()
        if limit > usual[name]
    ]
    return f"More than usual may be lost, as shares of 1: {', '.join(wider)}." if wider else ""


def judge(comparison: Comparison, films: int, budget: Budget) -> list[Check]:
    """Hold a comparison against the budget.

    Args:
        comparison: candidate against reference.
        films: how many.
        budget: what may be lost.

    Returns:
        Every check that the films and the models' labels allow (telling two classes apart takes two,
        and models of other labels are not held to each other's); the candidate passes if all are
        passed.
    """
    differences = comparison.differences
    losses = (
        ("accuracy drop", -differences.accuracy.value, budget.accuracy_drop),
        ("label accuracy drop", -differences.class_accuracy.value, budget.label_accuracy_drop),
        ("sensitivity drop", -differences.sensitivity.value, budget.sensitivity_drop),
        ("AUC drop", -differences.auc.value, budget.auc_drop),
        ("pair AUC drop", -differences.pair_auc.value, budget.pair_auc_drop),
        ("flips", len(comparison.label_flips) / films, budget.flips),
        ("mean shift", comparison.mean_shift, budget.mean_shift),
        ("refusals", comparison.refusals, budget.refusals),
    )
    return [
        Check(name, loss, limit, loss <= limit + TOLERANCE)
        for name, loss, limit in losses
        if not math.isnan(loss)
    ]
