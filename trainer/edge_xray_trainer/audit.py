"""What is wrong with a data set, before anything is trained on it.

Leakage (one patient or one film in two parts of a split), copies, damaged files, imbalance, and how well
the classes are told apart by what has nothing to do with them: size, brightness, border.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import ClusterResamples, clustered_share
from edge_xray.errors import UsageError
from edge_xray.operating_point import Estimate
from edge_xray.progress import Steps, unseen
from edge_xray_trainer.audit_films import (
    AuditedFilm,
    Look,
    list_films,
    look_at_films,
    unlisted_files,
)
from edge_xray_trainer.duplicates import NEAR_DISTANCE, inseparable, merged, near_pairs
from edge_xray_trainer.likeness import likeness
from edge_xray_trainer.shortcut import border_scores, one_against_rest

FOLDS = 5
"""Of the shortcut score's cross-validation."""

STRANGERS_DISTANCE = NEAR_DISTANCE + 24
"""Up to this hash distance pairs are looked through for the most alike films that are no copies."""

CLOSEST_STRANGERS = 6

RESAMPLES = 1000
"""Of the bootstrap."""

QUANTITIES: dict[str, Callable[[Look], float]] = {
    "width": lambda look: look.width,
    "height": lambda look: look.height,
    "width to height": lambda look: look.width / look.height,
    "bytes of the file": lambda look: look.size,
    "brightness": lambda look: look.brightness,
    "contrast": lambda look: look.contrast,
    "brightness of the border": lambda look: look.border,
    "dark share of the border": lambda look: look.dark_border,
}
"""What should tell nothing about the class, of every film that can be decoded."""

SHARES = ("brightness", "contrast", "brightness of the border", "dark share of the border")
"""Those quantities that are shares, 0..1, and are averaged by class."""


@dataclass(frozen=True)
class AuditRequest:
    """What to audit.

    Attributes:
        data: a labelled folder, or one that holds such folders named ``train``, ``test``, ….
        split: a split of it; None takes parts from the folders.
        patients: a CSV that names patients or labels; None trusts file names.
        folds: of the shortcut score.
        seed: of everything drawn.
        jobs: films at once.
    """

    data: Path
    split: Path | None = None
    patients: Path | None = None
    folds: int = FOLDS
    seed: int = 0
    jobs: int = 1


@dataclass(frozen=True)
class CopyGroup:
    """Films that are copies of each other.

    Attributes:
        paths: two or more.
        exact: byte for byte; otherwise some were saved again.
        patients: of whom; empty for a film whose patient is not known.
        parts: in which parts of the split.
        labels: under which labels.
    """

    paths: tuple[str, ...]
    exact: bool
    patients: tuple[str, ...]
    parts: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def known_patients(self) -> tuple[str, ...]:
        """Of whom, as far as it is known."""
        return tuple(filter(None, self.patients))


@dataclass(frozen=True)
class Pair:
    """Two films that look alike and are of different patients.

    Attributes:
        first: path.
        second: path.
        distance: bits of 255 in which their hashes differ.
    """

    first: str
    second: str
    distance: int


@dataclass(frozen=True)
class ClassFacts:
    """One class.

    Attributes:
        films: by part.
        patients: how many, all parts together.
        most: films of the patient who has most.
        means: mean of each of `SHARES`.
    """

    films: Mapping[str, int]
    patients: int
    most: int
    means: Mapping[str, Estimate]


