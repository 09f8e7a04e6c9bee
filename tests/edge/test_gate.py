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


def test_a_film_that_looks_otherwise_is_scored_for_who_asks_for_such_films(model, draw_film):
    film = draw_film("normal", 0, height=224, width=240)
    y, x = np.mgrid[-1:1:300j, -1:1:300j]
    head = 200 * ((x / 0.6) ** 2 + (y / 0.8) ** 2 < 1) + 20 * np.sin(9 * x) * np.sin(8 * y)
    page = np.full((300, 300), 250, np.uint8)
    page[20:280:14, 20:280] = 10
    looks = {
        "cropped": (film[:112], ["any_view", "any_body_part"]),
        "not_a_chest_film": (np.clip(head, 0, 255), ["any_view", "any_body_part"]),
        "inverted": (255 - film, ["any_body_part"]),
        "rotated": (np.rot90(film), ["any_body_part"]),
        "page": (page, ["any_body_part"]),
    }
    for reason, (pixels, lifting) in looks.items():
        shown = _film(np.ascontiguousarray(pixels, np.uint8))
        for option in ("any_age", "any_view", "any_body_part"):
            found = check_film(shown, model.metadata.intended_use, Limits(**{option: True}))
            assert found.reason == (None if option in lifting else reason)
            if option in lifting:
                assert found.warnings[-1].endswith(
                    f"scored because of --{option.replace('_', '-')}"
                )


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


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_refused_whatever_is_lifted(model, sound, broken):
    scores = model.classify(preprocess(sound, model.metadata.input))
    logits = scores.logits.copy()
    logits[1] = broken
    before = QualityReport(warnings=("odd",))
    refused = check_scores(
        before, replace(scores, logits=logits), model.metadata, Limits(True, True, True)
    )
    assert (refused.reason, refused.warnings) == ("no_answer", ("odd",))
