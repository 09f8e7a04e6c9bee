"""Whether a film is of the kind, view and age that the model was made for, by its DICOM tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from edge_xray.metadata import IntendedUse
from edge_xray.plural import counted
from edge_xray.quality import QualityReport

if TYPE_CHECKING:
    from edge_xray.dicom_tags import DicomTags

INTENDED_USE_REASONS: Final = {
    "other_modality": "the DICOM tags name another kind of picture than the model is for; "
    "`--any-body-part` scores it all the same",
    "other_body_part": "the DICOM tags name another part of the body; `--any-body-part` scores it "
    "all the same",
    "other_view": "the DICOM tags name another view; `--any-view` scores it all the same",
    "other_age": "the patient's age is outside the range the model is for; `--any-age` scores it "
    "all the same",
}
"""Every reason this module gives, with what it means."""

_UNHELPFUL_BODY_PARTS: Final = frozenset({"UNKNOWN", "OTHER", "NONE"})
_CHEST_WORDS: Final = (
    "CHEST",
    "THORAX",
    "TORAX",
    "TORACE",
    "LUNG",
    "POUMON",
    "PULMON",
    "PULMAO",
    "PULMOES",
    "POLMON",
    "POITRINE",
    "PECHO",
    "PEITO",
    "BRUSTKORB",
    "GRUDNAYA KLETKA",
    "GRUDNAIA KLETKA",
    "GRUDNAJA KLETKA",
    "ORGANY GRUDNO",
    "LEGKIE",
)
"""Words for chest and lungs that sites write into BodyPartExamined beside the standard's own, without
accents: nouns only, since a part of the spine is thoracic too."""

_AGE_UNREAD: Final = (
    "the age that the file gives cannot be read; check that the model is for this patient"
)

_MONTHS_A_YEAR: Final = 12

X_RAY: Final = frozenset({"CR", "DX", "RG"})
"""Modalities of a plain X-ray film: computed, digital and on film (PS3.3 C.7.3.1.1.1)."""

_VIEW_WORDS: Final = {
    "AP": "front to back",
    "PA": "back to front",
    "LL": "from the side",
    "RL": "from the side",
    "LATERAL": "from the side",
}


def check_intended_use(
    tags: DicomTags | None,
    use: IntendedUse,
    *,
    any_age: bool = False,
    any_view: bool = False,
    any_body_part: bool = False,
) -> QualityReport:
    """Compare a film's tags with what the model is for.

    A film that says nothing (a JPEG, or a DICOM file without the tag) passes: the pixels have their
    own gate. An override turns a refusal into a warning, so that the row says so.

    Args:
        tags: from the DICOM file; None for every other format.
        use: from the model's metadata.
        any_age: score a patient of any age.
        any_view: score any view.
        any_body_part: score any part of the body and any modality.

    Returns:
        ``reason`` is one of `INTENDED_USE_REASONS` or None.
    """
    if tags is None:
        return QualityReport()
    limited = use.age_min_years is not None or use.age_max_years is not None
    warnings: list[str] = [_AGE_UNREAD] if limited and tags.age_unread else []
    checks = (
        ("other_modality", "--any-body-part", any_body_part, _modality(tags, use)),
        ("other_body_part", "--any-body-part", any_body_part, _body_part(tags, use)),
        ("other_view", "--any-view", any_view, _view(tags, use)),
        ("other_age", "--any-age", any_age, _age(tags, use)),
    )
    for reason, option, overridden, complaint in checks:
        if complaint is None:
            continue
        if not overridden:
            return QualityReport(reason, f"{complaint}; a clinician must read this film")
        warnings.append(f"{complaint}; scored because of {option}")
    return QualityReport(warnings=tuple(warnings))


def _modality(tags: DicomTags, use: IntendedUse) -> str | None:
    if not use.modalities or not tags.modality or tags.modality in use.modalities:
        return None
    wanted = "plain X-ray films" if X_RAY.issuperset(use.modalities) else _either(use.modalities)
    # By the name of the letter: an MR, a CT, a US.
    article = "an" if tags.modality[0] in "AEFHILMNORSX" else "a"
    return f"the file says it is {article} {tags.modality} picture, and the model is for {wanted}"


def _body_part(tags: DicomTags, use: IntendedUse) -> str | None:
    part = tags.body_part
    if not use.body_part or not part or part in _UNHELPFUL_BODY_PARTS or part in use.body_part:
        return None
    if "CHEST" in use.body_part and any(word in part for word in _CHEST_WORDS):
        return None
    return (
        f'the file says that it shows "{part}", and the model is for the '
        f"{_either(part.lower() for part in use.body_part)}"
    )


def _view(tags: DicomTags, use: IntendedUse) -> str | None:
    if not use.views or not tags.view or tags.view in use.views:
        return None
    wanted = _either(_view_words(view) for view in use.views)
    return f"the file says its view is {_view_words(tags.view)}, and the model is for {wanted}"


def _view_words(view: str) -> str:
    return f"{view} ({_VIEW_WORDS[view]})" if view in _VIEW_WORDS else view


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)


def _age(tags: DicomTags, use: IntendedUse) -> str | None:
    age, youngest, oldest = tags.age_years, use.age_min_years, use.age_max_years
    if age is None:
        return None
    # "Children of 1 to 5" takes in the day before the sixth birthday.
    too_old = oldest is not None and age >= oldest + 1
    if not too_old and (youngest is None or age + tags.age_span >= youngest):
        return None
    if youngest is not None and oldest is not None:
        wanted = f"{youngest:g} to {oldest:g} years"
    else:
        wanted = f"{youngest:g} years and more" if oldest is None else f"up to {oldest:g} years"
    said = _words(age if too_old else age + tags.age_span)
    if tags.age_span:
        said = f"{'at least' if too_old else 'at most'} {said}"
    return f"the patient is {said} old, and the model is for {wanted}"


def _words(years: float) -> str:
    if years < 2:
        months = int(years * _MONTHS_A_YEAR)
        return counted(months, "month")
    return f"{int(years)} years"
