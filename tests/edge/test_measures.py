"""Figures of merit against hand-made cases, scikit-learn-free formulas and simulation."""

import itertools
import math
import time
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_xray.clustered import (
    ClusterResamples,
    clustered_difference,
    clustered_mcnemar,
    clustered_mean,
    clustered_share,
    effective_count,
)
from edge_xray.measures import (
    auc,
    calibration_error_by_chance,
    complement,
    difference,
    expected_calibration_error,
    mcnemar_exact,
    mean_of_two,
    perfect_auc_limit,
    predictive_values,
    wilson_limits,
)
from edge_xray.operating_point import Estimate

films = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 4)), min_size=2, max_size=30
)


@settings(max_examples=100)
@given(films)
def test_auc_is_the_share_of_pairs_in_order(rows):
    positive = np.array([row[0] for row in rows])
    score = np.array([row[1] for row in rows], float)
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    expected = np.mean(pairs) if pairs else math.nan
    assert auc(positive, score) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=30)
@given(films)
def test_resampled_aucs_are_those_of_repeated_films(rows):
    positive, score, clusters = (np.array(column) for column in zip(*rows, strict=True))
    resamples = ClusterResamples(clusters, resamples=20, seed=1)
    for weights, value in zip(resamples.weights, resamples.aucs(positive, score), strict=True):
        index = np.repeat(np.arange(len(rows)), weights.astype(int))
        assert value == pytest.approx(auc(positive[index], score[index]), nan_ok=True)
        for cluster in np.unique(clusters):
            assert len(set(weights[clusters == cluster])) == 1


@settings(max_examples=30)
@given(films)
def test_resampled_calibration_errors_are_those_of_repeated_films(rows):
    positive, score, clusters = (np.array(column) for column in zip(*rows, strict=True))
    p = 1 / (1 + np.exp(-score.astype(float)))
    resamples = ClusterResamples(clusters, resamples=20, seed=1)
    errors = resamples.calibration_errors(p, positive)
    for weights, value in zip(resamples.weights, errors, strict=True):
        index = np.repeat(np.arange(len(rows)), weights.astype(int))
        assert value == pytest.approx(expected_calibration_error(p[index], positive[index]))


def test_vectorised_bootstrap_agrees_with_the_plain_one(plain_bootstrap):
    draw = np.random.default_rng(0)
    clusters = draw.integers(0, 120, 200)
    positive = draw.random(200) < 0.5
    score = draw.normal(positive * 1.2)
    p = 1 / (1 + np.exp(-score))
    resamples = ClusterResamples(clusters)
    fast = resamples.estimate(auc(positive, score), resamples.aucs(positive, score))
    plain = plain_bootstrap(lambda i: auc(positive[i], score[i]), clusters)
    assert (fast.value, fast.low, fast.high) == pytest.approx(plain, abs=0.006)
    ece = resamples.estimate(
        expected_calibration_error(p, positive), resamples.calibration_errors(p, positive)
    )
    plain = plain_bootstrap(lambda i: expected_calibration_error(p[i], positive[i]), clusters)
    assert (ece.value, ece.low, ece.high) == pytest.approx(plain, abs=0.01)


def test_clustered_share_of_single_films_is_wilson():
    hit = np.arange(50) < 37
    own = clustered_share(hit, np.arange(50))
    assert own.value == 37 / 50
    assert (own.low, own.high) == pytest.approx(wilson_limits(37 / 50, 50), abs=0.003)


def test_clustered_share_knows_that_copies_tell_nothing():
    hit = np.repeat(np.arange(40) < 30, 5)
    clusters = np.repeat(np.arange(40), 5)
    # 40 * 39/40: the variance between clusters divides by one less.
    assert effective_count(hit, clusters) == pytest.approx(39.0)
    assert effective_count(np.ones(200, bool), clusters) == 40
    perfect = clustered_share(np.ones(200, bool), clusters)
    assert perfect == Estimate(1.0, *wilson_limits(1.0, 40))


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


