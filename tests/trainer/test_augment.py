"""Each variation does to a known picture what its name says, within its bounds and only by its generator."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from edge_xray.errors import UsageError
from edge_xray_trainer.augment import NO_AUGMENTATION, Augmentation

SIDE = 97
"""Odd, so that a film has a pixel in its middle."""

DRAWS = 120


def draws(film: NDArray[np.uint8], count: int = DRAWS, **strengths: Any) -> Iterator[Any]:
    """Grey films (H, W) varied by these strengths alone, as float64."""
    vary = replace(NO_AUGMENTATION, **strengths)
    for seed in range(count):
        yield vary(film[..., None], np.random.default_rng(seed))[..., 0].astype(np.float64)


def spot(right: float, down: float) -> NDArray[np.uint8]:
    """A film with one soft spot, so many pixels from its middle."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    return np.rint(250 * np.exp(-((x - right) ** 2 + (y - down) ** 2) / 18)).astype(np.uint8)


def places(film: NDArray[np.uint8], **strengths: Any) -> NDArray[np.float64]:
    """Where the spot of each varied film lies from the middle, (draws, 2): right, down."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    return np.array(
        [
            ((x * varied).sum() / varied.sum(), (y * varied).sum() / varied.sum())
            for varied in draws(film, **strengths)
        ]
    )


def spans(values: Any, low: float, high: float, slack: float) -> bool:
    """Whether values keep to a range and fill nine tenths of it, give or take what can be measured."""
    room = (high - low) / 20
    least, most = np.min(values), np.max(values)
    return bool(
        low - slack <= least <= low + room + slack and high - room - slack <= most <= high + slack
    )


@pytest.fixture
def film(draw_film: Callable[..., NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return draw_film("normal", 0, height=100, width=80)


@settings(max_examples=60)
@given(
    height=st.integers(28, 90),
    width=st.integers(28, 90),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32),
)
def test_any_film_stays_a_film_of_its_shape(
    height: int, width: int, channels: int, seed: int
) -> None:
    pixels = (
        np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)
    )
    before = pixels.copy()
    first = Augmentation()(pixels, np.random.default_rng(seed))
    assert first.shape == pixels.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, Augmentation()(pixels, np.random.default_rng(seed)))
    assert np.array_equal(before, pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_no_augmentation_leaves_films_as_they_are(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, channels)).astype(np.uint8)
    assert np.array_equal(NO_AUGMENTATION(pixels, np.random.default_rng(1)), pixels)


@pytest.mark.parametrize("name", [field.name for field in fields(Augmentation)])
def test_a_strength_below_nothing_or_a_chance_above_1_is_refused(name: str) -> None:
    for value in [-0.1, 1.1] if name.endswith("_chance") else [-0.1, np.nan]:
        with pytest.raises(UsageError, match=rf"\[augmentation\] {name} must be .* got {value}"):
            Augmentation(**{name: value})


def test_films_differ_from_draw_to_draw(draw_film: Callable[..., np.ndarray]) -> None:
    film = draw_film("normal", 0)[..., None]
    drawn = {Augmentation()(film, np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert len(drawn) == 20


@pytest.mark.parametrize(
    "name",
    [
        "flip_chance",
        "equalize_chance",
        "shading_chance",
        "blur_chance",
        "resize_chance",
        "noise_chance",
        "jpeg_chance",
        "border_chance",
        "patch_chance",
    ],
)
def test_a_chance_is_the_share_of_films_that_are_varied(film: NDArray[np.uint8], name: str) -> None:
    strengths = {
        "shading": 0.4,
        "blur_radius": 1.5,
        "noise_level": 14.0,
        "border": 0.2,
        "patch": 0.3,
    }
    varied = [not np.array_equal(film, own) for own in draws(film, 300, **strengths, **{name: 0.4})]
    wanted = 0.6 if name == "blur_chance" else 0.4  # which sharpens half as many
    assert abs(np.mean(varied) - wanted) < 0.08


def test_a_mirrored_film_is_mirrored_to_the_pixel(film: NDArray[np.uint8]) -> None:
    for varied in draws(film, 5, flip_chance=1.0):
        assert np.array_equal(varied, film[:, ::-1])


def test_a_film_is_turned_about_its_middle_either_way() -> None:
    right, down = places(spot(30, 0), rotation_degrees=20.0).T
    assert np.allclose(np.hypot(right, down), 30, atol=0.3)
    assert spans(np.rad2deg(np.arctan2(down, right)), -20, 20, 0.5)
    assert np.allclose(places(spot(0, 0), rotation_degrees=20.0), 0, atol=0.1)


def test_a_film_is_zoomed_in_and_out_about_its_middle() -> None:
    right, down = places(spot(20, 10), zoom=0.5, zoom_out=0.3).T
    assert np.allclose(right, 2 * down, atol=0.3)
    assert spans(right / 20, np.exp(-0.3), 1.5, 0.02)
    assert np.allclose(places(spot(0, 0), zoom=0.5, zoom_out=0.3), 0, atol=0.1)


def test_the_ratio_of_sides_changes_and_their_product_does_not() -> None:
    right, down = places(spot(20, 20), aspect=0.4).T
    assert spans(right / down, 1 / 1.4, 1.4, 0.02)
    assert np.allclose(right * down, 400, atol=8)


def test_a_film_is_shifted_along_each_side_for_itself() -> None:
    right, down = places(spot(0, 0), shift=0.2).T
    for way in (right, down):
        assert spans(way, -0.2 * SIDE, 0.2 * SIDE, 0.2)
    assert abs(np.corrcoef(right, down)[0, 1]) < 0.3


def test_what_comes_in_from_outside_is_black() -> None:
    white = np.full((SIDE, SIDE), 255, np.uint8)
    kept = [varied.mean() / 255 for varied in draws(white, zoom_out=0.3)]
    assert spans(kept, np.exp(-0.6), 1.0, 0.03)


def test_gamma_bends_the_curve_between_black_and_white() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    powers = []
    for varied in draws(ramp, gamma=0.5):
        assert (varied[0, 0], varied[0, 255]) == (0, 255)
        powers.append(np.log(varied[0, 128] / 255) / np.log(128 / 255))
        assert np.allclose(varied[0], 255 * (np.arange(256) / 255) ** powers[-1], atol=2.5)
    assert spans(np.log(powers), -0.5, 0.5, 0.02)


def test_contrast_spreads_greys_about_the_films_mean() -> None:
    film = np.tile(np.linspace(80, 140, 61).astype(np.uint8), (4, 1))
    varied = np.array([[own.mean(), own.std()] for own in draws(film, contrast=0.4)])
    assert np.allclose(varied[:, 0], film.mean(), atol=0.5)
    assert spans(np.log(varied[:, 1] / film.std()), -0.4, 0.4, 0.02)


def test_brightness_moves_all_greys_alike_as_far_as_they_go(film: NDArray[np.uint8]) -> None:
    offsets = [own[0, 0] - 128 for own in draws(np.full((4, 4), 128, np.uint8), brightness=30.0)]
    assert spans(offsets, -30, 30, 0.5)
    for varied, offset in zip(draws(film, brightness=30.0), offsets, strict=True):
        assert np.allclose(varied, np.clip(film + offset, 0, 255), atol=1)


def test_equalized_films_are_those_of_pillow(film: NDArray[np.uint8]) -> None:
    (varied,) = draws(film, 1, equalize_chance=1.0)
    assert np.array_equal(varied, ImageOps.equalize(Image.fromarray(film)))


@pytest.mark.parametrize("channels", [1, 3])
def test_shading_falls_off_along_a_line_in_any_direction(channels: int) -> None:
    vary = replace(NO_AUGMENTATION, shading_chance=1.0, shading=0.4)
    flat = np.full((SIDE, SIDE, channels), 128, np.uint8)
    slopes = []
    for seed in range(DRAWS):
        gain = vary(flat, np.random.default_rng(seed)) / 128
        assert abs(gain.mean() - 1) < 0.01
        across, along = (gain[:, -1, 0] - gain[:, 0, 0]).mean(), (gain[-1] - gain[0])[:, 0].mean()
        y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) - 0.5
        assert np.allclose(gain, (1 + across * x + along * y)[..., None], atol=0.01)
        slopes.append((across, along))
    fall = np.hypot(*np.array(slopes).T)
    assert spans(fall, 0, 0.4, 0.02)
    assert (np.abs(slopes).max(axis=0) > 0.3).all() and (np.min(slopes, axis=0) < -0.3).all()


def test_blurring_and_sharpening_are_those_of_pillow(film: NDArray[np.uint8]) -> None:
    image = Image.fromarray(film)
    sharpened = [
        np.asarray(image.filter(ImageFilter.UnsharpMask(2, percent, 0)))
        for percent in range(40, 160)
    ]
    details = [np.abs(np.diff(own)).mean() for own in draws(film, blur_chance=1.0, blur_radius=3.0)]
    most, least = (
        np.abs(np.diff(np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), float))).mean()
        for radius in (0.3, 3.0)
    )
    assert spans(details, least, most, 0.2)
    varied = list(draws(film, blur_chance=0.6, blur_radius=1e-3))  # a blur that leaves it as it is
    assert 0.2 < np.mean([np.array_equal(own, film) for own in varied]) < 0.8
    for own in varied:
        assert np.array_equal(own, film) or any(np.array_equal(own, sharp) for sharp in sharpened)


def test_a_film_that_was_small_for_a_while_has_lost_detail_and_nothing_else(
    film: NDArray[np.uint8],
) -> None:
    chequered = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * 100 + 78
    kept = [own.std() / 50 for own in draws(chequered.astype(np.uint8), resize_chance=1.0)]
    assert max(kept) < 0.9 and min(kept) < 0.05
    for varied in draws(film, resize_chance=1.0):
        assert np.abs(varied - film).mean() < 6
        assert abs(varied.mean() - film.mean()) < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_of_a_level_up_to_the_largest_and_grey(channels: int) -> None:
    vary = replace(NO_AUGMENTATION, noise_chance=1.0, noise_level=14.0)
    flat = np.full((SIDE, SIDE, channels), 128, np.uint8)
    varied = [vary(flat, np.random.default_rng(seed)).astype(float) for seed in range(DRAWS)]
    assert spans([own.std() for own in varied], 1.0, 14.0, 0.3)
    assert all(abs(own.mean() - 128) < 1 for own in varied)
    assert all(np.array_equal(own, own[..., :1] + np.zeros(channels)) for own in varied)


def test_jpeg_qualities_are_drawn_from_the_lowest_to_94(film: NDArray[np.uint8]) -> None:
    def saved(quality: int) -> NDArray[np.uint8]:
        buffer = io.BytesIO()
        Image.fromarray(film).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    films = {saved(quality).tobytes(): quality for quality in range(1, 101)}
    found = [
        films[own.astype(np.uint8).tobytes()]
        for own in draws(film, 300, jpeg_chance=1.0, jpeg_quality=80)
    ]
    assert set(found) == set(range(80, 95))


def test_border_dropout_covers_each_side_up_to_its_width_and_leaves_the_rest(
    film: NDArray[np.uint8],
) -> None:
    height, width = film.shape
    widths, levels, noisy = [], [], 0
    for varied in draws(film, 300, border_chance=1.0, border=0.2):
        same = varied == film
        assert same[20:-20, 16:-16].all()
        # A line of the border is all border; one grey may be the film's own.
        rows, columns = (np.flatnonzero(same.mean(axis=axis) > 0.5) for axis in (1, 0))
        top, left = rows[0], columns[0]
        bottom, right = height - 1 - rows[-1], width - 1 - columns[-1]
        assert same[top : height - bottom, left : width - right].all()
        widths.append((top, bottom, left, right))
        frame = np.ones(film.shape, bool)
        frame[top : height - bottom, left : width - right] = False
        greys = varied[frame]
        if np.ptp(greys):
            noisy += 1
            assert 5 < greys.std() < 35
        else:
            levels.append(greys[0])
    for own, side in zip(np.array(widths).T, (height, height, width, width), strict=True):
        assert spans(own, 0, 0.2 * side, 1)
    assert 0.2 < noisy / 300 < 0.4
    assert 0.4 < np.mean(np.array(levels) == 0) < 0.6
    assert spans(levels, 0, 255, 1)


def test_one_to_three_patches_of_one_grey_lie_anywhere() -> None:
    black = np.zeros((SIDE, SIDE), np.uint8)
    covered, sides, counts = np.zeros(black.shape), [], []
    for varied in draws(black, 400, patch_chance=1.0, patch=0.3):
        greys = np.setdiff1d(varied, 0)
        counts.append(len(greys))
        covered += varied > 0
        if len(greys) == 1:
            rows, columns = np.nonzero(varied)
            high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
            assert high * wide == len(rows)
            sides.append((high, wide))
    assert set(counts) == {1, 2, 3}
    for own in np.array(sides).T:
        assert spans(own, 0.05 * SIDE, 0.3 * SIDE, 1)
    assert covered.any(axis=0).all() and covered.any(axis=1).all()
