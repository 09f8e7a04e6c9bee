"""The verdict on a conversion: each loss against its own limit."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest

from edge_xray.operating_point import Estimate
from edge_xray_converter.budget import Budget, judge, too_few_films, wider_limits
from edge_xray_converter.paired import Comparison, Figures

FILMS = 200
SAME = Comparison(
    differences=Figures(*[Estimate(0.0, math.nan, math.nan)] * len(fields(Figures))),
    mcnemar_p=1.0,
    only_reference=0,
    only_candidate=0,
    finding_flips=(),
    label_flips=(),
    agreement=1.0,
    largest_shift=0.0,
    mean_shift=0.0,
    refusals=0.0,
)
BUDGET = Budget(
    accuracy_drop=0.01,
    label_accuracy_drop=0.02,
    sensitivity_drop=0.03,
    auc_drop=0.04,
    pair_auc_drop=0.05,
    flips=0.06,
    mean_shift=0.07,
    refusals=0.08,
)


def with_loss(name: str, loss: float) -> Comparison:
    """`SAME`, but for the loss of one check."""
    if name == "flips":
        return replace(SAME, label_flips=tuple(range(round(loss * FILMS))))
    if name in ("mean shift", "refusals"):
        return replace(SAME, **{name.replace(" ", "_"): loss})
    figure = name.removesuffix(" drop").replace("label", "class").replace(" ", "_").lower()
    changed = {figure: Estimate(-loss, math.nan, math.nan)}
    return replace(SAME, differences=replace(SAME.differences, **changed))


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("accuracy drop", 0.01),
        ("label accuracy drop", 0.02),
        ("sensitivity drop", 0.03),
        ("AUC drop", 0.04),
        ("pair AUC drop", 0.05),
        ("flips", 0.06),
        ("mean shift", 0.07),
        ("refusals", 0.08),
    ],
)
def test_a_loss_passes_up_to_its_own_limit_and_no_further(name, limit):
    assert all(check.passed for check in judge(with_loss(name, limit), FILMS, BUDGET))
    judged = judge(with_loss(name, limit + 0.005), FILMS, BUDGET)
    assert len(judged) == 8
    assert [(check.name, check.limit) for check in judged if not check.passed] == [(name, limit)]


@pytest.mark.parametrize("name", ["accuracy drop", "sensitivity drop", "AUC drop"])
def test_a_gain_passes_however_large(name):
    assert all(check.passed for check in judge(with_loss(name, -0.5), FILMS, BUDGET))


def test_what_the_films_do_not_tell_is_not_checked():
    told = [check.name for check in judge(with_loss("refusals", math.nan), FILMS, BUDGET)]
    assert len(told) == 7 and "refusals" not in told


@pytest.mark.parametrize(
    ("films", "allowed", "few"),
    [
        (200, 0.005, False),
        (199, 0.005, True),
        (50, 0.02, False),
        (199, 0.0, True),
        (200, 0.0, False),
    ],
)
def test_films_are_too_few_where_one_is_more_than_may_be_lost(films, allowed, few):
    said = too_few_films(films, films, Budget(allowed, sensitivity_drop=allowed))
    assert bool(said) == few
    # A share of films with a finding is of these alone.
    said = too_few_films(2 * films, films, Budget(allowed, sensitivity_drop=allowed))
    assert (f"One film of {films} with a finding" in said) == bool(said) == few


def test_only_limits_wider_than_usual_are_named():
    assert wider_limits(Budget()) == wider_limits(Budget(flips=0.0)) == ""
    assert "flips 0.06 (usual 0.03)" in wider_limits(Budget(flips=0.06))
