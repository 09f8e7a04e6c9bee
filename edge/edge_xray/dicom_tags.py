"""The allow-list of what leaves a DICOM file beside its pixels, and how it is read."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

MAX_TAG_CHARACTERS: Final = 16
"""Longest value of a code string (VR CS, PS3.5 table 6.2-1)."""

MONTHS_A_YEAR: Final = 12
MAX_MEANING_CHARACTERS: Final = 32
"""Characters taken of what a code means, which is free text."""

_AGE_UNITS: Final = {"D": 365.0, "W": 365.2425 / 7, "M": float(MONTHS_A_YEAR), "Y": 1.0}
"""How many of each unit of an age string (VR AS) make a year; in days, which end at 999, it is the
first birthday that counts."""

_AGE: Final = re.compile(r"0*(\d{1,3}) *([DWMY]?)(?:EARS?|RS?|ONTHS?|EEKS?|AYS?)?")
"""An age string, also as sites write it that know no VR: ``45``, ``45 Y``, ``0045Y``, ``45 years``. A number
alone is one of years."""

_TAKEN: Final = (
    "StudyDate",
    "AcquisitionDate",
    "ContentDate",
    "SeriesDate",
    "AcquisitionDateTime",
)
"""Where the day of a film may stand, best first."""

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

_VIEW_MEANINGS: Final = {
    "ANTEROPOSTERIOR": "AP",
    "POSTEROANTERIOR": "PA",
    "AP": "AP",
    "PA": "PA",
}
"""The same two views under a code of the site's own, by what it says it means."""

_CHEST_CODES: Final = frozenset({"51185008", "T-D3000", "39607008", "T-28000"})
"""AnatomicRegionSequence (0008,2218): chest and lung, PS3.16 CID 4031."""


@dataclass(frozen=True)
class DicomTags:
    """The allow-list: all that is ever taken from a DICOM file beside its pixels.

    Attributes:
        modality: Modality (0008,0060), upper case; empty if not given.
        body_part: BodyPartExamined (0018,0015); else ``CHEST`` for the anatomic region's code, or what another
            code means.
        view: ViewPosition (0018,5101); else the view code's equal, or what another code means.
        age_years: PatientAge (0010,1010), or the whole months from birth date to study date as years: of the
            days that a date of a year alone leaves open, the fewest. None if not given.
        patient_id: PatientID (0010,0020); left out of ``repr``.
        age_span: years by which the patient may be older, for a date of a year or a month alone.
        age_unread: whether an age or a birth date is given and cannot be read.
    """

    modality: str = ""
    body_part: str = ""
    view: str = ""
    age_years: float | None = None
    patient_id: str = field(default="", repr=False)
    age_span: float = 0.0
    age_unread: bool = False

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
    age, span, unread = _age(dataset)
    return DicomTags(
        _code(dataset, "Modality"),
        _code(dataset, "BodyPartExamined") or _region(dataset),
        _code(dataset, "ViewPosition") or _view(dataset),
        age,
        _text(dataset, "PatientID")[:64],
        span,
        unread,
    )


def _region(dataset: Any) -> str:
    code, meaning = _coded(dataset, "AnatomicRegionSequence")
    return "CHEST" if code in _CHEST_CODES else meaning


def _view(dataset: Any) -> str:
    code, meaning = _coded(dataset, "ViewCodeSequence")
    return _VIEW_CODES.get(code) or _VIEW_MEANINGS.get(meaning.replace(" ", ""), meaning)


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


def _code(dataset: Any, keyword: str, longest: int = MAX_TAG_CHARACTERS) -> str:
    """A code string, without its accents, reduced to the characters that VR CS allows."""
    text = _decoded(_value(dataset, keyword), _text(dataset, "SpecificCharacterSet"))
    plain = unicodedata.normalize("NFKD", text).upper()
    return re.sub(r"[^A-Z0-9_ ]", "", plain)[:longest].strip()


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


def _coded(dataset: Any, keyword: str) -> tuple[str, str]:
    """The first code of a sequence, and what it says it means, or the code if it does not say."""
    try:
        item = dataset.get(keyword)[0]
    except Exception:
        return "", ""
    code = _text(item, "CodeValue")
    return code, _code(item, "CodeMeaning", MAX_MEANING_CHARACTERS) or _code(item, "CodeValue")


def _age(dataset: Any) -> tuple[float | None, float, bool]:
    """`DicomTags.age_years`, `DicomTags.age_span` and `DicomTags.age_unread`."""
    said = _text(dataset, "PatientAge").upper()
    match = _AGE.fullmatch(said)
    if match:
        return int(match[1]) / _AGE_UNITS[match[2] or "Y"], 0.0, False
    born = _text(dataset, "PatientBirthDate")
    taken = next(filter(None, (_days(_text(dataset, keyword)) for keyword in _TAKEN)), None)
    days = _days(born)
    if days is None or taken is None or taken[1] < days[0]:
        return None, 0.0, bool(said) or (bool(born) and taken is not None)
    youngest = max(0.0, _years(days[1], taken[0]))
    return youngest, _years(days[0], taken[1]) - youngest, False


def _years(born: date, taken: date) -> float:
    # By the calendar, as birthdays go: a year in days is now too long, now too short.
    months = MONTHS_A_YEAR * (taken.year - born.year) + taken.month - born.month
    return (months - (taken.day < born.day)) / MONTHS_A_YEAR


def _days(text: str) -> tuple[date, date] | None:
    """First and last day that a date, or a time of a day, leaves open: ``2018`` and ``20180000`` are a year."""
    digits = text.replace("-", "").replace(".", "")[:8]
    if not re.fullmatch(r"\d{4}(\d\d){0,2}", digits, re.ASCII):
        return None
    year, month, day = int(digits[:4]), int(digits[4:6] or 0), int(digits[6:] or 0)
    try:
        first = date(year, month or 1, (day or 1) if month else 1)
        if month and day:
            return first, first
        after = date(year + (month in (0, 12)), month % 12 + 1 if month else 1, 1)
    except ValueError:
        return None
    return first, after - timedelta(days=1)
