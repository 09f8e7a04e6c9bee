"""What is fitted on validation does what its rule says, there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_xray.calibration import ScoreCalibration, probabilities
from edge_xray.errors import UsageError
from edge_xray.features import FeatureStatistics, feature_score
from edge_xray.measures import wilson_limits
from edge_xray_trainer.fitting import (
    FOREIGN_FACTOR,
    GATE_FILMS,
    RULE_IN_SPECIFICITY,
    SCREENING_SENSITIVITY,
    UNLIKE_QUANTILE,
    fit_feature_statistics,
    fit_finding_temperature,
    fit_operating_points,
    fit_temperature,
    gate_remark,
)

POSITIVE = (False, True, True)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    positives=st.integers(1, 300),
    negatives=st.integers(1, 300),
    grain=st.sampled_from([0, 2, 20]),
)
def test_operating_points_keep_their_rules_on_any_scores(
    seed: int, positives: int, negatives: int, grain: int
) -> None:
    draw = np.random.default_rng(seed)
    positive = np.arange(positives + negatives) < positives
    scores = 1 / (1 + np.exp(-(draw.normal(0, 2, len(positive)) + 2 * positive)))
    if grain:
        scores = np.clip(np.round(scores * grain) / grain, 0.0, 0.999)  # a softmax ends below 1
    points = {
        point.name: point
        for point in fit_operating_points(scores, positive, np.arange(len(scores)), "films")
    }
    assert list(points) == ["screening", "balanced", "rule-in"]
    screening, rule_in = points["screening"], points["rule-in"]
    assert (scores[positive] >= screening.threshold).mean() >= SCREENING_SENSITIVITY - 1e-9
    higher = np.unique(scores[scores > screening.threshold])
    if len(higher) > 1:
        assert (scores[positive] >= higher[1]).mean() < SCREENING_SENSITIVITY
    assert (scores[~positive] < rule_in.threshold).mean() >= RULE_IN_SPECIFICITY - 1e-9
    rising = [point.threshold for point in points.values()]
    assert rising == sorted(rising)

    def told(threshold: float) -> tuple[float, float]:
        return (scores[positive] >= threshold).mean(), (scores[~positive] < threshold).mean()

    def positives(threshold: float) -> int:
        return int((scores >= threshold).sum())

    sums = {score: sum(told(score)) for score in scores}
    largest = [score for score, total in sums.items() if total > max(sums.values()) - 1e-9]
    assert positives(points["balanced"].threshold) in {
        min(positives(screening.threshold), positives(score)) for score in largest
    }
    for point in points.values():
        assert point.review_low <= point.threshold <= point.review_high
        assert point.sensitivity is not None and point.specificity is not None
        for measured, share in zip(
            (point.sensitivity, point.specificity), told(point.threshold), strict=True
        ):
            assert measured.value == pytest.approx(share)
            assert measured.low <= measured.value <= measured.high


@pytest.mark.parametrize(("films", "each_side"), [(20, 1), (60, 1), (200, 4), (510, 10)])
def test_a_person_decides_on_the_films_nearest_a_threshold_as_many_on_either_side(
    films: int, each_side: int
) -> None:
    draw = np.random.default_rng(films)
    positive = np.arange(films) % 2 == 0
    scores = 1 / (1 + np.exp(-draw.normal(0, 2, films)))
    for point in fit_operating_points(scores, positive, np.arange(films), "films"):
        review = (point.review_low <= scores) & (scores < point.review_high)
        sides = scores < point.threshold, scores >= point.threshold
        if all(side.any() for side in sides):
            # Midway: another machine's rounding must not carry a film over the line.
            midway = (scores[sides[0]].max() + scores[sides[1]].min()) / 2
            assert point.threshold == pytest.approx(midway)
        for side in sides:
            assert (review & side).sum() == min(each_side, side.sum())
        nearest = np.abs(np.searchsorted(np.sort(scores), scores) - sides[0].sum() + 0.5)
        assert nearest[review].max(initial=0) <= each_side


def test_a_rule_for_fewer_alarms_never_gives_more_where_all_films_are_told_apart() -> None:
    positive = np.arange(400) >= 100
    scores = np.concatenate([np.linspace(0.01, 0.2, 100), np.linspace(0.4, 0.99, 300)])
    points = fit_operating_points(scores, positive, np.arange(400), "films")
    alarms = [int((scores >= point.threshold).sum()) for point in points]
    assert alarms == sorted(alarms, reverse=True) and alarms[0] < 300


def test_films_of_one_patient_make_the_intervals_of_the_points_wider_and_nothing_else() -> None:
    draw = np.random.default_rng(3)
    # Five films of each patient, all of whom score nearly alike.
    patients = np.repeat(np.arange(80), 5)
    positive = patients >= 40
    own = draw.normal(0, 1.5, 80)[patients] + 2 * positive + draw.normal(0, 0.1, 400)
    scores = 1 / (1 + np.exp(-own))
    alone = fit_operating_points(scores, positive, np.arange(400), "films")
    together = fit_operating_points(scores, positive, patients, "films")
    assert [point.threshold for point in alone] == [point.threshold for point in together]
    for one, clustered in zip(alone, together, strict=True):
        share = float((scores[positive] >= one.threshold).mean())
        assert one.sensitivity.value == pytest.approx(share, rel=1e-3)
        limits = (one.sensitivity.low, one.sensitivity.high)
        assert limits == pytest.approx(wilson_limits(share, 200), rel=1e-3)
        for rate in ("sensitivity", "specificity"):
            narrow, wide = getattr(one, rate), getattr(clustered, rate)
            assert wide.value == narrow.value
            assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
        assert clustered.measured_on == "films, on which the threshold was chosen"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 3, (20_000, 3))
    gumbel = draw.gumbel(size=logits.shape)
    labels = (logits / temperature + gumbel).argmax(axis=1)
    fitted = fit_temperature(logits, labels, "drawn labels")
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)
    assert fitted.films == 20_000


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_class_weights_are_factors_of_calibrated_probabilities(temperature: float) -> None:
    draw = np.random.default_rng(0)
    log_prior = np.log([0.6, 1.8, 0.6])
    logits = draw.normal((0, 3, 0), 3, (20_000, 3))
    gumbel = draw.gumbel(size=logits.shape)
    labels = (logits / temperature + log_prior + gumbel).argmax(axis=1)
    fitted = fit_temperature(logits, labels, "drawn labels", log_prior)
    assert fitted.temperature == pytest.approx(temperature, rel=0.05)
    shifted = logits + fitted.temperature * log_prior
    stated = probabilities(shifted, fitted, POSITIVE).mean(axis=0)
    assert stated == pytest.approx(np.bincount(labels) / len(labels), abs=0.01)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_findings_is_found(temperature: float) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 3, (20_000, 3))
    made = ScoreCalibration(2.0, "films", 20_000, temperature)
    shares = probabilities(logits, made, POSITIVE)
    labels = (draw.random((20_000, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    classes_alone = replace(made, finding_temperature=1.0)
    patients = np.arange(20_000)
    fitted = fit_finding_temperature(logits, labels, patients, classes_alone, np.array(POSITIVE))
    assert fitted.finding_temperature == pytest.approx(temperature, rel=0.05)
    assert replace(fitted, finding_temperature=temperature) == made


def test_a_finding_told_apart_without_an_error_is_not_taken_for_certain() -> None:
    labels = np.repeat([0, 1, 2], 50)
    logits = 5.0 * np.eye(3)[labels]
    doubts = []
    for patients in (np.arange(150), np.arange(150) // 10):
        fitted = fit_finding_temperature(
            logits, labels, patients, ScoreCalibration(), np.array(POSITIVE)
        )
        shares = probabilities(logits, fitted, POSITIVE)
        doubts.append((shares[0, 1:].sum(), shares[50:, 0].max()))
    # As sure as patients of each kind allow: 50 normal ones and 100 others, and then 5 and 10.
    assert all(1 / 102 < doubt < 1 / 51 for doubt in doubts[0])
    assert all(1 / 12 < doubt < 1 / 6 for doubt in doubts[1])


def test_feature_statistics_keep_films_of_their_kind_and_refuse_others() -> None:
    draw = np.random.default_rng(0)
    mixing = draw.normal(0, 1, (24, 24)) * np.geomspace(3, 0.05, 24)
    training, validation, same = (draw.normal(0, 1, (n, 24)) @ mixing for n in (900, 300, 500))
    statistics = fit_feature_statistics(training, training, validation, "drawn films")
    assert statistics.films == 900
    assert (feature_score(same, statistics) <= statistics.unlike).mean() > 0.98
    other = draw.normal(0, 1, (500, 24)) * 3
    assert (feature_score(other, statistics) > statistics.foreign).mean() > 0.98


def test_feature_statistics_are_what_their_formula_says() -> None:
    draw = np.random.default_rng(4)
    # 70 channels vary, each less than the one before; the others are always the same.
    films = np.full((600, 80), 7.0)
    films[:, :70] += draw.normal(0, np.geomspace(5, 0.5, 70), (600, 70))
    training, varied, validation = films[:300], films[300:500], films[500:]
    statistics = fit_feature_statistics(training, varied, validation, "drawn films")
    known = films[:500]
    assert statistics.components.shape == (64, 80)
    assert statistics.mean == pytest.approx(known.mean(axis=0), rel=1e-5)
    assert statistics.components @ statistics.components.T == pytest.approx(np.eye(64), abs=1e-4)
    centred = known - known.mean(axis=0)
    inside = centred @ statistics.components.T
    assert statistics.variances == pytest.approx(inside.var(axis=0, ddof=1), rel=1e-3)
    # The 64 largest there are.
    largest = np.linalg.eigvalsh(np.cov(known.T))[::-1][:64]
    assert statistics.variances == pytest.approx(largest, rel=1e-3)
    outside = np.linalg.norm(centred - inside @ statistics.components, axis=1)
    assert statistics.residual_scale == pytest.approx(np.sqrt((outside**2).mean()), rel=1e-3)
    scores = feature_score(validation, statistics)
    assert statistics.unlike == pytest.approx(np.quantile(scores, UNLIKE_QUANTILE))
    assert statistics.foreign == pytest.approx(FOREIGN_FACTOR * statistics.unlike)


def test_channels_that_never_vary_are_no_components() -> None:
    draw = np.random.default_rng(5)
    films = np.full((200, 10), 7.0)
    films[:, :4] += draw.normal(0, 1, (200, 4))
    statistics = fit_feature_statistics(films, films, films, "drawn films")
    assert len(statistics.components) == 4
    # What is left out is nothing but rounding, and one such channel that moves is strange.
    assert statistics.residual_scale == pytest.approx(np.sqrt(statistics.variances[-1]))
    films[:, 5] += 20
    assert (feature_score(films, statistics) > statistics.foreign).all()


def test_a_network_that_gives_all_films_the_same_features_is_refused() -> None:
    films = np.full((20, 8), 0.1)
    with pytest.raises(UsageError, match="lower --learning-rate"):
        fit_feature_statistics(films, films, films[:5], "twenty films")


def test_fewer_films_than_channels_still_give_usable_statistics() -> None:
    draw = np.random.default_rng(1)
    training, validation = draw.normal(0, 1, (12, 40)), draw.normal(0, 1, (5, 40))
    statistics = fit_feature_statistics(training, training + 0.1, validation, "twelve films")
    assert np.isfinite(feature_score(validation, statistics)).all()


def test_what_varies_between_sites_makes_no_film_strange() -> None:
    draw = np.random.default_rng(2)
    training, validation, same = (draw.normal(0, 1, (n, 24)) for n in (900, 300, 500))
    exposure = np.zeros(24)
    exposure[3] = 40.0
    varied = training + exposure * draw.uniform(-1, 1, (900, 1))
    elsewhere = same + exposure * draw.uniform(-1, 1, (500, 1))

    def refused(statistics: FeatureStatistics, films: np.ndarray) -> float:
        return float((feature_score(films, statistics) > statistics.unlike).mean())

    one_site = fit_feature_statistics(training, training, validation, "one site")
    sites = fit_feature_statistics(training, varied, validation, "one site and its variations")
    assert refused(one_site, elsewhere) > 0.8
    assert refused(sites, elsewhere) < 0.05
    assert refused(sites, same) < 0.03
    strange = draw.normal(0, 3, (500, 24))
    assert refused(sites, strange) > 0.98


def test_few_validation_films_are_remarked_on_and_enough_are_not() -> None:
    assert gate_remark(GATE_FILMS) == ""
    assert f"only {GATE_FILMS - 1} validation films" in gate_remark(GATE_FILMS - 1)