@dataclass(frozen=True, eq=False)
class Audit:
    """All that was found.

    Attributes:
        root: the folder that paths are relative to.
        films: every file, in order.
        parts: names of the parts.
        classes: by label.
        damaged: ``{path: why}``.
        left_out: files in the class folders that were taken for no films.
        blank: paths of films that show next to nothing; they are taken for copies of none.
        changed: paths whose bytes are others than those that were split.
        unknown_patients: films whose patient is not known.
        split_patients: ``{patient: parts}`` of patients in two or more parts.
        mixed_patients: patients with films of two or more classes.
        copies: groups of copies.
        strangers: the most alike films that are no copies, of different patients.
        quantities: ``{quantity: {class: AUC against all others}}``.
        border: ``{class: AUC against all others}`` from the border alone, by cross-validation.
        border_folds: how many folds; 0 if it could not be measured.
        likeness: correlation of films of one patient in one class, of one patient in two classes, and
            of two patients; empty if no patient has several films.
    """

    root: Path
    films: tuple[AuditedFilm, ...]
    parts: tuple[str, ...]
    classes: Mapping[str, ClassFacts]
    damaged: Mapping[str, str]
    left_out: tuple[str, ...]
    blank: tuple[str, ...]
    changed: tuple[str, ...]
    unknown_patients: int
    split_patients: Mapping[str, tuple[str, ...]]
    mixed_patients: tuple[str, ...]
    copies: tuple[CopyGroup, ...]
    strangers: tuple[Pair, ...]
    quantities: Mapping[str, Mapping[str, Estimate]]
    border: Mapping[str, Estimate]
    border_folds: int
    likeness: Mapping[str, Estimate]

    @property
    def split_copies(self) -> tuple[CopyGroup, ...]:
        """Groups of copies in two or more parts."""
        return tuple(group for group in self.copies if len(group.parts) > 1)

    @property
    def leaks(self) -> bool:
        """Whether a patient or a film stands in two parts."""
        return bool(self.split_patients or self.split_copies)


def audit(request: AuditRequest, progress: Steps = unseen) -> Audit:
    """Look at every film of a folder and at all of them together.

    Args:
        request: what to audit.
        progress: shows how far it is.

    Raises:
        UsageError: the folder, the split or the CSV cannot serve, or no film can be read.
    """
    listed, root = list_films(request.data, request.split, request.patients)
    with progress("Looking at films", len(listed)) as done:
        films = list(look_at_films(root, listed, done, jobs=request.jobs))
    seen = [(film, film.look) for film in films if film.look is not None]
    if not seen:
        raise UsageError(f"{request.data}: no film could be read; the first: {films[0].error}")
    hashes = np.stack([look.hash for _, look in seen])
    blank = {i for i, (_, look) in enumerate(seen) if look.blank}
    copies, copy_of, groups, strangers = _copies([film for film, _ in seen], hashes, blank)
    clusters = np.array([str(group) for group in groups])
    labels = [film.label for film, _ in seen]
    resamples = ClusterResamples(clusters, resamples=RESAMPLES, seed=request.seed)
    with progress("Reading the border alone", request.folds) as done:
        border, folds = _border(seen, clusters, request, resamples, done)
    return Audit(
        root=root,
        films=tuple(films),
        parts=tuple(dict.fromkeys(film.part for film in films)),
        classes=_classes(films, seen, clusters),
        damaged={film.path: film.error for film in films if film.look is None},
        left_out=unlisted_files(request.data, request.split),
        blank=tuple(film.path for film, look in seen if look.blank),
        changed=tuple(film.path for film in films if film.changed),
        unknown_patients=sum(not film.patient for film in films),
        split_patients=_several(films, lambda film: film.part),
        mixed_patients=tuple(_several(films, lambda film: film.label)),
        copies=copies,
        strangers=strangers,
        quantities=_quantities(seen, labels, resamples),
        border=border,
        border_folds=folds,
        likeness=likeness(seen, copy_of, groups, request.seed),
    )


