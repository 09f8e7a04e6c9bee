"""Copies are found, strangers are not merged."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFilter

from edge_xray.quality import is_blank
from edge_xray_trainer.duplicates import (
    NEAR_DISTANCE,
    duplicate_groups,
    film_hash,
    merged,
    near_pairs,
)


def smooth_film(seed: int, side: int = 160) -> Image.Image:
    """A film-like picture: smooth, so that saving it again leaves its low frequencies."""
    noise = np.random.default_rng(seed).integers(0, 256, (20, 20)).astype(np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def distance(first: Image.Image, second: Image.Image) -> int:
    hashes = np.stack([film_hash(np.asarray(image)) for image in (first, second)])
    return next((d for _, _, d in near_pairs(hashes, 256)), 999)


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("L")


@pytest.mark.parametrize(
    "again",
    [
        lambda image: as_jpeg(image, 40),
        lambda image: image.resize((320, 320), Image.Resampling.BICUBIC),
        lambda image: image.resize((80, 80), Image.Resampling.BILINEAR),
        lambda image: image.filter(ImageFilter.GaussianBlur(1)),
        lambda image: image.point(lambda value: round(255 * (value / 255) ** 0.85)),
        lambda image: image.convert("RGB"),
    ],
    ids=["jpeg", "larger", "smaller", "blurred", "gamma", "colour"],
)
def test_copy_saved_again_is_near(again):
    for seed in range(5):
        film = smooth_film(seed)
        assert distance(film, again(film)) <= NEAR_DISTANCE


def test_different_films_are_far():
    hashes = np.stack([film_hash(np.asarray(smooth_film(seed))) for seed in range(30)])
    assert list(near_pairs(hashes, NEAR_DISTANCE)) == []


@settings(max_examples=40)
@given(arrays(np.uint64, st.tuples(st.integers(0, 9), st.integers(1, 4))), st.integers(0, 256))
def test_near_pairs_are_those_that_differ_in_no_more_bits(hashes, most):
    bits = [
        (i, j, sum(int(word).bit_count() for word in hashes[i] ^ hashes[j]))
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
    ]
    assert list(near_pairs(hashes, most)) == [pair for pair in bits if pair[2] <= most]


def test_copies_are_found_however_far_apart_they_stand():
    hashes = np.random.default_rng(0).integers(0, 2**63, (4100, 4), np.uint64)
    for first, second, bits in ((5, 4099, 0), (2047, 2048, 3), (4095, 4097, 26), (9, 4096, 27)):
        hashes[second] = hashes[first]
        hashes[second, 0] ^= np.uint64((1 << bits) - 1)
    assert sorted(near_pairs(hashes)) == [(5, 4099, 0), (2047, 2048, 3), (4095, 4097, 26)]


def test_groups_join_bytes_and_pixels():
    films = [smooth_film(1), smooth_film(2), as_jpeg(smooth_film(1), 60), smooth_film(3)]
    hashes = np.stack([film_hash(np.asarray(film)) for film in films])
    assert duplicate_groups(["a", "b", "c", "b"], hashes) == [0, 1, 0, 1]
    assert duplicate_groups(["a", "b", "a", "d"], np.zeros((0, 4), np.uint64)) == [0, 1, 0, 2]
    assert duplicate_groups([], np.zeros((0, 4), np.uint64)) == []


def test_blank_films_are_copies_of_none():
    black = np.zeros((64, 64), np.uint8)
    grey = np.random.default_rng(0).integers(100, 106, (64, 64)).astype(np.uint8)
    films = [black, np.asarray(smooth_film(1)), grey, black, np.asarray(smooth_film(1))]
    hashes = np.stack([film_hash(film) for film in films])
    blank = [is_blank(film) for film in films]
    assert blank == [True, False, True, True, False]
    assert duplicate_groups(["a", "b", "c", "a", "b"], hashes, blank=blank) == [0, 1, 2, 3, 1]


def test_hash_count_must_match():
    with pytest.raises(ValueError, match="2 films, 1 hashes"):
        duplicate_groups(["a", "b"], np.zeros((1, 4), np.uint64))


def test_blank_film_has_a_hash():
    assert film_hash(np.full((40, 50), 7, np.uint8)).tolist() == [0, 0, 0, 0]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_merged_is_the_transitive_closure(pairs):
    groups = merged(12, pairs)
    reach = np.eye(12, dtype=bool)
    for i, j in pairs:
        reach[i, j] = reach[j, i] = True
    for _ in range(12):
        reach = reach @ reach
    assert [[groups[i] == groups[j] for j in range(12)] for i in range(12)] == reach.tolist()


SAVED_AGAIN = {
    "quality 20": lambda image: as_jpeg(image, 20),
    "quality 50, twice the size": lambda image: as_jpeg(image.resize((448, 448)), 50),
    "a quarter of the size": lambda image: image.resize((64, 64), Image.Resampling.BILINEAR),
    "darker": lambda image: image.point(lambda value: round(255 * (value / 255) ** 1.3)),
    "brighter": lambda image: image.point(lambda value: round(255 * (value / 255) ** 0.8)),
    "contrast": lambda image: image.point(lambda value: round((value - 128) * 1.2 + 128)),
}


@pytest.mark.films
def test_line_between_copies_and_strangers_on_real_films():
    """What `NEAR_DISTANCE` was chosen by: copies saved again below it, other patients' films above."""
    folder = os.environ.get("EDGE_XRAY_DATA")
    if not folder:
        pytest.skip("EDGE_XRAY_DATA is not set")
    from edge_xray.labelled import file_sha256, read_labelled_folder

    root = Path(folder) / "train"
    films = [film for film in read_labelled_folder(root) if film.patient][::8]
    pixels = [Image.open(root / film.path).convert("L") for film in films]
    hashes = np.stack([film_hash(np.asarray(image)) for image in pixels])
    closest = min(
        bits for i, j, bits in near_pairs(hashes, 80) if films[i].patient != films[j].patient
    )
    farthest = max(
        distance(image, again(image)) for image in pixels[::16] for again in SAVED_AGAIN.values()
    )
    assert farthest < NEAR_DISTANCE < closest
    groups = duplicate_groups([file_sha256(root / film.path) for film in films], hashes)
    patients: dict[int, set[str]] = {}
    for film, group in zip(films, groups, strict=True):
        patients.setdefault(group, set()).add(film.patient)
    assert max(len(names) for names in patients.values()) == 1
