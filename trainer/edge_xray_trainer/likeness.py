"""Whether films in one patient's name are of one patient: they should be more alike than those of strangers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import clustered_mean
from edge_xray.operating_point import Estimate
from edge_xray_trainer.audit_films import AuditedFilm, Look

LIKENESS_PAIRS = 20_000
"""Pairs of strangers that are drawn, and of films of one patient, where there are more, in each kind."""

LIKENESS_BLOCK = 1000
"""Pairs that are compared at once: 4 MB of pixels for each of the two films."""


def likeness(
    seen: Sequence[tuple[AuditedFilm, Look]],
    copies: Sequence[int],
    groups: Sequence[int],
    seed: int,
) -> dict[str, Estimate]:
    """Whether films said to be of one patient are more alike than films of two.

    If a patient's number stands for one child in each class, films of one number in two classes are no
    more alike than those of strangers.

    Args:
        seen: the films that can be read, and how they look.
        copies: for each the number of its group of copies, byte for byte or saved again.
        groups: for each the number of what must not be parted, a patient with copies.
        seed: of the draws.

    Returns:
        Mean correlation at 32x32 of pairs that are no copies, by kind: ``one patient, one class``, ``one
        patient, two classes``, ``two patients``; empty if no patient has several films.
    """
    small = np.stack([look.small for _, look in seen]).reshape(len(seen), -1).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), np.finfo(np.float32).eps)
    of_patient: dict[str, list[int]] = defaultdict(list)
    for index, (film, _) in enumerate(seen):
        if film.patient:
            of_patient[film.patient].append(index)
    patients = [np.array(members) for members in of_patient.values()]
    films = [film for film, _ in seen]
    same, mixed = (
        _pairs_within(patients, films, copies, one, np.random.default_rng([seed, one]))
        for one in (True, False)
    )
    if not len(same) and not len(mixed):
        return {}
    draw = np.random.default_rng(seed)
    drawn = draw.integers(0, len(seen), (LIKENESS_PAIRS, 2))
    own = np.array(groups)
    strangers = drawn[own[drawn[:, 0]] != own[drawn[:, 1]]]
    measured = {}
    for name, which in (
        ("one patient, one class", same),
        ("one patient, two classes", mixed),
        ("two patients", strangers),
    ):
        if len(which):
            alike = [
                (small[block[:, 0]] * small[block[:, 1]]).sum(axis=1)
                for block in np.split(which, range(LIKENESS_BLOCK, len(which), LIKENESS_BLOCK))
            ]
            measured[name] = clustered_mean(np.concatenate(alike), own[which[:, 0]])
    return measured


def _pairs_within(
    patients: Sequence[NDArray[np.intp]],
    films: Sequence[AuditedFilm],
    copies: Sequence[int],
    one_class: bool,
    draw: np.random.Generator,
) -> NDArray[np.intp]:
    """Pairs of films of one patient that are no copies: all of them, or `LIKENESS_PAIRS` drawn.

    Args:
        patients: of each the films' places.
        films: all films.
        copies: of each the number of its group of copies.
        one_class: whether the two are of one class, or of two.
        draw: chooses, where there are more.

    Returns:
        (pairs, 2), each pair once. A series of n slices has n² / 2 pairs, which are never held at once.
    """
    label = np.unique([film.label for film in films], return_inverse=True)[1]
    # Blank films are in no group of copies.
    content = np.unique([film.sha256 for film in films], return_inverse=True)[1]
    copy = np.array(copies)

    def partners(members: NDArray[np.intp], place: int) -> NDArray[np.intp]:
        first, later = members[place], members[place + 1 :]
        fits = (label[later] == label[first]) == one_class
        other = (content[later] != content[first]) & (copy[later] != copy[first])
        found: NDArray[np.intp] = later[fits & other]
        return found

    firsts = [(members, place) for members in patients for place in range(len(members))]
    ends = np.cumsum([len(partners(*first)) for first in firsts], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    chosen: NDArray[np.int64] = np.arange(total, dtype=np.int64)
    if total > LIKENESS_PAIRS:
        chosen = np.sort(draw.choice(total, LIKENESS_PAIRS, replace=False))
    pairs: list[tuple[int, int]] = []
    which = np.searchsorted(ends, chosen, side="right")
    for index, begin in zip(*np.unique(which, return_index=True), strict=True):
        members, place = firsts[index]
        found = partners(members, place)
        ranks = chosen[begin : np.searchsorted(which, index, side="right")] - (
            ends[index] - len(found)
        )
        pairs += [(members[place], second) for second in found[ranks]]
    return np.array(pairs, np.intp).reshape(-1, 2)