def _several(
    films: Sequence[AuditedFilm], of: Callable[[AuditedFilm], str]
) -> dict[str, tuple[str, ...]]:
    """Patients whose films differ in something, with what they have of it."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for film in films:
        if film.patient:
            found[film.patient][of(film)] = None
    return {patient: tuple(values) for patient, values in found.items() if len(values) > 1}


def _copies(
    films: Sequence[AuditedFilm], hashes: NDArray[np.uint64], blank: set[int]
) -> tuple[tuple[CopyGroup, ...], list[int], list[int], tuple[Pair, ...]]:
    """Copies, which films are of them, which must not be parted (patient with copies), and the closest strangers."""
    shown = [i for i in range(len(films)) if i not in blank]
    close = [
        (shown[i], shown[j], distance)
        for i, j, distance in near_pairs(hashes[shown], STRANGERS_DISTANCE)
    ]
    first: dict[str, int] = {}
    same_bytes = [(first.setdefault(films[i].sha256, i), i) for i in shown]
    near = [(i, j) for i, j, distance in close if distance <= NEAR_DISTANCE]
    copy_of = merged(len(films), [*same_bytes, *near])
    members: dict[int, list[AuditedFilm]] = defaultdict(list)
    for film, group in zip(films, copy_of, strict=True):
        members[group].append(film)
    copies = tuple(
        CopyGroup(
            tuple(film.path for film in own),
            len({film.sha256 for film in own}) == 1,
            tuple(dict.fromkeys(film.patient for film in own)),
            tuple(dict.fromkeys(film.part for film in own)),
            tuple(dict.fromkeys(film.label for film in own)),
        )
        for own in members.values()
        if len(own) > 1
    )
    groups = inseparable([film.patient for film in films], copy_of)
    strangers = heapq.nsmallest(
        CLOSEST_STRANGERS,
        (
            (distance, i, j)
            for i, j, distance in close
            if distance > NEAR_DISTANCE and groups[i] != groups[j]
        ),
    )
    return (
        copies,
        copy_of,
        groups,
        tuple(Pair(films[i].path, films[j].path, distance) for distance, i, j in strangers),
    )


def _classes(
    films: Sequence[AuditedFilm],
    seen: Sequence[tuple[AuditedFilm, Look]],
    clusters: NDArray[np.str_],
) -> dict[str, ClassFacts]:
    facts = {}
    for label in sorted({film.label for film in films}):
        own = [film for film in films if film.label == label]
        counts = Counter(film.patient or film.path for film in own)
        place = np.array([film.label == label for film, _ in seen])
        values = {
            name: np.array([QUANTITIES[name](look) for _, look in seen])[place] for name in SHARES
        }
        facts[label] = ClassFacts(
            films=Counter(film.part for film in own),
            patients=len(counts),
            most=max(counts.values()),
            means={name: clustered_share(value, clusters[place]) for name, value in values.items()},
        )
    return facts


def _quantities(
    seen: Sequence[tuple[AuditedFilm, Look]], labels: Sequence[str], resamples: ClusterResamples
) -> dict[str, dict[str, Estimate]]:
    names = tuple(sorted(set(labels)))
    measured = {}
    for name, quantity in QUANTITIES.items():
        values = np.array([quantity(look) for _, look in seen])
        if values.min() < values.max():
            scores = np.repeat(values[:, None], len(names), axis=1)
            measured[name] = one_against_rest(names, scores, labels, resamples)
    return measured


def _border(
    seen: Sequence[tuple[AuditedFilm, Look]],
    clusters: NDArray[np.str_],
    request: AuditRequest,
    resamples: ClusterResamples,
    done: Callable[[], None],
) -> tuple[dict[str, Estimate], int]:
    """The shortcut score, in fewer folds where a class has few patients; none where it has one."""
    labels = [film.label for film, _ in seen]
    own = np.array(labels)
    fewest = min(len(np.unique(clusters[own == label])) for label in set(labels))
    folds = min(request.folds, fewest)
    if folds < 2 or len(set(labels)) < 2:
        return {}, 0
    features = np.stack([look.features for _, look in seen])
    names, scores = border_scores(
        features, labels, clusters, folds=folds, seed=request.seed, done=done
    )
    return one_against_rest(names, scores, labels, resamples), folds
