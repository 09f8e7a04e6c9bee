from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_xray.classifier import Classifier
from edge_xray.decode import DecodedFilm
from edge_xray.dicom_tags import DicomTags
from edge_xray.gate import Limits, check_film, check_scores
from edge_xray.preprocess import preprocess
from edge_xray.quality import QualityReport


@pytest.fixture(scope="module")
def model(tiny_model) -> Classifier:
    return Classifier(tiny_model)


def _film(pixels, **tags) -> DecodedFilm:
    height, width = pixels.shape
    return DecodedFilm(pixels, "DICOM", width, height, DicomTags(**tags) if tags else None)


@pytest.fixture
def sound(draw_film):
    return draw_film("normal", 960)


def test_a_film_in_range_passes_without_a_word(model, sound):
    film = _film(sound, modality="DX", body_part="CHEST", view="AP", age_years=3.0)
    assert check_film(film, model.metadata.intended_use, Limits()).reason is None


def test_a_doubt_of_the_decoder_stands_on_the_row(model, sound):
    film = replace(_film(sound), warnings=("a doubt",))
    assert "a doubt" in check_film(film, model.metadata.intended_use, Limits()).warnings


@pytest.mark.parametrize(
    ("tags", "reason", "limits"),
    [
        ({"age_years": 40.0}, "other_age", Limits(any_age=True)),
        ({"view": "LL"}, "other_view", Limits(any_view=True)),
        ({"body_part": "HAND"}, "other_body_part", Limits(any_body_part=True)),
        ({"modality": "MR"}, "other_modality", Limits(any_body_part=True)),
    ],
)
def test_each_limit_has_its_option_and_the_row_says_so(model, sound, tags, reason, limits):
    film = _film(sound, **tags)
    assert check_film(film, model.metadata.intended_use, Limits()).reason == reason
    lifted = check_film(film, model.metadata.intended_use, limits)
    assert lifted.reason is None
    assert any(limits.lifted[0] in warning for warning in lifted.warnings)
    other = Limits(not limits.any_age, not limits.any_view, not limits.any_body_part)
    assert check_film(film, model.metadata.intended_use, other).reason == reason


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        ({"body_part": ("CHEST",), "views": ("AP", "LL")}, "inverted"),
        ({"body_part": ("CHEST",), "views": ()}, "inverted"),
        ({"body_part": ("CHEST",), "views": ("LL",)}, None),
        ({"body_part": ("CHEST",), "views": (), "modalities": ("CT", "DX")}, "inverted"),
        ({"body_part": ("CHEST",), "views": (), "modalities": ("CT",)}, None),
        ({"body_part": ("HAND",), "views": ("AP",)}, None),
    ],
)
def test_what_a_chest_from_the_front_looks_like_is_asked_of_no_other_film(
    model, sound, use, reason
):
    use = replace(model.metadata.intended_use, **use)
    assert check_film(_film(255 - sound), use, Limits()).reason == reason


def test_what_cannot_be_read_is_refused_whatever_is_lifted(model):
    blank = _film(np.full((90, 110), 128, np.uint8))
    assert (
        check_film(blank, model.metadata.intended_use, Limits(True, True, True)).reason == "blank"
    )


def test_unlike_and_foreign_films_are_refused_unless_asked_for(model, sound):
    scores = model.classify(preprocess(sound, model.metadata.input))
    metadata = model.metadata
    before = QualityReport(warnings=("odd",))
    passed = check_scores(before, scores, metadata, Limits())
    assert passed.reason is None
    assert passed.warnings[0] == "odd"
    far = replace(scores, features=scores.features + 1e4)
    refused = check_scores(before, far, metadata, Limits(any_age=True))
    assert (refused.reason, refused.warnings) == ("foreign", ("odd",))
    lifted = check_scores(before, far, metadata, Limits(any_body_part=True))
    assert lifted.reason is None
    assert "--any-body-part" in lifted.warnings[-1]
    strict = replace(metadata, features=replace(metadata.features, unlike=0.0))
    assert check_scores(before, scores, strict, Limits()).reason == "unlike_known_films"
    assert check_scores(before, scores, strict, Limits(any_age=True)).reason is None
    without = replace(metadata, features=None)
    assert check_scores(before, far, without, Limits()) == before
