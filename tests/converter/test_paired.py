"""The paired statistics against slow and plain ones."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_xray.clustered import ClusterResamples, clustered_share
from edge_xray.measures import (
    auc,
    cluster_bootstrap,
    expected_calibration_error,
    perfect_auc_limit,
    wilson,
)
from edge_xray_converter.paired import (
    Outcome,
    compare,
    draw_weights,
    weighted_auc,
    weighted_calibration_error,
    weighted_share,
)

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


scores = arrays.arrays(
    np.float64, st.integers(2, 30), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
)


@given(scores, st.integers(0, 2**30 - 1), st.integers(0, 1000))
def test_weighted_auc_of_repeated_films_is_the_auc_of_the_repeated_films(score, bits, seed):
    positive = np.array([bits >> i & 1 for i in range(len(score))], bool)
    weights = np.random.default_rng(seed).integers(0, 3, (4, len(score))).astype(float)
    fast = weighted_auc(weights, positive, score)
    for row, value in zip(weights.astype(int), fast, strict=True):
        slow = auc(np.repeat(positive, row), np.repeat(score, row))
        assert value == pytest.approx(slow, nan_ok=True)


@given(scores, st.integers(0, 2**30 - 1))
def test_weighted_calibration_error_is_the_plain_one(probability, bits):
    positive = np.array([bits >> i & 1 for i in range(len(probability))], bool)
    (value,) = weighted_calibration_error(np.ones((1, len(probability))), probability, positive)
    assert value == pytest.approx(expected_calibration_error(probability, positive))


def test_shares_are_of_the_films_named():
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
    hit, among = np.array([True, False, True]), np.array([True, True, False])
    np.testing.assert_allclose(weighted_share(weights, hit, among), [0.5, 0.0])
    assert math.isnan(weighted_share(weights, hit, np.zeros(3, bool))[0])


def test_draws_take_whole_patients():
    weights = draw_weights(["a", "b", "a", "c"], 200, seed=3)
    assert weights.shape == (201, 4)
    np.testing.assert_array_equal(weights[0], 1.0)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    per_draw = weights[1:, [0, 1, 3]].sum(axis=1)
    np.testing.assert_array_equal(per_draw, 3.0)


def test_intervals_are_those_of_the_plain_bootstrap():
    first = random_outcome(0)
    clusters = [f"p{i // 2}" for i in range(120)]
    (figures,), _ = compare([first], clusters, resamples=2000)
    plain = cluster_bootstrap(
        lambda rows: auc(first.truth_positive[rows], first.p_finding[rows]), np.array(clusters)
    )
    assert figures.auc.value == pytest.approx(plain.value)
    assert figures.auc.low == pytest.approx(plain.low, abs=0.01)
    assert figures.auc.high == pytest.approx(plain.high, abs=0.01)


def test_a_model_against_itself_differs_nowhere():
    model = random_outcome(0)
    _, (comparison,) = compare([model, model], [str(i) for i in range(120)], resamples=200)
    for estimate in vars(comparison.differences).values():
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)
    assert comparison.label_flips == ()
    assert comparison.mcnemar_p == 1.0
    assert (comparison.agreement, comparison.largest_shift) == (1.0, 0.0)


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


def test_a_perfect_share_has_wilson_s_interval():
    truth = [0, 0, 1, 2]
    (figures,), _ = compare([outcome(np.eye(3)[truth], truth)], list("abcd"), resamples=100)
    assert figures.sensitivity == wilson(2, 2)
    assert figures.accuracy == wilson(4, 4)


def test_what_no_draw_changes_has_the_interval_that_an_evaluation_gives_it():
    truth = np.array([0] * 40 + [1] * 40 + [2] * 40)
    clusters = [f"p{i // 4}" for i in range(120)]
    (figures,), _ = compare([outcome(np.eye(3)[truth], truth)], clusters, resamples=100)
    assert figures.sensitivity == clustered_share(np.ones(80, bool), clusters[40:])
    assert figures.sensitivity == wilson(20, 20)
    assert figures.accuracy.low < wilson(120, 120).low
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
