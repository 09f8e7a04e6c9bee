"""The allow-list of what leaves a DICOM file beside its pixels, and how it is read."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

MAX_TAG_CHARACTERS: Final = 16
"""Longest value of a code string (VR CS, PS3.5 table 6.2-1)."""

MONTHS_A_YEAR: Final = 12
_AGE_UNITS: Final = {"D": 365.0, "W": 365.2425 / 7, "M": float(MONTHS_A_YEAR), "Y": 1.0}
"""How many of each unit of an age string (VR AS) make a year; in days, which end at 999, it is the
first birthday that counts."""

_VIEW_CODES: Final = {
    "399348003": "AP",
    "R-10206": "AP",
    "272479007": "PA",
    "R-10214": "PA",
    "399173006": "LL",
    "R-10236": "LL",
    "399198007": "RL",
    "R-10232": "RL",
}
"""ViewCodeSequence (0054,0220), SNOMED CT and the older SRT codes of PS3.16 CID 4010."""

_CHEST_CODES: Final = frozenset({"51185008", "T-D3000", "39607008", "T-28000"})
"""AnatomicRegionSequence (0008,2218): chest and lung, PS3.16 CID 4031."""


@dataclass(frozen=True)
class DicomTags:
    """The allow-list: all that is ever taken from a DICOM file beside its pixels.

    Attributes:
        modality: Modality (0008,0060), upper case; empty if not given.
        body_part: BodyPartExamined (0018,0015), or ``CHEST`` from the anatomic region's code.
        view: ViewPosition (0018,5101), or the view code's equal.
        age_years: PatientAge (0010,1010), or the whole months from birth date to study date as years;
            None if not given.
        patient_id: PatientID (0010,0020); left out of ``repr`` and of `public`.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    age_years: float | None = None
    patient_id: str = field(default="", repr=False)

    def public(self) -> dict[str, str | float | None]:
        """What may stand in a report: nothing that names a person."""
        return {
            "modality": self.modality,
            "body_part": self.body_part,
            "view": self.view,
            "age_years": None if self.age_years is None else round(self.age_years, 2),
        }

    def pseudonym(self, key: bytes) -> str:
        """The patient as a keyed hash: equal for films of one patient, and no way back without the key.

        Args:
            key: secret of at least 16 bytes, kept apart from the results.

        Returns:
            16 hexadecimal digits (HMAC-SHA-256, shortened), or empty without a patient ID.
        """
        if not self.patient_id:
            return ""
        return hmac.new(key, self.patient_id.encode(), hashlib.sha256).hexdigest()[:16]


def read_tags(dataset: Any) -> DicomTags:
    """Take the allow-listed tags from a dataset; what is absent or unreadable stays empty.

    Args:
        dataset: a pydicom dataset.
    """
    body_part = _code(dataset, "BodyPartExamined")
    if not body_part and _sequence_code(dataset, "AnatomicRegionSequence") in _CHEST_CODES:
        body_part = "CHEST"
    view = _code(dataset, "ViewPosition") or _VIEW_CODES.get(
        _sequence_code(dataset, "ViewCodeSequence"), ""
    )
    return DicomTags(
        _code(dataset, "Modality"),
        body_part,
        view,
        _age_years(dataset),
        _text(dataset, "PatientID")[:64],
    )


def _text(dataset: Any, keyword: str) -> str:
    return "".join(c for c in _value(dataset, keyword) if c.isprintable()).strip()


def _value(dataset: Any, keyword: str) -> str:
    try:
        value = dataset.get(keyword)
        if value is None:
            return ""
        if not isinstance(value, str) and hasattr(value, "__getitem__"):
            value = value[0]
        return str(value)
    except Exception:  # one broken element must not cost the film: pydicom converts lazily
        return ""


def _code(dataset: Any, keyword: str) -> str:
    """A code string, without its accents, reduced to the characters that VR CS allows."""
    text = _decoded(_value(dataset, keyword), _text(dataset, "SpecificCharacterSet"))
    plain = unicodedata.normalize("NFKD", text).upper()
    return re.sub(r"[^A-Z0-9_ ]", "", plain)[:MAX_TAG_CHARACTERS].strip()


def _decoded(text: str, character_set: str) -> str:
    """A code string as it was written; pydicom reads each as Latin-1, as it should be plain ASCII."""
    from pydicom.charset import convert_encodings

    if text.isascii():
        return text
    try:
        stored = text.encode("latin-1")
        try:
            return stored.decode("utf-8")
        except UnicodeDecodeError:
            return stored.decode(convert_encodings(character_set)[0])
    except (UnicodeError, LookupError):
        return text


def _sequence_code(dataset: Any, keyword: str) -> str:
    try:
        return _text(dataset.get(keyword)[0], "CodeValue")
    except Exception:
        return ""


def _age_years(dataset: Any) -> float | None:
    match = re.fullmatch(r"(\d{1,3})([DWMY])", _text(dataset, "PatientAge").upper())
    if match:
        return int(match[1]) / _AGE_UNITS[match[2]]
    born, taken = _date(dataset, "PatientBirthDate"), None
    for keyword in ("StudyDate", "AcquisitionDate", "ContentDate"):
        taken = taken or _date(dataset, keyword)
    if born is None or taken is None or taken < born:
        return None
    # By the calendar, as birthdays go: a year in days is now too long, now too short.
    months = MONTHS_A_YEAR * (taken.year - born.year) + taken.month - born.month
    return (months - (taken.day < born.day)) / MONTHS_A_YEAR


def _date(dataset: Any, keyword: str) -> date | None:
    digits = _text(dataset, keyword).replace("-", "").replace(".", "")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None
