"""Splits by patient and by duplicate group, stratified by class, seeded, written to a file."""

from __future__ import annotations

import csv
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from edge_xray.errors import UsageError
from edge_xray.labelled import LabelledFilm, Split, SplitFilm

PARTS = ("train", "validation", "test")

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.1
"""Share of the films in each held-back part; the rest is trained on."""


def read_labels(path: Path, films: Sequence[LabelledFilm]) -> list[LabelledFilm]:
    """Give films the patients (and labels) that a CSV names.

    Args:
        path: CSV with the column ``path`` and one or both of ``patient`` and ``label``.
        films: the films of the folder.

    Returns:
        The films with what the CSV says of them.

    Raises:
        UsageError: a missing column, a film that is not in the folder, or a label that no folder has.
    """
    by_path = {film.path: film for film in films}
    known = {film.label for film in films}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: expected a CSV of films, cannot read it ({error})") from error
    if "path" not in columns or not columns & {"patient", "label"}:
        raise UsageError(
            f"{path}: expected the columns path and patient (or label), found {sorted(columns)}"
        )
    for row in rows:
        film = by_path.get(row["path"])
        if film is None:
            raise UsageError(
                f"{path}: names {row['path']!r}, which is not in the folder; paths are relative to it"
            )
        label = (row.get("label") or film.label).strip().lower()
        if label not in known:
            raise UsageError(
                f"{path}: {row['path']} has the unknown label {label!r}; expected one of {sorted(known)}"
            )
        patient = (row.get("patient") or film.patient).strip()
        by_path[film.path] = replace(film, label=label, patient=patient)
    return sorted(by_path.values())


def film_groups(
    films: Sequence[LabelledFilm], duplicates: Sequence[int]
) -> tuple[NDArray[np.intp], str]:
    """Join films that must not be parted: those of one patient, and duplicates of each other.

    Args:
        films: the films.
        duplicates: for each film the index of its duplicate group.

    Returns:
        ``(group of each film, a sentence on how they were found)``.
    """
    unknown = sum(not film.patient for film in films)
    keys: Mapping[str, int] = {
        name: index
        for index, name in enumerate(
            dict.fromkeys(film.patient or f"?{i}" for i, film in enumerate(films))
        )
    }
    # A bipartite graph of films, patients and duplicate groups; its components are the groups.
    count = len(films)
    patients = [count + keys[film.patient or f"?{i}"] for i, film in enumerate(films)]
    copies = [count + len(keys) + group for group in duplicates]
    rows = np.concatenate([np.arange(count), np.arange(count)])
    columns = np.concatenate([np.array(patients, int), np.array(copies, int)])
    size = count + len(keys) + (max(duplicates) + 1 if count else 0)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    _, groups = np.unique(component[:count], return_inverse=True)
    note = "Films of one patient and duplicates of each other are in one group."
    if unknown:
        note += (
            f" The patient of {unknown} of {count} films is not known: each of these counts as a patient "
            "of its own, with its duplicates. Give a CSV with --patients to do better."
        )
    return groups, note


