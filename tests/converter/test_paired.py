"""The paired statistics against slow and plain ones."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_xray.clustered import ClusterResamples, clustered_difference, clustered_share
from edge_xray.measures import (
    auc,
    expected_calibration_error,
    mcnemar_exact,
    perfect_auc_limit,
    wilson_limits,
)
from edge_xray.operating_point import Estimate
from edge_xray_converter.budget import Budget, judge, too_few_films, wider_limits
from edge_xray_converter.paired import Outcome, compare

LABELS = ("normal", "bacterial", "viral")


def outcome(probabilities, truth, threshold=0.5):
    probabilities = np.asarray(probabilities, np.float64)
    truth = np.asarray(truth)
    finding = probabilities[:, 1:].sum(axis=1)
    called = np.where(finding >= threshold, probabilities[:, 1:].argmax(axis=1) + 1, 0)
    names = np.array(LABELS)
    return Outcome(
        probabilities,
        finding,
        finding >= threshold,
        names[called],
        names[truth],
        truth > 0,
        LABELS,
        ("bacterial", "viral"),
    )


def random_outcome(seed, films=120, noise=0.8):
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(99).integers(0, 3, films)
    logits = 2.0 * np.eye(3)[truth] + noise * generator.normal(size=(films, 3))
    powers = np.exp(logits)
    return outcome(powers / powers.sum(axis=1, keepdims=True), truth)


def test_intervals_are_those_of_the_plain_bootstrap(plain_bootstrap):
    first, second = random_outcome(0), random_outcome(1)
    clusters = [f"p{i // 2}" for i in range(120)]
    _, (comparison,) = compare([first, second], clusters, resamples=2000)
    own = comparison.differences.auc
    value, low, high = plain_bootstrap(
        lambda rows: (
            auc(second.truth_positive[rows], second.p_finding[rows])
            - auc(first.truth_positive[rows], first.p_finding[rows])
        ),
        np.array(clusters),
    )
    assert own.value == pytest.approx(value)
    assert own.low == pytest.approx(low, abs=0.01)
    assert own.high == pytest.approx(high, abs=0.01)


def test_figures_have_the_intervals_that_an_evaluation_gives_them():
    model, clusters = random_outcome(0), np.array([f"p{i // 2}" for i in range(120)])
    (figures,), _ = compare([model], clusters, resamples=300, seed=4)
    positive, called = model.truth_positive, model.called_positive
    resamples = ClusterResamples(clusters, resamples=300, seed=4)
    errors = resamples.calibration_errors(model.p_finding, positive)
    among = model.truth != "normal"
    first, second = model.probabilities[among, 1], model.probabilities[among, 2]
    pair = ClusterResamples(clusters[among], resamples=300, seed=4)
    assert vars(figures) == {
        "accuracy": clustered_share(called == positive, clusters),
        "sensitivity": clustered_share(called[positive], clusters[positive]),
        "specificity": clustered_share(~called[~positive], clusters[~positive]),
        "class_accuracy": clustered_share(model.called == model.truth, clusters),
        "auc": resamples.auc(positive, model.p_finding),
        "pair_auc": pair.auc(model.truth[among] == "bacterial", first / (first + second)),
        "calibration_error": resamples.estimate_error(
            expected_calibration_error(model.p_finding, positive), errors
        ),
    }


def test_a_model_against_itself_differs_nowhere_and_films_not_seen_might():
    model = random_outcome(0)
    clusters = [str(i // 2) for i in range(120)]
    _, (comparison,) = compare([model, model], clusters, resamples=200)
    for name, estimate in vars(comparison.differences).items():
        assert estimate.value == 0.0
        if name in ("auc", "pair_auc", "calibration_error"):
            assert math.isnan(estimate.low) and math.isnan(estimate.high)
        else:
            assert estimate.low == -estimate.high < -0.01
    # Bonett & Price 2012 of 60 pairs without one that is discordant, for 60 patients.
    spread = 1.96 * math.sqrt(2 / 62 / 62)
    assert comparison.differences.accuracy.high == pytest.approx(spread, rel=1e-3)
    assert comparison.label_flips == ()
    assert comparison.mcnemar_p == 1.0
    assert (comparison.agreement, comparison.largest_shift) == (1.0, 0.0)


def test_ten_films_of_one_patient_are_one_patient():
    truth = np.arange(300) % 3
    sure = np.eye(3)[truth] * 0.9 + 0.05
    other = sure.copy()
    wrong = np.flatnonzero(truth == 1)[:10]
    other[wrong] = sure[0]
    models = [outcome(sure, truth), outcome(other, truth)]
    for clusters, p in (
        (["one" if i in wrong else str(i) for i in range(300)], 1.0),
        ([f"two {i % 2}" if i in wrong else str(i) for i in range(300)], 0.5),
        ([str(i) for i in range(300)], mcnemar_exact(10, 0)),
    ):
        _, (comparison,) = compare(models, clusters, resamples=100)
        assert comparison.only_reference == 10
        assert comparison.mcnemar_p == pytest.approx(p)
        accuracy = comparison.differences.accuracy
        assert (accuracy.high >= 0.0) == (p > 0.05)
        assert accuracy == clustered_difference(models[1].correct, models[0].correct, clusters)


def test_models_of_other_labels_are_not_held_to_each_other_s_labels():
    three = random_outcome(0)
    share = three.p_finding
    names = np.array(["normal", "pneumonia"])
    two = Outcome(
        np.stack([1 - share, share], 1),
        share,
        three.called_positive,
        names[three.called_positive.astype(int)],
        names[three.truth_positive.astype(int)],
        three.truth_positive,
        ("normal", "pneumonia"),
        None,
    )
    for models in ([two, three], [three, two]):
        figures, (comparison,) = compare(models, [str(i) for i in range(120)], resamples=100)
        assert figures[0].class_accuracy.value != figures[1].class_accuracy.value
        assert math.isnan(comparison.differences.class_accuracy.value)
        assert math.isnan(comparison.differences.pair_auc.value)
        checks = judge(comparison, 120, Budget())
        assert [check.name for check in checks] == [
            "accuracy drop", "sensitivity drop", "AUC drop", "flips", "mean shift",
        ]  # fmt: skip
        assert all(check.passed for check in checks)


LIMITS = {
    "accuracy drop": ("accuracy", "accuracy_drop"),
    "label accuracy drop": ("class_accuracy", "label_accuracy_drop"),
    "sensitivity drop": ("sensitivity", "sensitivity_drop"),
    "AUC drop": ("auc", "auc_drop"),
    "pair AUC drop": ("pair_auc", "pair_auc_drop"),
}


@pytest.mark.parametrize("name", [*LIMITS, "flips", "mean shift", "refusals"])
def test_each_loss_is_held_to_its_own_limit(name):
    model = dataclasses.replace(random_outcome(0), refused=np.zeros(120, bool))
    _, (same,) = compare([model, model], [str(i) for i in range(120)], resamples=10)
    for loss, kept in ((0.05, True), (0.0501, False), (-0.5, True)):
        if name in LIMITS:
            figure, field = LIMITS[name]
            figures = dataclasses.replace(
                same.differences, **{figure: Estimate(-loss, math.nan, math.nan)}
            )
            comparison = dataclasses.replace(same, differences=figures)
        elif name == "flips":
            field, flips = "flips", tuple(range(max(0, round(1e4 * loss))))
            comparison = dataclasses.replace(same, label_flips=flips)
        else:
            field = name.replace(" ", "_")
            comparison = dataclasses.replace(same, **{field: loss})
        budget = dataclasses.replace(Budget(*[0.0] * 8), **{field: 0.05})
        checks = {check.name: check for check in judge(comparison, 10_000, budget)}
        assert list(checks) == [*LIMITS, "flips", "mean shift", "refusals"]
        assert checks.pop(name).passed == kept
        assert all(check.passed and check.limit == 0.0 for check in checks.values())


def test_one_film_of_so_few_is_more_than_may_be_lost():
    assert too_few_films(400, 200, Budget()) == too_few_films(0, 0, Budget()) == ""
    assert "Judge on 200 films or more" in too_few_films(199, 100, Budget())
    assert "Judge on 200 films with a finding or more" in too_few_films(400, 100, Budget())
    assert "One film of 5 is 20.00%" in too_few_films(5, 2, Budget(0.0))
    allowed = wider_limits(Budget(pair_auc_drop=0.1, flips=0.01))
    assert allowed == "More than usual may be lost, as shares of 1: pair AUC drop 0.1 (usual 0.01)."
    # Who allows less than usual needs no more films for it.
    assert too_few_films(200, 200, Budget(0.0, sensitivity_drop=0.001)) == ""


def test_the_order_of_the_labels_is_no_other_label():
    model = random_outcome(0)
    turned = Outcome(
        model.probabilities[:, [0, 2, 1]],
        model.p_finding,
        model.called_positive,
        model.called,
        model.truth,
        model.truth_positive,
        ("normal", "viral", "bacterial"),
        ("viral", "bacterial"),
    )
    _, (comparison,) = compare([model, turned], [str(i) for i in range(120)], resamples=100)
    assert comparison.differences.class_accuracy.value == 0.0
    assert comparison.differences.pair_auc.value == pytest.approx(0.0)


def test_models_that_take_other_films_for_positive_are_not_paired():
    model = random_outcome(0)
    truth = model.truth_positive.copy()
    truth[np.flatnonzero(truth)[0]] = False
    other = dataclasses.replace(model, truth_positive=truth)
    figures, (comparison,) = compare([model, other], [str(i) for i in range(120)], resamples=100)
    sensitivity = comparison.differences.sensitivity
    assert sensitivity.value == figures[1].sensitivity.value - figures[0].sensitivity.value
    assert math.isnan(sensitivity.low) and math.isnan(sensitivity.high)


def test_paired_intervals_are_narrower_than_the_models_own():
    first = random_outcome(0)
    probabilities = first.probabilities.copy()
    probabilities[:3] = probabilities[:3, ::-1]
    second = outcome(probabilities, [LABELS.index(name) for name in first.truth])
    figures, (comparison,) = compare([first, second], [str(i) for i in range(120)])
    difference = comparison.differences.accuracy
    assert difference.high - difference.low < figures[0].accuracy.high - figures[0].accuracy.low


def test_flips_are_the_films_that_get_another_label():
    truth = [0, 1, 2, 2]
    sure = np.eye(3)[truth] * 0.9 + 0.05
    other = sure.copy()
    other[0] = [0.2, 0.7, 0.1]
    other[3] = [0.1, 0.8, 0.1]
    _, (comparison,) = compare(
        [outcome(sure, truth), outcome(other, truth)], list("abcd"), resamples=100
    )
    assert comparison.finding_flips == (0,)
    assert comparison.label_flips == (0, 3)
    assert comparison.agreement == 0.5
    assert (comparison.only_reference, comparison.only_candidate) == (1, 0)
    assert comparison.largest_shift == pytest.approx(0.75, abs=0.06)


def test_shifts_up_and_down_do_not_cancel():
    truth = [0, 1, 1, 0]
    one, other = (
        outcome([[1 - share, share, 0.0] for share in shares], truth)
        for shares in ((0.2, 0.8, 0.9, 0.1), (0.3, 0.6, 0.9, 0.0))
    )
    for models in ([one, other], [other, one]):
        _, (comparison,) = compare(models, list("abcd"), resamples=100)
        assert comparison.mean_shift == pytest.approx(0.1)
        assert comparison.largest_shift == pytest.approx(0.2)


def test_refusals_are_the_films_that_the_candidate_alone_refuses():
    truth = [0, 1, 1, 0]
    plain = outcome(np.eye(3)[truth], truth)
    one, other = (
        dataclasses.replace(plain, refused=np.array(refused, bool))
        for refused in ((1, 1, 0, 0), (0, 1, 1, 1))
    )
    for models, share in (([one, other], 0.5), ([other, one], 0.25), ([one, one], 0.0)):
        _, (comparison,) = compare(models, list("abcd"), resamples=100)
        assert comparison.refusals == share
    for models in ([plain, one], [one, plain]):
        _, (comparison,) = compare(models, list("abcd"), resamples=100)
        assert math.isnan(comparison.refusals)


def test_a_film_that_is_neither_of_two_classes_tells_nothing_of_them():
    shares = [[0.0, 0.9, 0.1], [1.0, 0.0, 0.0], [0.0, 0.2, 0.8], [0.0, 0.6, 0.4]]
    (figures,), _ = compare([outcome(shares, [1, 1, 2, 2])], list("abcd"), resamples=100)
    # 0.9 and a half for bacterial, 0.2 and 0.6 for viral: three of four pairs are in order.
    assert figures.pair_auc.value == 0.75


def test_a_perfect_share_has_wilson_s_interval():
    truth = [0, 0, 1, 2]
    (figures,), _ = compare([outcome(np.eye(3)[truth], truth)], list("abcd"), resamples=100)
    assert figures.sensitivity == Estimate(1.0, *wilson_limits(1.0, 2))
    assert figures.accuracy == Estimate(1.0, *wilson_limits(1.0, 4))


def test_what_no_draw_changes_has_the_interval_that_an_evaluation_gives_it():
    truth = np.array([0] * 40 + [1] * 40 + [2] * 40)
    clusters = [f"p{i // 4}" for i in range(120)]
    (figures,), _ = compare([outcome(np.eye(3)[truth], truth)], clusters, resamples=100)
    assert figures.sensitivity == clustered_share(np.ones(80, bool), clusters[40:])
    assert figures.sensitivity == Estimate(1.0, *wilson_limits(1.0, 20))
    assert figures.accuracy.low < wilson_limits(1.0, 120)[0]
    resamples = ClusterResamples(clusters, resamples=100)
    assert figures.auc == resamples.auc(truth > 0, (truth > 0).astype(float))
    assert 0.5 < figures.auc.low < figures.auc.high == 1.0
    assert figures.pair_auc.low == pytest.approx(perfect_auc_limit(10, 10))


def test_films_of_one_patient_alone_leave_a_wide_interval():
    truth = np.array([0, 1, 1, 2])
    probabilities = np.eye(3)[[0, 1, 0, 2]]
    (figures,), _ = compare([outcome(probabilities, truth)], ["p"] * 4, resamples=100)
    assert figures.accuracy.value == 0.75
    assert figures.accuracy.high - figures.accuracy.low > 0.5


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_every_interval_holds_its_value(seed):
    (figures,), _ = compare(
        [random_outcome(seed, films=60)], [str(i // 3) for i in range(60)], resamples=300
    )
    for name in ("accuracy", "sensitivity", "specificity", "auc", "pair_auc"):
        estimate = getattr(figures, name)
        assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0


def test_two_thousand_draws_of_six_hundred_films_take_seconds_at_most():
    models = [random_outcome(seed, films=624) for seed in range(2)]
    start = time.process_time()
    compare(models, [str(i // 2) for i in range(624)], resamples=2000)
    assert time.process_time() - start < 4.0
