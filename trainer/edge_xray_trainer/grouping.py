"""A folder's films with the groups that no split may part, read once."""

from __future__ import annotations

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
from edge_xray_trainer.data import prepare_films, refuse_damaged
from edge_xray_trainer.duplicates import duplicate_groups, film_hash
from edge_xray_trainer.progress import Progress
from edge_xray_trainer.splits import film_groups, make_split

HASH_SPEC = InputSpec(224, 224)
"""Films are read at this size for the perceptual hash, whatever the network takes."""


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