@pytest.mark.parametrize(
    ("only_first", "only_second", "total"), [(0, 0, 300), (3, 1, 50), (10, 0, 300), (5, 5, 60)]
)
def test_difference_of_single_films_is_bonett_and_price_s(only_first, only_second, total):
    films = np.arange(total)
    first = films >= only_second
    second = (films < only_second) | (films >= only_second + only_first)
    own = clustered_difference(first, second, films)
    more, less = (only_first + 1) / (total + 2), (only_second + 1) / (total + 2)
    spread = 1.959964 * math.sqrt((more + less - (more - less) ** 2) / (total + 2))
    assert own.value == pytest.approx((only_first - only_second) / total)
    # The variance between clusters divides by one less.
    assert (own.low, own.high) == pytest.approx(
        (more - less - spread, more - less + spread), abs=0.005
    )
    assert own.low < own.value < own.high


def test_difference_knows_that_copies_tell_nothing():
    first, second = np.arange(40) < 30, np.arange(40) < 28
    one = clustered_difference(first, second, np.arange(40))
    own = clustered_difference(np.repeat(first, 5), np.repeat(second, 5), np.repeat(range(40), 5))
    assert (own.low, own.high) == pytest.approx((one.low, one.high), abs=0.003)


def test_difference_covers_95_percent():
    draw = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        sizes = draw.geometric(0.4, 120)
        patient = np.repeat(draw.random(120), sizes)
        chance = np.where(draw.random(sizes.sum()) < 0.5, patient, draw.random(sizes.sum()))
        own = clustered_difference(
            chance < 0.03, (chance > 0.5) & (chance < 0.51), np.repeat(np.arange(120), sizes)
        )
        covered += own.low <= 0.02 <= own.high
    assert 0.93 <= covered / 400 <= 0.99


@pytest.mark.parametrize("value", [True, False])
def test_difference_of_all_films_and_of_none(value):
    hit = np.full(30, value)
    own = clustered_difference(hit, ~hit, np.arange(30) // 3)
    assert own.value == (1.0 if value else -1.0)
    assert -1.0 <= own.low <= own.value <= own.high <= 1.0 and own.high - own.low > 0.1
    empty = clustered_difference(hit[:0], hit[:0], [])
    assert math.isnan(empty.value) and (empty.low, empty.high) == (-1.0, 1.0)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 6)), max_size=14))
def test_clustered_mcnemar_flips_whole_patients(rows):
    first, second = (np.array([row[i] for row in rows], bool) for i in (0, 1))
    clusters = np.array([row[2] for row in rows], int)
    net = [int(first[clusters == own].sum() - second[clusters == own].sum()) for own in range(7)]
    flipped = [
        abs(sum(sign * own for sign, own in zip(signs, net, strict=True))) >= abs(sum(net))
        for signs in itertools.product((1, -1), repeat=7)
    ]
    assert clustered_mcnemar(first, second, clusters) == pytest.approx(np.mean(flipped))
    plain = mcnemar_exact(int((first & ~second).sum()), int((second & ~first).sum()))
    assert clustered_mcnemar(first, second, np.arange(len(rows))) == plain


def test_clustered_mean_knows_that_copies_tell_nothing():
    values = np.random.default_rng(0).normal(3.0, 1.0, 40)
    error = 1.959964 * values.std(ddof=1) / math.sqrt(40)
    for copies in (1, 5):
        own = clustered_mean(np.repeat(values, copies), np.repeat(np.arange(40), copies))
        assert own.value == pytest.approx(values.mean())
        assert (own.low, own.high) == pytest.approx((own.value - error, own.value + error))
    two = clustered_mean(np.array([1.0, 3.0]), ["p", "q"])
    assert (two.value, two.low, two.high) == pytest.approx((2.0, 2 - 1.959964, 2 + 1.959964))
    one = clustered_mean(np.array([1.0, 3.0]), ["p", "p"])
    assert one.value == 2.0 and math.isnan(one.low) and math.isnan(one.high)
    assert math.isnan(clustered_mean(np.zeros(0), []).value)


