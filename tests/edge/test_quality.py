"""The gate lets chest films through and names what is wrong with everything else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFilter

from edge_xray.features import FeatureStatistics, feature_score
from edge_xray.pixel_statistics import CHEST_TEMPLATE, Layout
from edge_xray.quality import (
    QUALITY_REASONS,
    QualityReport,
    check_features,
    check_pixels,
)

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FILMS = [(label, seed) for label in ("normal", "bacterial", "viral") for seed in range(6)]


@pytest.fixture(scope="module", params=FILMS, ids=lambda film: f"{film[0]}{film[1]}")
def film(request, draw_film):
    return draw_film(*request.param, height=224, width=240)


def reason(pixels, **options):
    report = check_pixels(np.ascontiguousarray(pixels), **options)
    assert (report.reason is None) == (report.message == "")
    return report.reason


def letter():
    page = Image.new("L", (400, 500), 250)
    pen = ImageDraw.Draw(page)
    for row in range(20, 480, 14):
        pen.text((20, row), "Referral letter: cough for three days, no fever since yesterday", 10)
    return np.asarray(page)


def head():
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    shape = 200 * ((x / 0.6) ** 2 + (y / 0.8) ** 2 < 1) + 20 * np.sin(9 * x) * np.sin(8 * y)
    return np.clip(shape, 0, 255).astype(np.uint8)


def test_a_film_passes_in_grey_in_rgb_and_mirrored(film):
    assert check_pixels(film) == QualityReport()
    assert check_pixels(np.dstack([film] * 3)) == QualityReport()
    assert reason(film[:, ::-1]) is None


def test_a_turned_or_inverted_film_is_named(film):
    assert reason(np.rot90(film)) == "rotated"
    assert reason(np.rot90(film, 3)) == "rotated"
    assert reason(255 - film) == "inverted"


@pytest.mark.parametrize("seed", range(6))
def test_a_film_that_ends_within_the_lungs_is_named(draw_film, seed):
    film = draw_film("normal", seed, height=224, width=240)
    assert reason(film[:112]) == "cropped"
    assert reason(film[:112], chest=False) is None


def test_no_film_that_ends_within_the_lungs_passes_in_silence(film):
    report = check_pixels(np.ascontiguousarray(film[:134]))
    assert report.reason in {"cropped", "rotated"} or report.warnings


@pytest.mark.parametrize("number", range(1, 5))
def test_a_film_whose_upper_part_is_missing_does_not_pass_in_silence(number):
    film = np.asarray(Image.open(SAMPLES / f"normal-{number}.jpeg").convert("L"))
    assert check_pixels(film) == QualityReport()
    report = check_pixels(np.ascontiguousarray(film[len(film) * 4 // 10 :]))
    assert report == QualityReport(warnings=("the upper part of the lungs may be missing",))


def test_exposure_far_out_of_range_is_named_and_a_little_is_not(film):
    assert reason(film // 8) in {"too_dark", "no_contrast", "blank"}
    assert reason(230 + film // 12) in {"too_bright", "no_contrast", "page", "blank"}
    assert reason(100 + film // 8) == "no_contrast"
    assert reason((film * 0.8).astype(np.uint8)) is None
    assert reason((255 * (film / 255) ** 0.7).astype(np.uint8)) is None


@pytest.mark.parametrize(
    ("low", "refused", "doubts"),
    [
        (12, "too_dark", []),
        (40, None, ["the film is dark"]),
        (80, None, []),
        (150, None, ["the film is bright"]),
        (190, "too_bright", []),
    ],
)
def test_exposure_alone_is_doubted_then_refused(film, low, refused, doubts):
    dark, light = np.percentile(film, (5, 95))
    shown = np.clip(np.rint((film - dark) * (50 / (light - dark)) + low), 0, 255)
    report = check_pixels(shown.astype(np.uint8))
    assert report.reason == refused
    assert [text for text in report.warnings if text.endswith(("dark", "bright"))] == doubts


def test_a_black_margin_around_a_film_is_doubted_and_hides_nothing(film):
    ground = np.zeros((400, 380), np.uint8)
    ground[60 : 60 + film.shape[0], 100 : 100 + film.shape[1]] = film
    report = check_pixels(ground)
    assert report.reason is None
    assert report.warnings == ("a black margin surrounds the film; export it without one",)
    assert reason(np.rot90(ground)) == "rotated"


def test_blur_is_doubted_then_refused(film):
    def blurred(radius):
        return check_pixels(
            np.asarray(Image.fromarray(film).filter(ImageFilter.GaussianBlur(radius)))
        )

    doubted = blurred(2.5)
    assert "not sharp" in " ".join(doubted.warnings) or doubted.reason == "blurred"
    assert blurred(9).reason == "blurred"


def test_colour_is_doubted_then_refused(film):
    tinted = np.dstack([film, film, (film * 0.9).astype(np.uint8)])
    assert "tinted" in " ".join(check_pixels(tinted).warnings)
    assert reason(np.dstack([film, film // 2, film // 3])) == "in_colour"
    assert reason(film, colour=40.0) == "in_colour"


def test_what_is_no_film_is_named():
    assert reason(np.full((200, 200), 90, np.uint8)) == "blank"
    assert reason(letter()) == "page"
    assert reason(head()) == "not_a_chest_film"
    noise = np.random.default_rng(0).integers(0, 256, (224, 224), np.uint8)
    assert reason(noise) in {"not_a_chest_film", "no_contrast"}


def test_who_has_a_chest_film_that_is_taken_for_none_is_told_that_a_clinician_reads_it(
    draw_film, statistics
):
    film = draw_film("normal", 0, height=224, width=240)
    colours = np.dstack([film, film // 2, film // 3])
    reports = [check_pixels(pixels) for pixels in (letter(), colours, 255 - film, head())]
    reports.append(check_features(np.full(20, np.nan), statistics[1]))
    reasons = [report.reason for report in reports]
    assert reasons == ["page", "in_colour", "inverted", "not_a_chest_film", "foreign"]
    assert all(report.message.endswith(" a clinician must read it") for report in reports)


def test_for_another_organ_only_a_blank_picture_is_refused(film):
    assert reason(255 - film, chest=False) is None
    assert reason(np.dstack([film, film // 2, film // 3]), chest=False) is None
    assert reason(np.zeros((64, 64), np.uint8), chest=False) == "blank"


@settings(max_examples=80)
@given(
    arrays(
        np.uint8,
        st.one_of(
            st.tuples(st.integers(1, 60), st.integers(1, 60)),
            st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
        ),
    )
)
def test_any_picture_gets_a_verdict(pixels):
    report = check_pixels(pixels)
    assert report.reason is None or report.reason in QUALITY_REASONS


def test_bright_dots_on_black_are_no_margin_all_over():
    # One in twenty is bright, as a 95th percentile asks for, and no row or column has more of them.
    y, x = np.mgrid[:128, :128]
    dots = np.where((x - y) % 128 % 18 == 0, 200, 0).astype(np.uint8)
    dots[(x - y) % 128 == 126] = 0
    assert 0.05 < (dots > 0).mean(axis=0).max() == (dots > 0).mean(axis=1).min() < 0.06
    assert reason(dots) == "not_a_chest_film"


def test_the_mean_film_is_one_in_the_units_of_every_table():
    layout = Layout(0.0, CHEST_TEMPLATE, np.zeros((128, 128), np.uint8), 1.0)
    over = Layout(0.0, CHEST_TEMPLATE[::-1], layout.grey, 1.0)
    # The tables were scaled to a median of 1; the mean film is a little clearer than the median one.
    assert layout.likeness[0] == pytest.approx(1.0, abs=0.01)
    assert 1.0 < layout.uprightness < 1.3 and over.uprightness == -layout.uprightness
    assert 1.0 < layout.bases < 1.3 and layout.bases_upside_down == over.bases < -1.0
    assert 1.0 < layout.tops < 1.3 and over.tops < -1.0
    turned = Layout(0.0, np.rot90(CHEST_TEMPLATE), layout.grey, 1.0)
    assert turned.likeness == pytest.approx([*layout.likeness[1:], layout.likeness[0]])


@pytest.fixture(scope="module")
def statistics():
    draw = np.random.default_rng(3)
    mixing = draw.normal(size=(12, 20))
    films = draw.normal(size=(2000, 12)) @ mixing + draw.normal(size=(2000, 20)) * 0.1
    mean = films.mean(axis=0)
    _, singular, rows = np.linalg.svd(films - mean, full_matrices=False)
    components, variances = rows[:8], singular[:8] ** 2 / len(films)
    projected = (films - mean) @ components.T
    left_out = np.linalg.norm(films - mean - projected @ components, axis=1)
    fitted = FeatureStatistics(
        mean.astype(np.float32),
        components.astype(np.float32),
        variances.astype(np.float32),
        float(np.sqrt((left_out**2).mean())),
        unlike=4.0,
        foreign=8.0,
    )
    return films, fitted


def test_the_feature_score_is_the_formula_in_the_metadata(statistics):
    films, fitted = statistics
    centred = films - fitted.mean
    for row, score in zip(centred[:50], feature_score(films[:50], fitted), strict=True):
        z = fitted.components @ row / np.sqrt(fitted.variances)
        rest = row - fitted.components.T @ (fitted.components @ row)
        expected = np.sqrt((z**2).sum() / len(z)) + np.linalg.norm(rest) / fitted.residual_scale
        assert score == pytest.approx(expected, rel=1e-5)


def test_known_films_score_about_two_and_strange_ones_are_refused(statistics):
    films, fitted = statistics
    scores = feature_score(films, fitted)
    assert np.median(scores) == pytest.approx(2.0, abs=0.2)
    assert check_features(films[int(np.argmin(scores))], fitted) == QualityReport()
    far = fitted.mean + 3 * (films[0] - fitted.mean)
    scale = 5.0 / feature_score(far[None], fitted)[0]
    unlike = fitted.mean + scale * (far - fitted.mean)
    assert check_features(unlike, fitted).reason == "unlike_known_films"
    foreign = fitted.mean + 3 * scale * (far - fitted.mean)
    assert check_features(foreign, fitted).reason == "foreign"
    assert check_features(np.full(20, np.nan), fitted).reason == "foreign"


@pytest.mark.films
@pytest.mark.skipif("EDGE_XRAY_DATA" not in os.environ, reason="EDGE_XRAY_DATA names no films")
def test_real_films_pass_and_so_do_their_composites():
    root = Path(os.environ["EDGE_XRAY_DATA"]) / "train"
    paths = sorted(root.rglob("*.jpeg"))[::8]
    films = np.stack(
        [np.asarray(Image.open(path).convert("L").resize((224, 224))) for path in paths]
    )
    refused = [path.name for path, film in zip(paths, films, strict=True) if reason(film)]
    assert len(refused) <= 0.01 * len(films), refused
    cut = [check_pixels(np.ascontiguousarray(film[:134])) for film in films]
    assert sum(report.reason is not None for report in cut) > 0.4 * len(films)
    assert sum(bool(report.reason or report.warnings) for report in cut) > 0.85 * len(films)
    normal = films[["NORMAL" in path.parts for path in paths]]
    cut = [check_pixels(np.ascontiguousarray(film[90:])) for film in normal]
    assert sum(bool(report.reason or report.warnings) for report in cut) > 0.8 * len(normal)
    draw = np.random.default_rng(1)
    for size in (10, 30, 60):
        mean = films[draw.choice(len(films), size, replace=False)].mean(axis=0)
        low, high = np.percentile(mean, [1, 99])
        stretched = np.clip((mean - low) / (high - low) * 235 + 10, 0, 255).astype(np.uint8)
        assert reason(stretched) is None
