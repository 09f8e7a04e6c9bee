"""Folders and files of a labelled folder: parts, classes, what is taken for a film, and of whom by DICOM."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from edge_xray.dicom import read_first_tags
from edge_xray.errors import UsageError
from edge_xray.film_file import HEAD_BYTES, is_dicom
from edge_xray.site_key import KEY_BYTES, site_key
from edge_xray.walk import is_litter

FILM_SUFFIXES = frozenset(
    {".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".ima", ""}
)
"""File endings taken for films in a labelled folder; content decides later what they are."""

_UID = re.compile(r"[\d.]+")
"""A DICOM unique identifier, as the names of files often are: what follows its last dot is no ending."""

DICOM_PATIENT = "dicom-"
"""How a patient's name begins that is the keyed hash of a DICOM PatientID."""

_PART_NAMES = ("train", "training", "validation", "valid", "val", "test", "testing")
"""Names, in any case, of folders that hold class folders of their own: parts of a split others made."""

_PASSING_KEY = secrets.token_bytes(KEY_BYTES)
"""For pseudonyms where no key can be kept: good while the program runs, to know one patient's films by."""


def part_folders(data: Path) -> list[Path]:
    """The folders ``train``, ``Testing``, … of a folder that have folders in them, in that order.

    One alone that is not for training is none: ``valid`` beside ``invalid`` is a class.
    """
    found = [
        (_PART_NAMES.index(entry.name.casefold()), entry)
        for entry in data.iterdir()
        if entry.name.casefold() in _PART_NAMES
        and entry.is_dir()
        and any(inner.is_dir() and not inner.name.startswith(".") for inner in entry.iterdir())
    ]
    parts = [entry for _, entry in sorted(found)]
    alone = len(parts) == 1 and not parts[0].name.casefold().startswith("train")
    return [] if alone else parts


def class_folders(root: Path) -> list[str]:
    """Names of the folders of classes, sorted; what a drive has in its root beside them is none."""
    return sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and not is_litter(entry.name)
    )


def refuse_copied_classes(root: Path, classes: list[str]) -> None:
    """Refuse a class folder that holds the classes once more, as some archives have them.

    Folders of patients may be called as classes are (``0/1/``), but are in each class, or others are beside them.

    Raises:
        UsageError: one has folders of two or more of the other classes in it, and no others.
    """
    labels = {name.lower() for name in classes}
    for name in classes:
        inner = class_folders(root / name)
        if len(inner) > 1 and {own.lower() for own in inner} <= labels - {name.lower()}:
            raise UsageError(
                f"{root / name}: folders of the classes {' and '.join(inner)} stand in it as beside it, so it "
                f"is no class; name it alone, or move it out of {root}"
            )


def files_below(folder: Path) -> Iterator[tuple[Path, bool]]:
    """The files of a class folder, in no order, with whether each is taken for a film.

    Names that begin with a dot and what stands beside films (`is_litter`) are passed over. A link to a folder is not
    entered, and is no film.

    Raises:
        OSError: a folder in it cannot be listed; its films would be missing without a word.
    """
    for directory, subfolders, names in os.walk(folder, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not is_litter(name))
        for name in subfolders:
            if (link := Path(directory, name)).is_symlink():
                yield link, False
        for name in names:
            if not is_litter(name):
                path = Path(directory, name)
                known = path.suffix.lower() in FILM_SUFFIXES or _UID.fullmatch(name)
                yield path, bool(known) or _holds_dicom(path)


def _refuse(error: OSError) -> None:
    raise error


def _holds_dicom(path: Path) -> bool:
    """Whether the content is DICOM, whose files have any ending: ``MR.1.2.840.113619.2``."""
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(HEAD_BYTES))
    except OSError:
        return False


def dicom_patient(path: Path) -> str:
    """Who a film is of by its PatientID, as a keyed hash; empty where it is no DICOM or does not tell."""
    tags = read_first_tags(path)
    return DICOM_PATIENT + tags.pseudonym(site_key() or _PASSING_KEY) if tags.patient_id else ""
