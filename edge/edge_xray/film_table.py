"""CSVs that say something of each film: its patient, its label, what to divide the films by."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_xray.errors import UsageError
from edge_xray.labelled import LabelledFilm, read_labelled_folder


def read_film_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a CSV of films; rows without a word are left out, as spreadsheets keep those cleared.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            return [*(reader.fieldnames or ())], [row for row in reader if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: expected a CSV of films, cannot read it ({error})") from error


def films_of_folder(
    data: Path, patients: Path | None = None, *, fewest: int = 2
) -> list[LabelledFilm]:
    """List a labelled folder's films, with what a CSV says of them.

    Args:
        data: the labelled folder, as for `read_labelled_folder`.
        patients: a CSV that names patients or labels, as for `read_labels`; None: file and folder names tell.
        fewest: classes that there must be.

    Raises:
        UsageError: the folder or the CSV cannot serve.
    """
    films = read_labelled_folder(data, fewest=fewest)
    return films if patients is None else read_labels(patients, films)


def read_labels(path: Path, films: Sequence[LabelledFilm]) -> list[LabelledFilm]:
    """Give films the patients (and labels) that a CSV names.

    Args:
        path: CSV with the column ``path`` and one or both of ``patient`` and ``label``.
        films: the films of the folder.

    Returns:
        The films with what the CSV says of them.

    Raises:
        UsageError: a missing column, a film that is not in the folder, a label that no folder has, no row, or
            rows that contradict each other.
    """
    by_path = {film.path: film for film in films}
    known = {film.label for film in films}
    columns, rows = read_film_table(path)
    if "path" not in columns or not {*columns} & {"patient", "label"}:
        raise UsageError(
            f"{path}: expected the columns path and patient (or label) with commas between, found {sorted(columns)}"
        )
    if not rows:
        raise UsageError(
            f"{path}: names no film; expected a row for each film that it says something of"
        )
    said: dict[tuple[str, str], str] = {}
    for row in rows:
        film = by_path.get(row["path"])
        if film is None:
            raise UsageError(
                f"{path}: names {row['path']!r}, which is not in the folder; expected paths such as {films[0].path!r}"
            )
        for column in ("patient", "label"):
            word = (row.get(column) or "").strip()
            word = word.lower() if column == "label" else word
            first = said.setdefault((film.path, column), word) if word else word
            if word != first:
                raise UsageError(
                    f"{path}: names {film.path} twice, with the {column} {first!r} and {word!r}; expected one "
                    "row a film"
                )
        label = said.get((film.path, "label"), film.label)
        if label not in known:
            raise UsageError(
                f"{path}: {row['path']} has the unknown label {label!r}; expected one of {sorted(known)}"
            )
        patient = said.get((film.path, "patient"), film.patient)
        by_path[film.path] = replace(film, label=label, patient=patient)
    return sorted(by_path.values())
