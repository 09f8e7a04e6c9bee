"""The representative dataset: training films on which the ranges of int8 are measured.

Never called "calibration": that word is for probabilities.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_xray.decode import decode
from edge_xray.errors import FilmError, UsageError
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import (
    Split,
    SplitFilm,
    file_sha256,
    film_sha256,
    labelled_root,
    read_labelled_folder,
)
from edge_xray.preprocess import preprocess
from edge_xray.quality import is_blank
from edge_xray.unseen_films import HASH_DIGITS

REPRESENTATIVE_FILMS = 200
"""How many are drawn. At 200 the ranges of `lite0` have settled: 100 to 400 differ by one decision."""

TRAINING_PART = "train"


@dataclass(frozen=True)
class RepresentativeSet:
    """The films drawn, so that they can be read, recorded and kept away from the parity set.

    Attributes:
        root: the labelled folder.
        films: drawn films, sorted by path.
        seed: of the draw.
        part: the part of the split that they were drawn from; empty without a split.
    """

    root: Path
    films: tuple[SplitFilm, ...]
    seed: int
    part: str

    def inputs(self, spec: InputSpec) -> Iterator[NDArray[np.uint8]]:
        """Each film as the device prepares it: uint8, (1, H, W, C).

        Raises:
            UsageError: a film changed since it was split, or cannot be read.
        """
        return read_inputs(self.root, self.films, spec)

    def record(self) -> dict[str, Any]:
        """What the model's metadata keeps of it; JSON-ready."""
        counts = Counter(film.label for film in self.films)
        digest = hashlib.sha256("\n".join(sorted(film.sha256 for film in self.films)).encode())
        return {
            "films": len(self.films),
            "per_label": dict(sorted(counts.items())),
            "seed": self.seed,
            "part": self.part,
            "fingerprint": digest.hexdigest(),
            "film_sha256_prefixes": sorted(film.sha256[:HASH_DIGITS] for film in self.films),
            "patient_sha256_prefixes": sorted(
                {hash_prefix(film.patient) for film in self.films if film.patient}
            ),
        }


def draw_representative(
    data: Path, split: Split | None, *, films: int = REPRESENTATIVE_FILMS, seed: int = 0
) -> RepresentativeSet:
    """Draw films for the ranges of int8: training films only, as many of each class as can be.

    One film a patient is taken as long as there are patients left, for films of one patient are alike.

    Args:
        data: the labelled folder (for the Kaggle layout, also the folder that holds ``train/``).
        split: only its part ``train`` is drawn from; None: all films of the folder are training films.
        films: how many; all of them if there are fewer.
        seed: of the draw.

    Raises:
        UsageError: no films, or the split lets a film, patient or duplicate group into two parts.
    """
    root = labelled_root(data)
    if split is None:
        pool = [
            SplitFilm(film.path, film.label, film.patient, film.patient, "", "")
            for film in read_labelled_folder(root)
        ]
    else:
        measured = [film for film in split.films if film.part != TRAINING_PART]
        shared = {film.sha256 for film in measured}
        # Blank films are all alike and copies of none; they set no range either.
        pool = [
            film
            for film in split.part(TRAINING_PART)
            if film.sha256 not in shared or not _is_blank(root / film.path)
        ]
        refuse_overlap(pool, measured)
    drawn = draw_films(pool, films, seed)
    if split is None:
        drawn = [
            SplitFilm(f.path, f.label, f.patient, f.group, film_sha256(root / f.path), "")
            for f in drawn
        ]
    return RepresentativeSet(
        root,
        tuple(sorted(drawn, key=lambda film: film.path)),
        seed,
        "" if split is None else TRAINING_PART,
    )


def _is_blank(path: Path) -> bool:
    """Whether a film can be read and shows next to nothing."""
    try:
        return is_blank(decode(path, InputSpec(64, 64, 1)).pixels)
    except FilmError:
        return False


def read_inputs(
    root: Path, films: Sequence[SplitFilm], spec: InputSpec
) -> Iterator[NDArray[np.uint8]]:
    """Films of a split as the device prepares them.

    Args:
        root: what their paths are relative to.
        films: which.
        spec: the network's input.

    Yields:
        uint8, (1, H, W, C).

    Raises:
        UsageError: a film changed since it was split, or cannot be read.
    """
    for film in films:
        path = root / film.path
        try:
            if file_sha256(path) != film.sha256:
                raise UsageError(f"{path}: its content is not the one that was split; split again")
            yield preprocess(decode(path, spec).pixels, spec)
        except (OSError, FilmError) as error:
            raise UsageError(
                f"{path}: a film of the split must be readable ({error}); "
                "copy it again or split again without it"
            ) from error


def hash_prefix(text: str) -> str:
    """The first `HASH_DIGITS` hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:HASH_DIGITS]


def refuse_overlap(representative: Sequence[SplitFilm], measured: Sequence[SplitFilm]) -> None:
    """Refuse representative films that the parity films know too.

    Args:
        representative: films that ranges are measured on.
        measured: films that the result is judged on.

    Raises:
        UsageError: a film, a duplicate group or a patient is in both; the message names the first.
    """
    for attribute, what in (
        ("sha256", "the same film"),
        ("patient", "the same patient"),
        ("group", "a duplicate or the same patient"),
    ):
        known = {getattr(film, attribute): film for film in measured}
        for film in representative:
            key = getattr(film, attribute)
            if key and key in known:
                raise UsageError(
                    f"{film.path} is to set the ranges of int8 and {known[key].path} to judge them, "
                    f"and they are {what}: expected separate films; split by patient with "
                    "`edge-xray split`"
                )


def draw_films(pool: Sequence[SplitFilm], wanted: int, seed: int) -> list[SplitFilm]:
    """Draw films, as many of each label as can be, patients new to the draw first.

    Args:
        pool: to draw from.
        wanted: how many; all of them if there are fewer.
        seed: of the draw.

    Raises:
        UsageError: `wanted` is no number of films.
    """
    if wanted < 1:
        raise UsageError(f"expected at least 1 representative film, got {wanted}")
    generator = np.random.default_rng(seed)
    labels = sorted({film.label for film in pool})
    queues: dict[str, list[SplitFilm]] = {}
    for label in labels:
        films = sorted((film for film in pool if film.label == label), key=lambda film: film.path)
        shuffled = [films[i] for i in generator.permutation(len(films))]
        seen: dict[str, int] = {}
        turn = []
        for film in shuffled:
            key = film.group or film.path
            turn.append(seen.setdefault(key, 0))
            seen[key] += 1
        order = sorted(range(len(shuffled)), key=lambda i: turn[i])
        queues[label] = [shuffled[i] for i in order]
    drawn: list[SplitFilm] = []
    while len(drawn) < wanted and any(queues.values()):
        for label in labels:
            if queues[label] and len(drawn) < wanted:
                drawn.append(queues[label].pop(0))
    return drawn
