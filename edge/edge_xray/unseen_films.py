"""Films that a model never saw: only these may judge it.

A model names the split it was trained with, and the trainer leaves that split beside it. The device never
imports this, it stands here because trainer and converter may only meet here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from edge_xray.errors import ModelError, UsageError
from edge_xray.labelled import Split, SplitFilm, file_sha256, labelled_root
from edge_xray.metadata import ModelMetadata
from edge_xray.metadata_fields import shown

SPLIT_NAME = "split.json"
"""Where the trainer leaves its split, beside the model."""

TEST_PART = "test"
"""The part of a split that nothing of a model was fitted on."""

HASH_DIGITS = 16
"""Hexadecimal digits of a film's SHA-256 by which an int8 model names those that its ranges were measured on: 64
bits tell films apart."""

NAMED_FILMS = 3
"""So many missing films a message names."""

_NUMBERED_BY_CAUSE = re.compile(r"person\d+")


def split_beside(reference: Path, data: Path, part: str) -> Path | None:
    """The split that the trainer left beside a model, if it is one of these films.

    Args:
        reference: the model file.
        data: labelled folder.
        part: which part of the split is asked for.

    Returns:
        The split file; None if there is none, or no film of it is in `data`, as in a folder from
        another hospital, whose films may bear the same names.

    Raises:
        UsageError: the file beside the model is no split file, there is no such folder, or some films of
            the part are missing from it.
    """
    path = reference.parent / SPLIT_NAME
    if not path.is_file():
        return None
    root = labelled_root(data)
    split = Split.read(path)
    if not any(is_there(root, film) for film in split.films):
        return None
    missing = [film.path for film in split.part(part) if not (root / film.path).is_file()]
    if not missing:
        return path
    more = f" and {len(missing) - NAMED_FILMS} more" if len(missing) > NAMED_FILMS else ""
    raise UsageError(
        f"{root}: has films of {path}, but of its part {part} {', '.join(missing[:NAMED_FILMS])}{more} "
        "are missing; copy the data again"
    )


def splits_beside(models: Iterable[Path]) -> list[Split]:
    """The splits that lie beside models; another program's file of that name is nobody's split."""
    found = []
    for path in dict.fromkeys(model.parent / SPLIT_NAME for model in models):
        with suppress(UsageError):
            found.append(Split.read(path))
    return found


def is_there(root: Path, film: SplitFilm) -> bool:
    """Whether a film of a split lies in a folder, unchanged."""
    path = root / film.path
    return path.is_file() and file_sha256(path) == film.sha256


def trained_with(metadata: ModelMetadata, split: Split) -> bool:
    """Whether a model may have been trained with a split: it names this one, or none."""
    known = metadata.training.get("split_sha256")
    return not known or known == split.fingerprint()


def own_split(metadata: ModelMetadata, beside: Sequence[Split]) -> Split | None:
    """The split that a model names as its own, if it is among these."""
    known = metadata.training.get("split_sha256")
    return next((split for split in beside if split.fingerprint() == known), None)


def refuse_training_films(
    metadata: ModelMetadata,
    films: Sequence[SplitFilm],
    split: Split | None,
    model: str,
    beside: Sequence[Split],
) -> bool:
    """Refuse to judge a model on films that it may have been trained on.

    A model names the split it was trained with. Films of any other split, or of none, are held against
    that one by hash and by patient, if it lies beside one of the models; else, and where it names none, against the
    training films that set the ranges of an int8 model, which it names itself.

    Args:
        metadata: of the model.
        films: to judge it on.
        split: the split they are a part of; None: a whole folder.
        model: its file, for the message.
        beside: the splits that lie beside the models.

    Returns:
        Whether that was found out: False if the model names no split, or the films are of none and the
        model's is not at hand.

    Raises:
        UsageError: a film or patient is in another part of the model's split than its test part, a film set
            its ranges, or the films are of another split and the model's is not at hand.
        ModelError: what the model says of the films that set its ranges cannot be read.
    """
    known = metadata.training.get("split_sha256")
    if split is not None and known == split.fingerprint():
        return True
    own = own_split(metadata, beside)
    if own is None:
        if split is None or not known:
            _refuse_range_films(metadata, films, model)
            return False
        raise UsageError(
            f"{model}: was trained with another split, so nothing tells which films of this one it never "
            f"saw: put its own {SPLIT_NAME} beside it, or name a folder of films from elsewhere with "
            "--data and no split"
        )
    seen = [film for film in own.films if film.part != TEST_PART]
    hashes = {film.sha256 for film in seen}
    patients = {_person(film) for film in seen if film.patient}
    for film in films:
        if film.sha256 in hashes or _person(film) in patients:
            raise UsageError(
                f"{model}: {film.path} is {'one' if film.sha256 in hashes else 'of a patient'} of the "
                "films it was trained with: expected films it never saw. Name other films, or the "
                f"{SPLIT_NAME} it was trained with (--split); a film of another patient of that name, under another name"
            )
    return True


def range_prefixes(metadata: ModelMetadata, name: str, model: str) -> set[str]:
    """What an int8 model keeps of the films that its ranges were measured on; empty for any other.

    Args:
        metadata: of the model; the converter recorded them there.
        name: ``film_sha256_prefixes`` or ``patient_sha256_prefixes``.
        model: its file, for the message.

    Raises:
        ModelError: it cannot be read.
    """
    record = metadata.training.get("representative")
    prefixes = record.get(name, []) if isinstance(record, dict) else []
    if not isinstance(prefixes, list) or not all(isinstance(prefix, str) for prefix in prefixes):
        raise ModelError(
            f"{model}: its metadata tells training.representative.{name} as {shown(prefixes)}, expected a "
            "list of words; convert it again"
        )
    return set(prefixes)


def _refuse_range_films(metadata: ModelMetadata, films: Sequence[SplitFilm], model: str) -> None:
    known = range_prefixes(metadata, "film_sha256_prefixes", model)
    for film in films:
        if film.sha256[:HASH_DIGITS] in known:
            raise UsageError(
                f"{model}: {film.path} is one of the training films that its int8 ranges were measured on: expected "
                f"films it never saw. Name the {SPLIT_NAME} it was trained with (--split), or other films"
            )


def _person(film: SplitFilm) -> tuple[str, str]:
    """Who a film is of. The Guangzhou films number the patients of each cause for themselves."""
    return film.patient, film.label if _NUMBERED_BY_CAUSE.fullmatch(film.patient) else ""
