"""The corruptions do what their definitions say, the same way each time."""

import numpy as np
import pytest

from edge_xray_trainer.corruptions import (
    ALEXNET_BALANCED_ERROR,
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
)

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


@pytest.fixture(scope="module")
def film(draw_film):
    return draw_film("bacterial", 3, height=224, width=224)


def test_thirteen_kinds_of_five_severities():
    assert len(BY_NAME) == 13
    assert {len(corruption.parameters) for corruption in CORRUPTIONS} == {5}
    mean = np.mean([corruption.alexnet for corruption in CORRUPTIONS])
    assert mean == pytest.approx(ALEXNET_BALANCED_ERROR, abs=5e-4)


@pytest.mark.parametrize("name", BY_NAME)
def test_keeps_shape_and_type_and_repeats(film, name):
    for severity in SEVERITIES:
        once = corrupt(film, BY_NAME[name], severity, seed=4)
        assert once.shape == film.shape and once.dtype == np.uint8
        assert np.array_equal(once, corrupt(film, BY_NAME[name], severity, seed=4))
    assert not np.array_equal(once, film)
    colour = np.repeat(film[..., None], 3, axis=2)
    assert corrupt(colour, BY_NAME[name], 1).shape == colour.shape


@pytest.mark.parametrize("name", BY_NAME)
def test_severity_grows(film, name):
    off = [
        np.abs(corrupt(film, BY_NAME[name], severity).astype(int) - film).mean()
        for severity in SEVERITIES
    ]
    assert off[0] < off[-1]


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.endswith("noise")])
def test_another_film_gets_other_noise(film, name):
    assert not np.array_equal(
        corrupt(film, BY_NAME[name], 3, seed=1), corrupt(film, BY_NAME[name], 3, seed=2)
    )


def test_noise_of_a_grey_film_is_that_of_three_channels_turned_grey():
    flat = np.full((224, 224), 128, np.uint8)
    noisy = corrupt(flat, BY_NAME["gaussian_noise"], 5)
    # Weights 0.299, 0.587, 0.114 leave 0.668 of the deviation of one channel.
    assert np.std(noisy) == pytest.approx(0.08 * 255 * 0.668, rel=0.03)


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("gaussian_noise", 0.08),
        # Of a level of 0.4: what the light of 80 photons at most varies by, and a fifth of the level.
        ("shot_noise", np.sqrt(0.4 / 80)),
        ("speckle_noise", 0.4 * 0.2),
    ],
)
def test_noise_has_the_strength_of_its_definition(name, deviation):
    flat = np.full((224, 224, 3), 102, np.uint8)
    noisy = corrupt(flat, BY_NAME[name], 5)
    assert np.std(noisy) == pytest.approx(deviation * 255, rel=0.02)
    assert noisy.mean() == pytest.approx(102 - 0.5, abs=0.3)  # truncated, not rounded


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise", "shot_noise"])
def test_noise_on_black_and_white_does_not_turn_over(name):
    flat = np.repeat(np.array([0, 255], np.uint8), 112)[None, :, None].repeat(224, 0).repeat(3, 2)
    noisy = corrupt(flat, BY_NAME[name], 1)
    assert noisy[:, :112].max() < 128 < noisy[:, 112:].min()
    assert (noisy[:, :112] == 0).mean() > 0.4 and (noisy[:, 112:] == 255).mean() > 0.4


def test_impulse_noise_strikes_its_share():
    colour = np.full((224, 224, 3), 128, np.uint8)
    struck = corrupt(colour, BY_NAME["impulse_noise"], 5)
    assert np.mean(struck != 128) == pytest.approx(0.02, rel=0.1)
    assert set(np.unique(struck)) == {0, 128, 255}
    assert np.mean(struck[struck != 128] == 255) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", [name for name in BY_NAME if not name.endswith("noise")])
def test_grey_film_is_as_three_equal_channels(film, name):
    colour = corrupt(np.repeat(film[..., None], 3, axis=2), BY_NAME[name], 4)
    grey = corrupt(film, BY_NAME[name], 4)
    assert np.abs(colour.mean(axis=2) - grey).max() <= 1


def test_gamma_and_brightness_by_hand():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    darker = corrupt(ramp, BY_NAME["gamma_corr_up"], 5)
    assert darker.ravel()[[0, 128, 255]].tolist() == [0, int(255.999 * (128 / 255) ** 1.6), 255]
    brighter = corrupt(ramp, BY_NAME["brightness_up"], 5)
    assert brighter.ravel()[[0, 100, 255]].tolist() == [0, 150, 255]
    # Contrast is towards the mean grey, 128.
    flatter = corrupt(ramp, BY_NAME["contrast_down"], 5)
    assert flatter.ravel()[[0, 128, 255]].tolist() == [76, 128, 178]


def test_pixelated_films_are_of_as_many_blocks_as_are_left():
    ramp = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    for severity, left in zip(SEVERITIES, (160, 140, 120, 100, 80), strict=True):
        assert len(np.unique(corrupt(ramp, BY_NAME["pixelate"], severity)[0])) == left
        assert len(np.unique(corrupt(ramp.T, BY_NAME["pixelate"], severity)[:, 0])) == left


def test_blur_keeps_a_flat_film_and_the_mean(film):
    flat = np.full((40, 40), 77, np.uint8)
    assert np.array_equal(corrupt(flat, BY_NAME["gaussian_blur"], 5), flat)
    assert corrupt(film, BY_NAME["gaussian_blur"], 5).mean() == pytest.approx(film.mean(), abs=1)


@pytest.mark.parametrize(("severity", "width", "deviation"), [(1, 3, 0.8), (5, 11, 2.0)])
def test_blur_is_a_gaussian_of_its_width(severity, width, deviation):
    # OpenCV's rule: 0.3 * ((width - 1) / 2 - 1) + 0.8.
    edge = np.zeros((40, 40), np.uint8)
    edge[:, 20:] = 255
    places = np.arange(width) - width // 2
    weights = np.exp(-0.5 * (places / deviation) ** 2)
    steps = np.cumsum(weights) / weights.sum() * 255
    blurred = corrupt(edge, BY_NAME["gaussian_blur"], severity)
    first = 20 - width // 2
    assert (blurred[:, :first] == 0).all() and (blurred[:, first + width :] == 255).all()
    assert np.abs(blurred[:, first : first + width] - steps).max() <= 1


def test_beyond_its_edge_a_blurred_film_is_mirrored():
    ramp = np.tile(np.arange(0, 200, 5, dtype=np.uint8), (40, 1))
    weights = np.exp(-0.5 * (np.arange(-5, 6) / 2.0) ** 2)
    edge = (weights * np.abs(np.arange(-5, 6)) * 5).sum() / weights.sum()
    assert (corrupt(ramp, BY_NAME["gaussian_blur"], 5)[:, 0] == round(edge)).all()


def test_unknown_severity_is_refused(film):
    with pytest.raises(ValueError, match="severity must be one of"):
        corrupt(film, CORRUPTIONS[0], 6)
