"""The films that parity is measured on, and what each of them is to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_xray.errors import UsageError
from edge_xray.film_table import films_of_folder
from edge_xray.labelled import (
    LabelledFilm,
    Split,
    SplitFilm,
    film_sha256,
    labelled_root,
    refuse_other_labels,
)
from edge_xray.metadata import ModelMetadata
from edge_xray.unseen_films import HASH_DIGITS, TEST_PART, is_there, own_split, range_prefixes
from edge_xray_converter.representative import hash_prefix, refuse_overlap


@dataclass(frozen=True)
class ParitySet:
    """The films of one parity run.

    Attributes:
        root: the labelled folder.
        films: sorted by path, hashes filled in.
        split: the split they are a part of, if there is one.
        part: which part.
    """

    root: Path
    films: tuple[SplitFilm, ...]
    split: Split | None
    part: str


def read_parity_set(
    data: Path, split_file: Path | None, part: str | None = None, patients: Path | None = None
) -> ParitySet:
    """Read the films to compare models on.

    Args:
        data: labelled folder.
        split_file: a split of it; None: all films of the folder.
        part: which part of the split; None: the test part.
        patients: a CSV that names patients or labels; with a split it must say the same.

    Raises:
        UsageError: a part without a split, no films, fewer than two classes, a film that changed since it was split, or a CSV that
            cannot serve.
    """
    if split_file is None and part is not None:
        raise UsageError(
            f"--part {part} needs --split, the file that says which films are in it: there is none of these "
            "films beside the reference"
        )
    part = part or TEST_PART
    root = labelled_root(data)
    if split_file is None:
        labelled = films_of_folder(root, patients)
        return ParitySet(root, tuple(_hashed(root, film) for film in labelled), None, "")
    split = Split.read(split_file)
    if patients is not None:
        refuse_other_labels(split, split_file, films_of_folder(root, patients), patients)
    chosen = split.part(part)
    for film in chosen:
        if not is_there(root, film):
            raise UsageError(
                f"{root / film.path}: named by {split_file.name} and missing or changed since; copy the data again"
            )
    if len({film.label for film in chosen}) < 2:
        raise UsageError(f"{split_file}: expected films of two classes in part {part!r}, found one")
    return ParitySet(root, tuple(sorted(chosen, key=lambda film: film.path)), split, part)


def _hashed(root: Path, film: LabelledFilm) -> SplitFilm:
    return SplitFilm(
        film.path, film.label, film.patient, film.patient, film_sha256(root / film.path), ""
    )


def classes_of(films: Sequence[SplitFilm], metadata: ModelMetadata) -> list[int]:
    """The class of each film in a model's own labels.

    A label that the model does not have counts as its only positive class, if it has but one and all
    its negative classes are among the films: a model of normal and pneumonia can so be measured on
    films of normal, bacterial and viral. A film labelled with the model's finding itself is positive of an
    unknown class.

    Args:
        films: labelled films.
        metadata: of the model.

    Returns:
        One index into ``metadata.labels`` a film; -1 where only the finding is known.

    Raises:
        UsageError: the films' labels do not match the model's.
    """
    names = {name.lower(): index for index, name in enumerate(metadata.label_names)}
    present = {film.label.lower() for film in films}
    unknown = sorted(present - set(names) - {metadata.finding.lower()})
    positive = [index for index, flag in enumerate(metadata.positive) if flag]
    negative = {label.name.lower() for label in metadata.labels if label.triage == "none"}
    if unknown and not (len(positive) == 1 and negative <= present):
        raise UsageError(
            f"the films are {', '.join(sorted(present))}; model {metadata.name} tells "
            f"{', '.join(metadata.label_names)}: expected the same classes. Rename the folders, or "
            "convert with the right --labels"
        )
    other = positive[0] if len(positive) == 1 else -1
    return [names.get(film.label.lower(), other) for film in films]


def refuse_representative(
    metadata: ModelMetadata, films: ParitySet, model: str, beside: Sequence[Split] = ()
) -> None:
    """Refuse to judge a model on films that its int8 ranges were measured on.

    Films are compared by hash, patients by the hash of their name, and, where the split is at hand,
    duplicate groups. Where the split that the model was trained with lies beside it, patients are left to
    `edge_xray.unseen_films.refuse_training_films`, which knows them better than by a hash of a name.

    Args:
        metadata: of the model; the converter recorded its representative films there.
        films: the parity films.
        model: its file, for the message.
        beside: the splits that lie beside the models.

    Raises:
        UsageError: a film, a patient or a duplicate is in both.
        ModelError: what the model says of its representative films cannot be read.
    """
    known = range_prefixes(metadata, "film_sha256_prefixes", model)
    patients = range_prefixes(metadata, "patient_sha256_prefixes", model)
    if films.split is None and own_split(metadata, beside) is not None:
        patients = set()
    for film in films.films:
        same_film = film.sha256[:HASH_DIGITS] in known
        if same_film or (film.patient and hash_prefix(film.patient) in patients):
            raise UsageError(
                f"{model}: {film.path} is {'one' if same_film else 'of a patient'} of the films its "
                "int8 ranges were measured on: expected films it never saw. Name the test films with "
                "--split FILE --part test, or another --data"
            )
    if films.split is not None:
        drawn = [film for film in films.split.films if film.sha256[:HASH_DIGITS] in known]
        refuse_overlap(drawn, films.films)
