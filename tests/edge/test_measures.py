"""Figures of merit against hand-made cases, scikit-learn-free formulas and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_xray.clustered import ClusterResamples, clustered_share, effective_count
from edge_xray.measures import (
    auc,
    calibration_error_by_chance,
    cluster_bootstrap,
    complement,
    difference,
    expected_calibration_error,
    mcnemar_exact,
    mean_of_two,
    perfect_auc_limit,
    predictive_values,
    wilson,
)
from edge_xray.metadata import Estimate

films = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 4)), min_size=2, max_size=30
)


@settings(max_examples=100, deadline=None)
@given(films)
def test_auc_is_the_share_of_pairs_in_order(rows):
    positive = np.array([row[0] for row in rows])
    score = np.array([row[1] for row in rows], float)
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    expected = np.mean(pairs) if pairs else math.nan
    assert auc(positive, score) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(films)
def test_resampled_aucs_are_those_of_repeated_films(rows):
    positive, score, clusters = (np.array(column) for column in zip(*rows, strict=True))
    resamples = ClusterResamples(clusters, resamples=20, seed=1)
    for weights, value in zip(resamples.weights, resamples.aucs(positive, score), strict=True):
        index = np.repeat(np.arange(len(rows)), weights.astype(int))
        assert value == pytest.approx(auc(positive[index], score[index]), nan_ok=True)
        for cluster in np.unique(clusters):
            assert len(set(weights[clusters == cluster])) == 1


def test_vectorised_bootstrap_agrees_with_the_plain_one():
    draw = np.random.default_rng(0)
    clusters = draw.integers(0, 120, 200)
    positive = draw.random(200) < 0.5
    score = draw.normal(positive * 1.2)
    p = 1 / (1 + np.exp(-score))
    resamples = ClusterResamples(clusters)
    fast = resamples.auc(positive, score)
    plain = cluster_bootstrap(lambda i: auc(positive[i], score[i]), clusters)
    assert (fast.low, fast.high) == pytest.approx((plain.low, plain.high), abs=0.006)
    ece = resamples.estimate(
        expected_calibration_error(p, positive), resamples.calibration_errors(p, positive)
    )
    plain = cluster_bootstrap(lambda i: expected_calibration_error(p[i], positive[i]), clusters)
    assert (ece.low, ece.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_clustered_share_of_single_films_is_wilson():
    hit = np.arange(50) < 37
    plain = wilson(37, 50)
    own = clustered_share(hit, np.arange(50))
    assert (own.value, own.low, own.high) == pytest.approx(
        (plain.value, plain.low, plain.high), abs=0.003
    )


def test_clustered_share_knows_that_copies_tell_nothing():
    hit = np.repeat(np.arange(40) < 30, 5)
    clusters = np.repeat(np.arange(40), 5)
    # 40 * 39/40: the variance between clusters divides by one less.
    assert effective_count(hit, clusters) == pytest.approx(39.0)
    assert effective_count(np.ones(200, bool), clusters) == 40
    perfect = clustered_share(np.ones(200, bool), clusters)
    assert (perfect.value, perfect.high) == (1.0, 1.0) and perfect.low == wilson(40, 40).low


def test_clustered_share_covers_95_percent():
    draw = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        rates = np.repeat(draw.beta(8, 2, 60), 4)
        own = clustered_share(draw.random(240) < rates, np.repeat(np.arange(60), 4))
        covered += own.low <= 0.8 <= own.high
    assert 0.91 <= covered / 400 <= 0.98


def test_share_of_several_trials_a_film():
    draw = np.random.default_rng(5)
    often = draw.integers(0, 66, 100) / 65
    own = clustered_share(often, np.arange(100))
    error = 1.96 * often.std() / 10
    assert (own.low, own.high) == pytest.approx((own.value - error, own.value + error), abs=0.01)


@pytest.mark.parametrize("hit", [[], np.zeros(0, bool)])
def test_share_of_no_films(hit):
    own = clustered_share(np.array(hit), np.array([]))
    assert math.isnan(own.value) and (own.low, own.high) == (0.0, 1.0)
    assert effective_count(np.array(hit), np.array([])) == 0.0


def test_perfect_area_has_width():
    resamples = ClusterResamples(np.arange(30), resamples=100)
    positive = np.arange(30) < 15
    perfect = resamples.auc(positive, positive.astype(float))
    assert perfect.value == perfect.high == 1.0 and 0.7 < perfect.low < 0.99
    worst = resamples.auc(positive, -positive.astype(float))
    assert worst.value == worst.low == 0.0 and worst.high == pytest.approx(1 - perfect.low)
    assert perfect_auc_limit(500, 500) > perfect_auc_limit(50, 50) > perfect_auc_limit(5, 5)
    assert perfect_auc_limit(0, 5) == 0.0
    one_class = resamples.auc(np.ones(30, bool), np.arange(30.0))
    assert math.isnan(one_class.value) and (one_class.low, one_class.high) == (0.0, 1.0)


def test_difference_is_newcombes_example():
    """Newcombe 1998, table II, (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339."""
    own = difference(wilson(56, 70), wilson(48, 80))
    assert (own.value, own.low, own.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    nothing = difference(wilson(0, 0), wilson(48, 80))
    assert math.isnan(nothing.value) and (nothing.low, nothing.high) == (-1.0, 1.0)


def test_mean_and_complement():
    first, second = Estimate(0.9, 0.8, 0.95), Estimate(0.7, 0.6, 0.8)
    own = mean_of_two(first, second)
    assert own.value == pytest.approx(0.8)
    assert own.low == pytest.approx(0.8 - math.hypot(0.1, 0.1) / 2)
    assert complement(first) == Estimate(
        pytest.approx(0.1), pytest.approx(0.05), pytest.approx(0.2)
    )


def test_predictive_values_by_bayes():
    ppv, npv = predictive_values(0.9, 0.8, 100, 100, 0.1)
    assert ppv.value == pytest.approx(0.09 / (0.09 + 0.18))
    assert npv.value == pytest.approx(0.72 / (0.72 + 0.01))
    assert ppv.low < ppv.value < ppv.high and npv.low < npv.value < npv.high
    perfect, _ = predictive_values(1.0, 1.0, 30, 30, 0.1)
    assert perfect.value == perfect.high == 1.0 and perfect.low < 0.6
    never_positive, all_cleared = predictive_values(0.0, 1.0, 30, 30, 0.1)
    assert math.isnan(never_positive.value) and all_cleared.value == pytest.approx(0.9)
    assert math.isnan(predictive_values(0.9, math.nan, 30, 0, 0.1)[0].value)


def test_chance_makes_a_calibration_error_that_more_films_wear_down():
    # One film of probability p is off by 1 - p or by p: 2 p (1 - p) on average.
    assert calibration_error_by_chance(np.array([0.2])) == pytest.approx(0.32, abs=0.03)
    few, many = np.full(30, 0.5), np.full(3000, 0.5)
    assert calibration_error_by_chance(few) > 8 * calibration_error_by_chance(many) > 0
    assert calibration_error_by_chance(np.array([0.0, 1.0])) == 0.0
    assert calibration_error_by_chance(np.zeros(0)) == 0.0
    generator = np.random.default_rng(1)
    stated = generator.random(400)
    honest = expected_calibration_error(stated, generator.random(400) < stated)
    boastful = expected_calibration_error(stated, generator.random(400) < 0.5 + stated / 4)
    by_chance = calibration_error_by_chance(stated)
    assert honest < 1.6 * by_chance < boastful


def test_calibration_error_and_mcnemar_by_hand():
    p = np.array([0.1, 0.1, 0.9, 0.9])
    positive = np.array([False, True, True, True])
    assert expected_calibration_error(p, positive) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert expected_calibration_error(np.zeros(0), np.zeros(0, bool)) == 0.0
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(1, 9) == pytest.approx(2 * (1 + 10) / 1024)


def test_mcnemar_of_thousands_of_films_is_a_number():
    assert 0.0 < mcnemar_exact(5, 1100) < 1e-300
    assert mcnemar_exact(0, 5000) == 0.0
    assert mcnemar_exact(2500, 2500) == 1.0
    assert mcnemar_exact(2400, 2600) == pytest.approx(0.00488, abs=1e-5)