def test_clustered_mcnemar_of_thousands_of_films_is_a_number():
    draw = np.random.default_rng(0)
    first, second = draw.random(20_000) < 0.5, draw.random(20_000) < 0.52
    start = time.process_time()
    p = clustered_mcnemar(first, second, np.arange(20_000) // 2)
    assert time.process_time() - start < 5.0
    assert 0.0 < p < 0.01
    same = draw.random(20_000) < 0.5
    assert 0.0 <= clustered_mcnemar(same, np.zeros(20_000, bool), np.arange(20_000) // 2) < 1e-300


def test_paired_resamples_that_do_not_vary_give_no_interval():
    resamples = ClusterResamples(np.arange(30), resamples=100)
    positive = np.arange(30) < 15
    areas = resamples.aucs(positive, positive.astype(float))
    same = resamples.estimate(0.0, areas - areas)
    assert same.value == 0.0 and math.isnan(same.low) and math.isnan(same.high)
    less = resamples.aucs(positive, -np.abs(np.arange(30) - 8.0))
    other = resamples.estimate(-0.1, less - areas)
    assert other.low < other.high <= 0.0


def test_interval_of_resamples_holds_95_percent_of_those_that_are_numbers():
    told = np.r_[np.linspace(0.0, 1.0, 1001), np.full(500, math.nan)]
    own = ClusterResamples.estimate(0.4, told)
    assert (own.value, own.low, own.high) == pytest.approx((0.4, 0.025, 0.975))
    alike = np.full(9, 0.1) + 0.3
    for value, resampled in ((math.nan, told), (0.4, np.full(9, math.nan)), (0.4, alike)):
        own = ClusterResamples.estimate(value, resampled)
        assert math.isnan(own.low) and math.isnan(own.high)


def test_films_of_one_patient_give_areas_and_errors_no_interval():
    positive, p = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.5, 0.1])
    for clusters in (["p"] * 4, ["p", "p", "q", "q"]):
        resamples = ClusterResamples(clusters, resamples=100)
        own = resamples.auc(positive, p)
        assert own.value == 0.75 and math.isnan(own.low) and math.isnan(own.high)
    resamples = ClusterResamples(["p"] * 4, resamples=100)
    own = resamples.estimate(0.1, resamples.calibration_errors(p, positive))
    assert math.isnan(own.low) and math.isnan(own.high)
    # Four of seven: the mean of a hundred of it is another number in the last digit.
    own = ClusterResamples(["p"] * 8, resamples=100).auc(np.arange(8) < 1, np.r_[4.5, 1:8])
    assert own.value == pytest.approx(4 / 7) and math.isnan(own.low) and math.isnan(own.high)
    own = ClusterResamples(["p", "q", "p", "q"], resamples=100).auc(positive, p)
    assert own.low <= 0.75 < own.high


def _stated(draw, films, spread):
    """Probabilities that say too much where `spread` is above 1, and what is so."""
    log_odds = draw.normal(size=films)
    return 1 / (1 + np.exp(-spread * log_odds)), draw.random(films) < 1 / (1 + np.exp(-log_odds))


@pytest.mark.parametrize("spread", [1.0, 1 / 0.7])
def test_a_calibration_error_lies_in_its_interval_as_the_true_one_does(spread):
    draw = np.random.default_rng(3)
    stated, so = _stated(draw, 10**6, spread)
    true = expected_calibration_error(stated, so)
    covered = 0
    for _ in range(100):
        p, positive = _stated(draw, 400, spread)
        resamples = ClusterResamples(np.arange(400), resamples=200)
        error = expected_calibration_error(p, positive)
        own = resamples.estimate_error(error, resamples.calibration_errors(p, positive))
        assert 0.0 <= own.low <= own.value == error <= own.high <= 1.0
        covered += own.low <= true <= own.high
    # Of probabilities that are right, none is 0, and by chance alone half of the errors stay above.
    assert covered >= (85 if spread > 1 else 25)


def test_a_calibration_error_of_one_patient_has_no_interval():
    own = ClusterResamples.estimate_error(0.1, np.full(50, 0.1))
    assert own.value == 0.1 and math.isnan(own.low) and math.isnan(own.high)


def _separated(draw, sick, well, true):
    """Films of patients whose scores are told apart with that area; half of their spread is the patient's."""
    sizes = draw.geometric(0.45, sick + well)
    patients = np.repeat(np.arange(sick + well), sizes)
    positive = patients < sick
    apart = positive * math.sqrt(2) * NormalDist().inv_cdf(true)
    own = np.repeat(draw.normal(0, math.sqrt(0.5), sick + well), sizes)
    return positive, apart + own + draw.normal(0, math.sqrt(0.5), len(patients)), patients


