from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edge_xray.heatmap import (
    FULL_COLOUR,
    JPEG_END,
    OVERLAY_SIDE,
    PICTURE_GAP,
    STRONG_COLOUR,
    THUMBNAIL_HEIGHT,
    THUMBNAIL_WIDTH,
    finding_evidence,
    overlay,
    overlay_png,
    report_picture,
)
from edge_xray.input_spec import InputSpec
from edge_xray.metadata import Label, ModelMetadata
from edge_xray.operating_point import OperatingPoint

METADATA = ModelMetadata(
    "three",
    "1",
    (Label("normal", "none", ""), Label("bacterial", "urgent", ""), Label("viral", "urgent", "")),
    InputSpec(32, 32),
    (OperatingPoint("x", 0.5, 0.5, 0.5),),
)
FILM = Image.fromarray(np.full((70, 90), 100, np.uint8))


def test_the_evidence_adds_up_to_the_difference_of_the_logits():
    draw = np.random.default_rng(0)
    evidence = draw.normal(size=(7, 5, 3)).astype(np.float32)
    logits = evidence.mean(axis=(0, 1))
    expected = logits[1:].max() - logits[0]
    assert finding_evidence(evidence, METADATA).mean() == pytest.approx(expected, abs=1e-5)


def test_what_speaks_against_the_finding_is_not_coloured():
    laid = overlay(FILM, np.full((4, 4), -3.0, np.float32))
    assert np.array_equal(np.asarray(laid), np.asarray(FILM.convert("RGB")))


def test_colour_lies_where_the_evidence_is_and_is_paler_where_it_is_weak():
    finding = np.zeros((7, 9), np.float32)
    finding[1, 7] = 4.0
    pixels = np.asarray(overlay(FILM, finding)).astype(int)
    redness = pixels[:, :, 0] - pixels[:, :, 2]
    assert redness[15, 75] > 80
    assert redness[60, 10] == 0
    pale = np.asarray(overlay(FILM, finding / 8)).astype(int)
    assert 0 < (pale[:, :, 0] - pale[:, :, 2])[15, 75] < redness[15, 75]


@pytest.mark.parametrize(
    ("evidence", "colour", "cover"), [(4.0, STRONG_COLOUR, 0.6), (1.0, (249, 155, 0), 0.3)]
)
def test_evidence_has_the_colour_and_the_cover_of_its_strength(evidence, colour, cover):
    pixels = np.asarray(overlay(FILM, np.full((4, 4), evidence, np.float32)))
    expected = 100 * (1 - cover) + cover * np.array(colour)
    assert np.abs(pixels - expected).max() <= 2


def test_where_evidence_is_more_than_full_colour_the_most_of_it_gets_that():
    finding = np.full((6, 8), 4.0, np.float32)
    assert finding.max() == FULL_COLOUR
    finding[:, 4:] = 12.0
    pixels = np.asarray(overlay(FILM, finding)).astype(int)
    redness = pixels[:, :, 0] - pixels[:, :, 2]
    green = pixels[35, :, 1]
    assert green[85] == pytest.approx(100 * 0.4 + 0.6 * STRONG_COLOUR[1], abs=2)
    assert green[5] > green[85] + 10 and redness[35, 5] > 20


@pytest.mark.parametrize("shape", [(28, 28), (300, 5000), (5000, 300), (1003, 1348), (90, 80, 3)])
def test_pictures_fit_their_boxes_whatever_the_film(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    finding = np.ones((7, 7), np.float32)
    pair = Image.open(io.BytesIO(report_picture(pixels, finding)))
    alone = Image.open(io.BytesIO(report_picture(pixels, None)))
    assert (pair.format, alone.format) == ("JPEG", "JPEG")
    assert alone.width <= THUMBNAIL_WIDTH
    assert alone.height <= THUMBNAIL_HEIGHT
    assert pair.size == (2 * alone.width + PICTURE_GAP, alone.height)
    assert report_picture(pixels, None).endswith(JPEG_END)
    full = Image.open(io.BytesIO(overlay_png(pixels, finding)))
    assert max(full.size) <= OVERLAY_SIDE
    assert full.width <= shape[1]


def test_a_report_shows_the_film_and_beside_it_the_heat_map():
    film = np.full((150, 200), 100, np.uint8)
    finding = np.zeros((6, 8), np.float32)
    finding[1, 6] = 4.0
    pair = np.asarray(Image.open(io.BytesIO(report_picture(film, finding)))).astype(int)
    left, gap, right = pair[:, :198], pair[:, 202 : 200 + PICTURE_GAP - 1], pair[:, 204:]
    assert np.abs(left - 100).max() <= 3 and gap.max() < 30
    redness = right[:, :, 0] - right[:, :, 2]
    assert redness[37, 162] > 80 and redness[100:, :100].max() <= 3
