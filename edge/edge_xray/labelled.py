"""Labelled folders of films: what trainer, converter and parity measure on.

Two layouts are read. The Kaggle copy of the Guangzhou films: ``NORMAL/`` and ``PNEUMONIA/``, the cause
in the file name, with folders of other classes beside them or none. And any other: one folder a class, its
name the label; so are folders of those two names where no file is named as in that copy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_xray.durable import write_named
from edge_xray.errors import UsageError
from edge_xray.labelled_files import (
    DICOM_PATIENT,
    class_folders,
    dicom_patient,
    files_below,
    part_folders,
    refuse_copied_classes,
)
from edge_xray.plural import counted
from edge_xray.walk import printable

KAGGLE_FOLDERS = {"NORMAL", "PNEUMONIA"}
_KAGGLE_PNEUMONIA = re.compile(r"^(person\d+)_(bacteria|virus)_")
_KAGGLE_NORMAL = re.compile(r"^((?:NORMAL2-)?IM-\d+)-")
_KAGGLE_CAUSES = {"bacteria": "bacterial", "virus": "viral"}

SPLIT_SCHEMA_VERSION = 1


@dataclass(frozen=True, order=True)
class LabelledFilm:
    """One film of a labelled folder.

    Attributes:
        path: relative to the folder, with forward slashes.
        label: class name.
        patient: who it is of, by the file's name or else by the DICOM PatientID (as a keyed hash); empty where
            neither tells.
    """

    path: str
    label: str
    patient: str = ""


def labelled_root(data: Path) -> Path:
    """The folder that film paths are relative to: `data`, or its ``train`` in the Kaggle layout.

    Raises:
        UsageError: there is no such folder.
    """
    if not data.is_dir():
        raise UsageError(f"{data}: expected a folder with one folder a class in it, found none")
    inner = data / "train"
    if inner.is_dir() and {entry.name for entry in inner.iterdir()} >= KAGGLE_FOLDERS:
        return inner
    return data


def read_labelled_folder(root: Path, *, fewest: int = 2) -> list[LabelledFilm]:
    """List the films of a labelled folder, sorted by path.

    Args:
        root: a folder in one of the two layouts described above. For the Kaggle layout the folder
            that holds ``train/`` will do when it has no class folders itself.
        fewest: classes that there must be: two to learn from, one to measure a model on.

    Returns:
        At least one film of each class found.

    Raises:
        UsageError: no folder, no class folder, an empty class, too few classes, folders that are parts of
            a split and no classes, or a copy of the classes among them.
    """
    root = labelled_root(root)
    parts = part_folders(root)
    if parts:
        several = len(parts) > 1
        raise UsageError(
            f"{root}: class folders stand in {' and '.join(part.name for part in parts)}, so "
            f"{'they are parts and no classes; name one of them' if several else 'it is a part and no class; name it'}"
            f": {parts[0]}"
        )
    classes = class_folders(root)
    refuse_copied_classes(root, classes)
    films: list[LabelledFilm] = []
    found = {
        name: sorted(path for path, film in files_below(root / name) if film) for name in classes
    }
    # The two with or without others, or one of them alone, as in a part that lacks the other.
    kaggle = set(classes) >= KAGGLE_FOLDERS or set(classes) <= KAGGLE_FOLDERS
    copied = {
        name
        for name, paths in found.items()
        if name.upper() == "PNEUMONIA" and any(_KAGGLE_PNEUMONIA.match(own.name) for own in paths)
    }
    causes = kaggle and "PNEUMONIA" in copied
    for name, paths in found.items():
        if not paths:
            others = sum(1 for _ in files_below(root / name))
            what = f"has {counted(others, 'file')} and no film" if others else "is empty"
            raise UsageError(
                f"{root / name}: the class folder {what}; expected films in it, or remove it"
            )
        for path in paths:
            relative = path.relative_to(root).as_posix()
            films.append(
                _kaggle_film(relative, path.name, name)
                if causes and name in KAGGLE_FOLDERS
                else LabelledFilm(
                    relative, name.lower(), named_patient(relative) if kaggle or copied else ""
                )
            )
    labels = sorted({name.lower() for name in classes})
    if len(labels) < fewest:
        wanted = "one class" if fewest == 1 else "two classes"
        wrapped = len(classes) == 1 and len(class_folders(root / classes[0])) > 1
        mend = (
            f"; if the folders in {root / classes[0]} are the classes, name it" if wrapped else ""
        )
        raise UsageError(
            f"{root}: expected at least {wanted} (one folder each), found {labels or 'none'}{mend}"
        )
    return sorted(
        film if film.patient else replace(film, patient=dicom_patient(root / film.path))
        for film in films
    )


def files_left_out(root: Path) -> list[str]:
    """Files in the class folders that are taken for no films, by ending and content, and linked folders; sorted.

    Args:
        root: as for `read_labelled_folder`.

    Returns:
        Paths relative to the labelled folder, printable.

    Raises:
        UsageError: no such folder.
    """
    root = labelled_root(root)
    return sorted(
        printable(path.relative_to(root).as_posix())
        for name in class_folders(root)
        for path, film in files_below(root / name)
        if not film
    )


def named_patient(path: str) -> str:
    """Who a film of the Kaggle layout is of, by its path in either case; empty where that does not tell."""
    folder, _, name = path.rpartition("/")
    pattern = {"NORMAL": _KAGGLE_NORMAL, "PNEUMONIA": _KAGGLE_PNEUMONIA}.get(folder.upper())
    match = pattern.match(name) if pattern else None
    return match[1] if match else ""


def _kaggle_film(relative: str, name: str, folder: str) -> LabelledFilm:
    if folder == "NORMAL":
        match = _KAGGLE_NORMAL.match(name)
        return LabelledFilm(relative, "normal", match[1] if match else "")
    match = _KAGGLE_PNEUMONIA.match(name)
    if match is None:
        raise UsageError(
            f"{relative}: expected a name like person12_bacteria_34.jpeg or person12_virus_34.jpeg, "
            "as other files there have, which tells the cause; to take all of them for one class, rename "
            f"the folder to lower case: {folder.lower()}"
        )
    return LabelledFilm(relative, _KAGGLE_CAUSES[match[2]], match[1])


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def film_sha256(path: Path) -> str:
    """`file_sha256` of a film; empty of one that cannot be read, as a link to nothing: its decoding tells that."""
    try:
        return file_sha256(path)
    except OSError:
        return ""


@dataclass(frozen=True)
class SplitFilm:
    """One film of a split file.

    Attributes:
        path: relative to the labelled folder.
        label: class name.
        patient: who it is of; empty where unknown.
        group: films of one group never stand in two parts: a patient with all their duplicates.
        sha256: of the file's bytes.
        part: ``train``, ``validation`` or ``test`` (or ``fold0``, ``fold1``, …).
    """

    path: str
    label: str
    patient: str
    group: str
    sha256: str
    part: str

    @property
    def cluster(self) -> str:
        """What its interval is clustered by: its group, its patient, or, where nothing is known, itself."""
        return self.group or self.patient or f"sha256 {self.sha256}"


@dataclass(frozen=True)
class Split:
    """Which film belongs to which part, so that a split can be used again and checked.

    Attributes:
        seed: of the random draw.
        films: all films, sorted by path.
        note: how groups were found, in words.
    """

    seed: int
    films: tuple[SplitFilm, ...]
    note: str = ""

    def part(self, name: str) -> list[SplitFilm]:
        """The films of one part.

        Raises:
            UsageError: there is none of that name; the message lists the parts.
        """
        films = [film for film in self.films if film.part == name]
        if not films:
            raise UsageError(
                f"the split has no part {name!r}; it has {sorted({film.part for film in self.films})}"
            )
        return films

    def fingerprint(self) -> str:
        """SHA-256 over the hash, label and part of every film, in order."""
        digest = hashlib.sha256()
        for film in self.films:
            line = f"{film.sha256} {film.label} {film.part}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "schema_version": SPLIT_SCHEMA_VERSION,
            "seed": self.seed,
            "note": self.note,
            "films": [vars(film) for film in self.films],
        }

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            OutputError: it cannot be written; one that was there is as it was.
        """
        write_named(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> Split:
        """Read what `write` wrote.

        Raises:
            UsageError: the file is missing or no split file.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["schema_version"] != SPLIT_SCHEMA_VERSION:
                raise ValueError(f"schema version {record['schema_version']}")
            films = tuple(_split_film(film) for film in record["films"])
            return cls(int(record["seed"]), films, str(record.get("note", "")))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise UsageError(
                f"{path}: expected a split file written by `edge-xray train` or `edge-xray split` ({error})"
            ) from error


def _split_film(values: dict[str, Any]) -> SplitFilm:
    film = SplitFilm(**values)
    for name, value in values.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} of {film.path} must be text, got {value!r}")
    return film


def check_split(split: Split, root: Path, parts: Sequence[str]) -> None:
    """Check that the films of some parts are still the ones that were split.

    Raises:
        UsageError: a film is missing or its bytes changed; the message names the first.
    """
    for film in split.films:
        if film.part not in parts:
            continue
        path = root / film.path
        if not path.is_file():
            raise UsageError(
                f"{path}: named by the split and missing; name the folder that was split, or copy the data again"
            )
        if file_sha256(path) != film.sha256:
            raise UsageError(f"{path}: its content is not the one that was split; split again")


def labelled_otherwise(split: Split, films: Iterable[LabelledFilm]) -> str:
    """The path of the first film of a split that has another label or patient here; empty if none has.

    A hash of a DICOM PatientID says nothing against a split: on another machine it has another key.
    """
    said = {film.path: film for film in films}
    for film in split.films:
        own = said.get(film.path)
        hashed = own is not None and own.patient.startswith(DICOM_PATIENT)
        if own and (own.label != film.label or (own.patient != film.patient and not hashed)):
            return film.path
    return ""


def refuse_other_labels(
    split: Split, source: Path, films: Sequence[LabelledFilm], table: Path
) -> None:
    """Refuse a table of patients and labels that a split was not made with.

    Args:
        split: the split.
        source: its file, for the message.
        films: those of the folder, with what the table says of them.
        table: the table, for the message.

    Raises:
        UsageError: names the first film of which the two say different things.
    """
    if other := labelled_otherwise(split, films):
        raise UsageError(
            f"--patients {table}: {source} was made with other patients or labels, the first {other}; leave "
            "the option out, or split again: edge-xray split --patients"
        )


def films_and_patients(films: int, patients: int, unknown: int) -> str:
    """How many films of how many patients, in words that claim nothing that is not known.

    Args:
        films: how many.
        patients: of how many patients; where the patient is not known, each film counts as one.
        unknown: the films whose patient is not known.
    """
    if unknown == films:
        return f"{counted(films, 'film')} (patients not known: each film counts as one)"
    words = f"{counted(films, 'film')} of {counted(patients, 'patient')}"
    if unknown:
        count = "counts as one" if unknown == 1 else "count as one each"
        words += f" ({counted(unknown, 'film')} whose patient is not known {count})"
    return words