@pytest.mark.parametrize(("sick", "well", "true"), [(20, 20, 0.99), (60, 40, 0.99), (10, 10, 0.8)])
def test_areas_near_one_cover_95_percent(sick, well, true):
    draw = np.random.default_rng(3)
    below = above = 0
    for _ in range(500):
        positive, score, patients = _separated(draw, sick, well, true)
        own = ClusterResamples(patients, resamples=200).auc(positive, score)
        assert 0.0 <= own.low <= own.value <= own.high <= 1.0
        below += own.high < true
        above += own.low > true
    assert 0.91 <= 1 - (below + above) / 500 <= 0.985
    assert above <= 0.06 * 500 and below <= 0.06 * 500


def test_area_s_interval_is_of_its_log_odds():
    positive, score, patients = _separated(np.random.default_rng(1), 30, 30, 0.9)
    resamples = ClusterResamples(patients)
    own = resamples.auc(positive, score)
    spread = resamples.aucs(positive, score).std() / (own.value * (1 - own.value))
    low, middle, high = (math.log(end / (1 - end)) for end in (own.low, own.value, own.high))
    assert (middle - low, high - middle) == pytest.approx((1.959964 * spread,) * 2)
    # One film of a patient against a thousand of another: no number overflows.
    positive = np.arange(1004) < 1002
    far = ClusterResamples(np.r_[0, np.ones(1001, int), 2, 3])
    own = far.auc(positive, np.r_[-2.0, np.ones(1001), -1.0, 0.0])
    assert own.value == pytest.approx(1001 / 1002)
    assert 0.0 <= own.low < 0.01 and own.high == pytest.approx(1.0)


