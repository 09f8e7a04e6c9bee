"""Augmentation varies films within bounds and only by its generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_xray_trainer.augment import NO_AUGMENTATION, Augmentation


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


def test_films_differ_from_draw_to_draw(draw_film: Callable[..., np.ndarray]) -> None:
    film = draw_film("normal", 0)[..., None]
    drawn = {Augmentation()(film, np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert len(drawn) == 20


def test_border_dropout_leaves_the_middle_alone(draw_film: Callable[..., np.ndarray]) -> None:
    film = draw_film("normal", 0, height=100, width=100)[..., None]
    only_border = replace(NO_AUGMENTATION, border_chance=1.0, border=0.2)
    varied = only_border(film, np.random.default_rng(3))
    assert np.array_equal(varied[20:80, 20:80], film[20:80, 20:80])
    assert not np.array_equal(varied, film)
