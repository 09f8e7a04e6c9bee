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
        (DicomTags("CT", "CHEST", "AP", 4.0), "other_modality", "modality CT", "any_body_part"),
        (DicomTags("DX", "HAND", "AP", 4.0), "other_body_part", "the hand", "any_body_part"),
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
    assert option in report.message
    overridden = check_intended_use(tags, CHILDREN, **{override: True})
    assert overridden.reason is None
    assert len(overridden.warnings) == 1
    assert words in overridden.warnings[0]
    assert option in overridden.warnings[0]


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