def test_perfect_area_has_width():
    resamples = ClusterResamples(np.arange(30), resamples=100)
    positive = np.arange(30) < 15
    perfect = resamples.auc(positive, positive.astype(float))
    assert perfect.value == perfect.high == 1.0 and 0.7 < perfect.low < 0.99
    worst = resamples.auc(positive, -positive.astype(float))
    assert worst.value == worst.low == 0.0 and worst.high == pytest.approx(1 - perfect.low)
    # It counts the patients of either kind.
    patients = ClusterResamples(np.arange(30) // 2, resamples=100)
    few = patients.auc(np.arange(30) < 6, (np.arange(30) < 6).astype(float))
    assert few == Estimate(1.0, perfect_auc_limit(3, 12), 1.0)
    assert perfect_auc_limit(500, 500) > perfect_auc_limit(50, 50) > perfect_auc_limit(5, 5)
    assert perfect_auc_limit(0, 5) == 0.0
    one_class = resamples.auc(np.ones(30, bool), np.arange(30.0))
    assert math.isnan(one_class.value) and (one_class.low, one_class.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_s_limits_are_newcombes_examples(hits, total, low, high):
    """Newcombe 1998 (Statistics in Medicine 17, 857), table I, method 3."""
    assert wilson_limits(hits / total, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("positives", "negatives"), [(40, 40), (12, 90)])
def test_limit_of_a_perfect_area_is_where_hanley_and_mcneil_s_error_reaches_it(
    positives, negatives
):
    limit = perfect_auc_limit(positives, negatives)
    q1, q2 = limit / (2 - limit), 2 * limit**2 / (1 + limit)
    others = (positives + negatives) / 2 - 1  # of either kind: Newcombe's method 5
    variance = limit * (1 - limit) + others * (q1 - limit**2) + others * (q2 - limit**2)
    error = math.sqrt(variance / (positives * negatives))
    assert 1 - limit == pytest.approx(1.959964 * error, abs=1e-6)
    assert 0.5 < limit < 1.0
    assert perfect_auc_limit(negatives, positives) == limit
    assert perfect_auc_limit(positives, 0) == 0.0


def test_difference_is_newcombes_example():
    """Newcombe 1998, table II, (a): 56/70 - 48/80, method 10: 0.0524 to 0.3339."""
    first = Estimate(56 / 70, *wilson_limits(56 / 70, 70))
    second = Estimate(48 / 80, *wilson_limits(48 / 80, 80))
    own = difference(first, second)
    assert (own.value, own.low, own.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    nothing = difference(Estimate(math.nan, 0.0, 1.0), second)
    assert math.isnan(nothing.value) and (nothing.low, nothing.high) == (-1.0, 1.0)


def test_mean_and_complement():
    first, second = Estimate(0.9, 0.8, 0.95), Estimate(0.7, 0.6, 0.8)
    own = mean_of_two(first, second)
    assert own.value == pytest.approx(0.8)
    assert own.low == pytest.approx(0.8 - math.hypot(0.1, 0.1) / 2)
    assert own.high == pytest.approx(0.8 + math.hypot(0.05, 0.1) / 2)
    nothing = mean_of_two(first, Estimate(math.nan, 0.0, 1.0))
    assert math.isnan(nothing.value) and (nothing.low, nothing.high) == (0.0, 1.0)
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
    worse_than_chance = predictive_values(0.2, 0.3, 30, 30, 0.5)
    assert [own.value for own in worse_than_chance] == pytest.approx([0.1 / 0.45, 0.15 / 0.55])
    always_positive, none_cleared = predictive_values(1.0, 0.0, 30, 30, 0.1)
    assert always_positive.value == pytest.approx(0.1) and math.isnan(none_cleared.value)
    hardly_any, _ = predictive_values(0.9, 0.9, 100, 100, 1e-320)
    assert 0.0 <= hardly_any.low <= hardly_any.value <= hardly_any.high < 1e-300
    nothing = predictive_values(0.9, math.nan, 30, 0, 0.1)
    assert all(math.isnan(own.value) and (own.low, own.high) == (0.0, 1.0) for own in nothing)


def test_ends_of_predictive_values_by_hand():
    """Mercaldo, Lau & Zhou 2007: the logit of each, and its variance by the delta method."""

    def ends(odds, variance):
        return [
            1 / (1 + math.exp(sign * 1.959964 * math.sqrt(variance)) / odds) for sign in (1, -1)
        ]

    ppv, npv = predictive_values(0.9, 0.8, 100, 50, 0.1)
    assert [ppv.low, ppv.high] == pytest.approx(ends(0.5, 0.1 / 0.9 / 100 + 0.8 / 0.2 / 50))
    assert [npv.low, npv.high] == pytest.approx(ends(72.0, 0.9 / 0.1 / 100 + 0.2 / 0.8 / 50))
    # All 30 negatives cleared count as 30.5 of 31.
    ppv, _ = predictive_values(0.9, 1.0, 100, 30, 0.1)
    low, _ = ends(0.9 * 31 / 0.5 / 9, 0.1 / 0.9 / 100 + 30.5 / 0.5 / 31)
    assert (ppv.low, ppv.high) == pytest.approx((low, 1.0))


@pytest.mark.parametrize("share", [0.9, 0.95, 0.97, 0.985, 0.995])
@pytest.mark.parametrize("prevalence", [0.05, 0.5])
def test_predictive_values_are_within_their_intervals_as_often_as_these_say(share, prevalence):
    films = 134
    chances = [
        math.comb(films, wrong) * (1 - share) ** wrong * share ** (films - wrong)
        for wrong in range(films + 1)
    ]
    for find in (0, 1):
        sure = 0.95, 388, films  # the other rate, and both numbers of films
        truth = predictive_values(*_rates(find, share, *sure), prevalence)[find].value
        covered = [
            own.low <= truth <= own.high
            for wrong in range(films + 1)
            for own in (
                predictive_values(*_rates(find, 1 - wrong / films, *sure), prevalence)[find],
            )
        ]
        assert 0.9 <= np.dot(chances, covered) <= 0.995


def _rates(find: int, share: float, other: float, many: int, few: int) -> tuple[float, ...]:
    """Sensitivity, specificity, positives, negatives; PPV (0) hangs on the specificity, NPV on the other."""
    return (other, share, many, few) if find == 0 else (share, other, few, many)


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
    # 1 is in the last bin, with what lies a little below.
    surest = np.array([1.0, 0.96])
    assert expected_calibration_error(surest, surest < 1.0) == pytest.approx(0.48)
    resamples = ClusterResamples(np.zeros(2), resamples=3)
    assert resamples.calibration_errors(surest, surest < 1.0) == pytest.approx([0.48] * 3)
    assert expected_calibration_error(np.zeros(0), np.zeros(0, bool)) == 0.0
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(1, 9) == pytest.approx(2 * (1 + 10) / 1024)


def test_mcnemar_of_thousands_of_films_is_a_number():
    assert 0.0 < mcnemar_exact(5, 1100) < 1e-300
    assert mcnemar_exact(0, 5000) == 0.0
    assert mcnemar_exact(2500, 2500) == 1.0
    assert mcnemar_exact(2400, 2600) == pytest.approx(0.00488, abs=1e-5)
