"""A film of another kind, view or age than the model's is not scored, unless asked for."""

from __future__ import annotations

import pytest

from edge_xray.dicom_tags import DicomTags
from edge_xray.intended_use import INTENDED_USE_REASONS, check_intended_use
from edge_xray.metadata import IntendedUse
from edge_xray.quality import QualityReport

CHILDREN = IntendedUse(
    body_part=("CHEST",),
    modalities=("CR", "DX"),
    views=("AP", "PA"),
    age_min_years=1.0,
    age_max_years=5.0,
)
FITS = DicomTags("DX", "CHEST", "AP", 4.0)


@pytest.mark.parametrize(
    "tags",
    [
        None,
        DicomTags(),
        FITS,
        DicomTags("CR", "THORAX", "PA", 1.0),
        DicomTags("DX", "PORT CHEST", "AP", 5.99),
        DicomTags("DX", "UNKNOWN", "", None),
    ],
)
def test_what_fits_or_says_nothing_passes(tags):
    assert check_intended_use(tags, CHILDREN) == QualityReport()


@pytest.mark.parametrize(
    ("tags", "reason", "words", "override"),
    [
        (
            DicomTags("CT", "CHEST", "AP", 4.0),
            "other_modality",
            "the file says it is a CT picture, and the model is for plain X-ray films",
            "any_body_part",
        ),
        (DicomTags("MR"), "other_modality", "it is an MR picture", "any_body_part"),
        (
            DicomTags("DX", "HAND", "AP", 4.0),
            "other_body_part",
            'the file says that it shows "HAND", and the model is for the chest',
            "any_body_part",
        ),
        (DicomTags(view="LL"), "other_view", "LL (from the side), and", "any_view"),
        (DicomTags(view="OBLIQUE"), "other_view", "is OBLIQUE, and", "any_view"),
        (DicomTags(view="LL"), "other_view", "for AP (front to back) or PA (back", "any_view"),
        (DicomTags("DX", "CHEST", "LL", 4.0), "other_view", "view is LL", "any_view"),
        (DicomTags("DX", "CHEST", "AP", 44.3), "other_age", "44 years old", "any_age"),
        (DicomTags("DX", "CHEST", "AP", 6.0), "other_age", "1 to 5 years", "any_age"),
        (DicomTags("DX", "CHEST", "AP", 0.5), "other_age", "6 months old", "any_age"),
        (DicomTags("DX", "CHEST", "AP", 1 / 12), "other_age", "1 month old", "any_age"),
    ],
)
def test_what_does_not_fit_is_named_and_may_be_overridden(tags, reason, words, override):
    report = check_intended_use(tags, CHILDREN)
    assert report.reason == reason in INTENDED_USE_REASONS
    assert words in report.message
    option = "--" + override.replace("_", "-")
    assert report.message.endswith("; a clinician must read this film")
    assert option in INTENDED_USE_REASONS[reason]
    overridden = check_intended_use(tags, CHILDREN, **{override: True})
    assert overridden.reason is None
    assert len(overridden.warnings) == 1
    assert words in overridden.warnings[0]
    assert option in overridden.warnings[0]


@pytest.mark.parametrize(
    "part",
    [
        *("TORAX", "TORAX AP", "PULMAO", "PULMOES", "PULMONES", "PECHO", "PEITO", "POITRINE"),
        *("POUMONS", "LUNGE", "BRUSTKORB", "TORACE", "POLMONI", "GRUDNAYA KLETKA", "LEGKIE"),
    ],
)
def test_the_chest_is_known_in_the_languages_of_the_sites(part):
    assert check_intended_use(DicomTags(body_part=part), CHILDREN).reason is None


@pytest.mark.parametrize(
    "part",
    [
        *("TSPINE", "THORACIC SPINE", "COLUNA TORACICA", "RACHIS THORACIQU", "BRUSTWIRBELSAEUL"),
        *("GRUDNOY OTDEL PO", "ABDOMEN", "MANO", "MAIN", "BREAST", "PELVIS", "PECHEN", "COSTILLAS"),
    ],
)
def test_no_other_part_passes_for_the_chest(part):
    assert check_intended_use(DicomTags(body_part=part), CHILDREN).reason == "other_body_part"


def test_overriding_one_limit_leaves_the_others():
    tags = DicomTags("DX", "HAND", "LL", 70.0)
    assert check_intended_use(tags, CHILDREN, any_age=True).reason == "other_body_part"
    report = check_intended_use(tags, CHILDREN, any_age=True, any_view=True, any_body_part=True)
    assert report.reason is None
    assert len(report.warnings) == 3


def test_a_model_without_limits_takes_any_film():
    assert check_intended_use(DicomTags("MR", "HEAD", "LL", 80.0), IntendedUse()) == QualityReport()


@pytest.mark.parametrize(
    ("use", "age", "words"),
    [
        (IntendedUse(age_min_years=18.0), 4.0, "18 years and more"),
        (IntendedUse(age_max_years=5.0), 30.0, "up to 5 years"),
    ],
)
def test_one_sided_age_limits_are_said_so(use, age, words):
    assert words in check_intended_use(DicomTags(age_years=age), use).message


def test_a_model_for_other_pictures_says_so_by_their_names():
    report = check_intended_use(DicomTags("US"), IntendedUse(modalities=("CT", "DX")))
    assert report.message.startswith("the file says it is a US picture, and the model is for CT or")
