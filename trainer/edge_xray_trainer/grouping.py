"""A folder's films with the groups that no split may part, read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import FilmError
from edge_xray.film_table import films_of_folder
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import (
    LabelledFilm,
    Split,
    file_sha256,
    files_left_out,
    labelled_root,
)
from edge_xray.labelled_files import DICOM_PATIENT
from edge_xray.plural import counted
from edge_xray.progress import silent
from edge_xray.quality import is_blank
from edge_xray.walk import printable
from edge_xray_trainer.data import prepare_films, refuse_damaged
from edge_xray_trainer.duplicates import duplicate_groups, film_hash, inseparable
from edge_xray_trainer.progress import Progress
from edge_xray_trainer.splits import make_split

HASH_SPEC = InputSpec(224, 224)
"""Films are read at this size for the perceptual hash, whatever the network takes."""

MANY_FILMS = 0.1
"""Share of the films above which a patient's are remarked on: a part holds no more than that."""


def draw_split(
    data: Path,
    *,
    seed: int,
    patients: Path | None = None,
    progress: Progress = silent,
) -> Split:
    """Split a folder by patient and duplicate group into train, validation and test.

    Args:
        data: the labelled folder.
        seed: of the draw.
        patients: a CSV that names patients or labels.
        progress: told of each film read.

    Raises:
        UsageError: the folder cannot be split, or a film in it cannot be read.
    """
    films, sha256, groups, note = grouped_films(data, patients, progress)
    return make_split(films, sha256, groups, seed=seed, note=note)


def grouped_films(
    data: Path, patients: Path | None, progress: Progress
) -> tuple[list[LabelledFilm], list[str], NDArray[np.intp], str]:
    """List a folder's films with their hashes and the groups that must not be parted.

    Raises:
        UsageError: a film cannot be read.
    """
    films = films_of_folder(data, patients)
    root = labelled_root(data)
    hashes: list[NDArray[np.uint64]] = []
    blank: list[bool] = []
    damaged = []
    for index, film in enumerate(prepare_films(root, films, HASH_SPEC)):
        if isinstance(film, FilmError):
            damaged.append(f"{films[index].path}: {film}")
        else:
            hashes.append(film_hash(film.pixels[..., 0]))
            blank.append(is_blank(film.pixels[..., 0]))
        progress("Reading films", index + 1, len(films))
    refuse_damaged(damaged, len(films))
    # Of films that can be read: a link to nothing is one of the damaged.
    sha256 = [file_sha256(root / film.path) for film in films]
    copies = duplicate_groups(sha256, np.array(hashes), blank=blank)
    groups, note = film_groups(films, copies)
    if any(blank):
        words = counted(sum(blank), "film", "shows", "show")
        note += f" {words} next to nothing, taken for copies of none."
    by_id = sum(film.patient.startswith(DICOM_PATIENT) for film in films)
    if by_id:
        note += (
            f" The patient of {counted(by_id, 'film')} is by a keyed hash of the DICOM PatientID."
        )
    left_out = files_left_out(data)
    if left_out:
        note += f" Left out, as no films by ending and content: {counted(len(left_out), 'file')}, the first {left_out[0]}."
    return films, sha256, groups, note


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
    groups = np.array(inseparable([film.patient for film in films], duplicates), np.intp)
    note = "Films of one patient and duplicates of each other are in one group."
    known = {
        (int(group), film.patient)
        for group, film in zip(groups, films, strict=True)
        if film.patient
    }
    joined = [count for count in Counter(group for group, _ in known).values() if count > 1]
    if joined:
        note += (
            f" Copies in several patients' names joined {sum(joined)} patients to {counted(len(joined), 'group')}: "
            "edge-xray audit shows the copies."
        )
    unknown = sum(not film.patient for film in films)
    if unknown:
        note += (
            f" The patient of {unknown} of {len(films)} films is not known: each of these counts as a patient "
            "of its own, with its duplicates. Give a CSV with --patients to do better."
        )
    return groups, note + _most_films(films)


def _most_films(films: Sequence[LabelledFilm]) -> str:
    """A remark on the patient with the most films, where these are many; empty if they are not."""
    known = Counter(film.patient for film in films if film.patient)
    patient, own = known.most_common(1)[0] if known else ("", 0)
    if own <= MANY_FILMS * len(films):
        return ""
    if patient.startswith(DICOM_PATIENT):
        who = "One patient, by the DICOM PatientID,"
        advice = (
            "a placeholder in the place of the ID would look so: name the patients with --patients"
        )
    else:
        who = f"The patient {printable(patient)}"
        advice = "a placeholder such as NA in the CSV of --patients would look so: leave such cells empty"
    return f" {who} has {own} of {len(films)} films ({own / len(films):.1%}); {advice}."
