"""Splits by patient and by duplicate group, stratified by class, seeded, written to a file."""

from __future__ import annotations

import fnmatch
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from edge_xray.errors import UsageError
from edge_xray.labelled import LabelledFilm, Split, SplitFilm
from edge_xray.plural import counted

PARTS = ("train", "validation", "test")

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.1
"""Share of the films in each held-back part; the rest is trained on."""

HELD_OUT = "Held out for the test"
"""What the note of a split says of films that were kept for the test by their names."""

DRAWS = 20
"""Draws tried before a folder is said not to divide."""

NEAR = 0.25
"""How far from its share a part may end, as a part of the share, before another fold is looked for."""


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
        groups: (n,) group of each film, from `edge_xray_trainer.grouping.film_groups`.
        seed: of the draw.
        validation: share of the films for validation, 0 < share < 0.5.
        test: share of the films for the internal test, 0 < share < 0.5.
        note: how groups were found, for the file; which part is far from its share is added.

    Raises:
        UsageError: a share out of range, or too few groups of a class to have one in each part.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0.0 < share < 0.5:
            raise UsageError(
                f"the share of the part {name} must be more than 0 and less than 0.5, got {share}"
            )
    parts = np.full(len(films), "train", object)
    remaining = np.arange(len(films))
    labels = np.array([film.label for film in films])
    _require_patients(films, labels, groups, len(PARTS))
    for left, (name, share) in ((2, ("test", test)), (1, ("validation", validation))):
        # Shares are of the whole, and the earlier part is gone.
        folds = max(2, round(len(remaining) / (share * len(films))))
        wanted = share * len(films)
        drawn = _drawn(labels[remaining], groups[remaining], folds, wanted, seed, left)
        if abs(len(drawn) - wanted) > NEAR * wanted:
            note += _far_off(name, len(drawn) / len(films), share)
        parts[remaining[drawn]] = name
        remaining = np.delete(remaining, drawn)
    return _split(films, sha256, groups, parts, seed, note)