def make_split(
    films: Sequence[LabelledFilm],
    sha256: Sequence[str],
    groups: NDArray[np.intp],
    *,
    seed: int,
    validation: float = VALIDATION_SHARE,
    test: float = TEST_SHARE,
    note: str = "",
) -> Split:
    """Divide films into train, validation and test, no group in two parts, classes in proportion.

    Args:
        films: the films.
        sha256: hash of each film's bytes.
        groups: (n,) group of each film, from `film_groups`.
        seed: of the draw.
        validation: share of the films for validation, 0 < share < 0.5.
        test: share of the films for the internal test, 0 < share < 0.5.
        note: how groups were found, for the file.

    Raises:
        UsageError: a share out of range, or too few groups of a class to have one in each part.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0.0 < share < 0.5:
            raise UsageError(f"--{name}-share must be more than 0 and less than 0.5, got {share}")
    parts = np.full(len(films), "train", object)
    remaining = np.arange(len(films))
    labels = np.array([film.label for film in films])
    _require_patients(labels, groups, len(PARTS))
    for name, share in (("test", test), ("validation", validation)):
        # Shares are of the whole, and the earlier part is gone; few patients give larger parts.
        least = _require_patients(labels[remaining], groups[remaining], 2)
        folds = max(2, min(least, round(len(remaining) / (share * len(films)))))
        drawn = _folds(labels[remaining], groups[remaining], folds, seed)[0]
        parts[remaining[drawn]] = name
        remaining = np.delete(remaining, drawn)
    return _split(films, sha256, groups, parts, seed, note)


def make_folds(
    films: Sequence[LabelledFilm],
    sha256: Sequence[str],
    groups: NDArray[np.intp],
    *,
    folds: int,
    seed: int,
    note: str = "",
) -> Split:
    """Divide films into ``fold0`` … for cross-validation, no group in two folds.

    Raises:
        UsageError: fewer groups of a class than folds.
    """
    labels = np.array([film.label for film in films])
    if folds < 2:
        raise UsageError(f"expected at least 2 folds, got {folds}")
    _require_patients(labels, groups, folds)
    parts = np.empty(len(films), object)
    for index, drawn in enumerate(_folds(labels, groups, folds, seed)):
        parts[drawn] = f"fold{index}"
    return _split(films, sha256, groups, parts, seed, note)


def fold_as_split(folds: Split, test_fold: int) -> Split:
    """Use one fold as test, the next as validation and the others as train.

    Raises:
        UsageError: the split has no such fold.
    """
    count = len({film.part for film in folds.films})
    folds.part(f"fold{test_fold}")
    names = {
        f"fold{test_fold}": "test",
        f"fold{(test_fold + 1) % count}": "validation",
    }
    films = tuple(replace(film, part=names.get(film.part, "train")) for film in folds.films)
    return Split(folds.seed, films, folds.note)


def hold_out_films(split: Split, pattern: str) -> Split:
    """Keep the films of some file names out of training, as a stand-in for another hospital.

    Args:
        split: parts train, validation and test.
        pattern: shell pattern of file names, as ``NORMAL2-*``.

    Returns:
        A split in which matching films stand in the test alone, and films of the same classes that do
        not match stand in the test no more (they are trained on).

    Raises:
        UsageError: no film matches, or all films of a class do.
    """
    matches = [fnmatch.fnmatch(film.path.rsplit("/", 1)[-1], pattern) for film in split.films]
    labels = {film.label for film, held in zip(split.films, matches, strict=True) if held}
    if not labels:
        raise UsageError(f"no film has a name like {pattern!r}; patterns are of file names")
    films = []
    for film, held in zip(split.films, matches, strict=True):
        if held:
            part = "test"
        else:
            part = "train" if film.label in labels and film.part == "test" else film.part
        films.append(replace(film, part=part))
    made = Split(split.seed, tuple(films), f"{split.note} Held out for the test: {pattern}.")
    for label in labels:
        for part in ("train", "validation"):
            if not any(film.label == label for film in made.part(part)):
                raise UsageError(
                    f"all films of class {label!r} for {part} have names like {pattern!r}"
                )
    return made


def _folds(
    labels: NDArray[np.str_], groups: NDArray[np.intp], folds: int, seed: int
) -> list[NDArray[np.intp]]:
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [drawn for _, drawn in splitter.split(labels, labels, groups)]


def _require_patients(labels: NDArray[np.str_], groups: NDArray[np.intp], wanted: int) -> int:
    """The least number of patients (groups) that a class has; refused if fewer than wanted."""
    patients = {str(label): len(np.unique(groups[labels == label])) for label in np.unique(labels)}
    label, least = min(patients.items(), key=lambda item: item[1])
    if least < wanted:
        raise UsageError(
            f"class {label!r} has films of {least} patients only; expected at least {wanted}, so that each "
            "part gets one. Add films, use fewer folds, or leave the class out"
        )
    return least


def _split(
    films: Sequence[LabelledFilm],
    sha256: Sequence[str],
    groups: NDArray[np.intp],
    parts: NDArray[np.object_],
    seed: int,
    note: str,
) -> Split:
    for label in sorted({film.label for film in films}):
        for part in sorted(set(parts)):
            if not any(
                film.label == label and own == part for film, own in zip(films, parts, strict=True)
            ):
                raise UsageError(
                    f"the part {part} got no film of class {label!r}: too few patients; add films or "
                    "raise the share of that part"
                )
    return Split(
        seed,
        tuple(
            SplitFilm(film.path, film.label, film.patient, f"g{group}", digest, str(part))
            for film, digest, group, part in zip(films, sha256, groups, parts, strict=True)
        ),
        note,
    )