def _far_off(name: str, drawn: float, asked: float) -> str:
    return (
        f" The draw gave the part {name} {drawn:.1%} of the films where {asked:.1%} "
        "was asked for: what is of one group is not divided."
    )


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

    A fold that is far from its share of the films is added to the note.

    Raises:
        UsageError: fewer groups of a class than folds.
    """
    labels = np.array([film.label for film in films])
    if folds < 2:
        raise UsageError(f"expected at least 2 folds, got {folds}")
    _require_patients(films, labels, groups, folds)
    parts = np.empty(len(films), object)
    whole = len(np.unique(labels))
    for attempt in range(DRAWS):
        for index, drawn in enumerate(_folds(labels, groups, folds, seed + attempt)):
            parts[drawn] = f"fold{index}"
        if all(len(np.unique(labels[parts == name])) == whole for name in np.unique(parts)):
            break
    wanted = len(films) / folds
    for name, count in sorted(Counter(parts).items()):
        if abs(count - wanted) > NEAR * wanted:
            note += _far_off(name, count / len(films), 1 / folds)
    return _split(films, sha256, groups, parts, seed, note)


def deal_groups(
    labels: NDArray[np.str_], groups: NDArray[np.intp], seed: int
) -> NDArray[np.object_]:
    """Deal groups out to train, validation and test in the usual shares, classes in proportion.

    No part need get any: where the films are few, or of few groups, they are all for training.

    Args:
        labels: (n,) of each film.
        groups: (n,) of each film.
        seed: of the draw.

    Returns:
        (n,) the part of each film.
    """
    parts = np.full(len(labels), "train", object)
    count = round(1 / TEST_SHARE)
    most = max(Counter(labels.tolist()).values(), default=0)
    if min(most, len(np.unique(groups))) >= count:
        # The first folds get the largest groups: the nearest to their share are taken.
        folds = sorted(
            _folds(labels, groups, count, seed),
            key=lambda fold: abs(len(fold) - len(labels) / count),
        )
        parts[folds[0]], parts[folds[1]] = "test", "validation"
    return parts


def fold_as_split(folds: Split, test_fold: int) -> Split:
    """Use one fold as test, the next as validation and the others as train.

    Raises:
        UsageError: the split has no such fold, or too few.
    """
    count = len({film.part for film in folds.films})
    if count < len(PARTS):
        raise UsageError(f"expected at least 3 folds, one of them to train on, got {count}")
    folds.part(f"fold{test_fold}")
    names = {
        f"fold{test_fold}": "test",
        f"fold{(test_fold + 1) % count}": "validation",
    }
    films = tuple(replace(film, part=names.get(film.part, "train")) for film in folds.films)
    note = f"{folds.note} Fold {test_fold} of {count} is the test."
    return Split(folds.seed, films, note.strip())


def hold_out_films(split: Split, pattern: str) -> Split:
    """Keep the films of some file names out of training, as a stand-in for another hospital.

    Args:
        split: parts train, validation and test.
        pattern: shell pattern of file names, as ``NORMAL2-*``.

    Returns:
        A split in which matching films stand in the test alone, and films of the same classes that do
        not match stand in the test no more: they are trained on. Where a group has films of both kinds,
        those that do not match and would be parted from it are left out of the split: the test stays that
        of the other hospital, and nobody in it is learned from.

    Raises:
        UsageError: no film matches, or all films of a class do.
    """
    matches = [fnmatch.fnmatch(film.path.rsplit("/", 1)[-1], pattern) for film in split.films]
    labels = {film.label for film, held in zip(split.films, matches, strict=True) if held}
    in_test = {
        film.group
        for film, held in zip(split.films, matches, strict=True)
        if held or (film.part == "test" and film.label not in labels)
    }
    if not labels:
        raise UsageError(f"no film has a name like {pattern!r}; patterns are of file names")
    films = []
    for film, held in zip(split.films, matches, strict=True):
        if held:
            part = "test"
        else:
            part = "train" if film.label in labels and film.part == "test" else film.part
            if part != "test" and film.group in in_test:
                continue
        films.append(replace(film, part=part))
    note = f"{split.note} {HELD_OUT}: {pattern}."
    if len(films) < len(split.films):
        note += f" Left out, as films of the same patients: {len(split.films) - len(films)}."
    made = Split(split.seed, tuple(films), note)
    for label in sorted({film.label for film in split.films if film.part != "test"}):
        for part in ("train", "validation"):
            if not any(film.label == label and film.part == part for film in films):
                raise UsageError(
                    f"all films of class {label!r} for {part} have names like {pattern!r}, or are of "
                    "patients who have such films"
                )
    return made


def _folds(
    labels: NDArray[np.str_], groups: NDArray[np.intp], folds: int, seed: int
) -> list[NDArray[np.intp]]:
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # That a class has fewer films than there are folds is seen to here.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return [drawn for _, drawn in splitter.split(labels, labels, groups)]


def _drawn(
    labels: NDArray[np.str_],
    groups: NDArray[np.intp],
    folds: int,
    wanted: float,
    seed: int,
    left: int,
) -> NDArray[np.intp]:
    """Draw a part: one fold of so many, with a group at least of each class, and `left` not in it.

    The first fold that serves is taken if it has about the `wanted` films, else the nearest to it, of fewer
    folds too: the largest groups are dealt out first, so the first fold has the films of a patient who has
    very many, and the others have few where nearly all films are that patient's.

    A class with fewer groups than folds is not in every fold: groups of it change sides. Where that does
    not help, as its groups have films of other classes too, other draws are tried.

    Raises:
        UsageError: no draw would do.
    """
    place, own = np.unique(groups, return_inverse=True)
    names, kind = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(place), len(names)), int)
    np.add.at(counts, (own, kind), 1)
    folds = min(folds, int((counts > 0).sum(axis=0).max()))

    def off(drawn: NDArray[np.intp]) -> float:
        return abs(len(drawn) - wanted) / wanted

    for attempt in range(DRAWS):
        usable: list[NDArray[np.intp]] = []
        for fewer in range(folds, 1, -1):
            for fold in _folds(labels, groups, fewer, seed + attempt):
                inside = np.zeros(len(place), bool)
                inside[own[fold]] = True
                if _mend(inside, counts, left, np.random.default_rng(seed + attempt)):
                    usable.append(np.flatnonzero(inside[own]))
                    if off(usable[0]) <= NEAR:
                        return usable[0]
            if not usable or off(min(usable, key=off)) <= NEAR:
                break
        if usable:
            return min(usable, key=off)
    raise UsageError(
        f"no draw gives each part films of all the classes {names.tolist()}: too few patients, or their films "
        "are of several classes; add films of other patients, or leave a class out"
    )


def _mend(
    inside: NDArray[np.bool_],
    counts: NDArray[np.intp],
    left: int,
    generator: np.random.Generator,
) -> bool:
    """Move the fewest films to where their class has too few groups; whether that came out.

    Args:
        inside: (groups,) bool, which are drawn; changed in place.
        counts: (groups, classes) films.
        left: groups of each class that must not be drawn.
        generator: decides between groups of equally many films.
    """
    has = counts > 0
    for _ in range(2 * has.shape[1] + 1):
        short = has[inside].sum(axis=0) < 1
        over = has[~inside].sum(axis=0) < left
        if not short.any() and not over.any():
            return True
        wanted = (
            has[:, short].any(axis=1) & ~inside if short.any() else has[:, over].any(1) & inside
        )
        if not wanted.any():
            return False
        candidates = generator.permutation(np.flatnonzero(wanted))
        moved = candidates[counts[candidates].sum(axis=1).argmin()]
        inside[moved] = not inside[moved]
    return False


def _require_patients(
    films: Sequence[LabelledFilm], labels: NDArray[np.str_], groups: NDArray[np.intp], wanted: int
) -> None:
    """Refuse a class with fewer patients (groups) than wanted."""
    patients = {str(label): len(np.unique(groups[labels == label])) for label in np.unique(labels)}
    label, least = min(patients.items(), key=lambda item: item[1])
    if least < wanted:
        named = len({film.patient or film.path for film in films if film.label == label})
        joined = f", as copies join {named} to these: edge-xray audit shows them" * (named > least)
        raise UsageError(
            f"class {label!r} has films of {counted(least, 'patient')} only{joined}; expected at least {wanted}, so that "
            "each part gets one. Add films, use fewer folds, or leave the class out"
        )


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
                    f"the part {part} got no film of class {label!r}: too few patients, or their films are of "
                    "several classes; add films of other patients, use fewer folds, or leave the class out"
                )
    return Split(
        seed,
        tuple(
            SplitFilm(film.path, film.label, film.patient, f"g{group}", digest, str(part))
            for film, digest, group, part in zip(films, sha256, groups, parts, strict=True)
        ),
        note,
    )
