"""A split that goes on with more films: what was held back stays held back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray.labelled import LabelledFilm, Split, SplitFilm, labelled_otherwise
from edge_xray.plural import counted
from edge_xray.walk import printable
from edge_xray_trainer.splits import HELD_OUT, PARTS, deal_groups


def extend_split(
    old: Split,
    films: Sequence[LabelledFilm],
    sha256: Sequence[str],
    groups: NDArray[np.intp],
    *,
    seed: int,
    note: str = "",
) -> Split:
    """Put films into the parts that an earlier split has them in, and deal out the new ones.

    A film is known by its content, or else by its path. New films of its group, by patient or copy, go with
    it, those of a patient whose earlier films are gone too; new groups are dealt out in the usual shares.

    Args:
        old: the earlier split, with the parts train, validation and test.
        films: the films that there are now.
        sha256: hash of each film's bytes.
        groups: (n,) group of each film, from `edge_xray_trainer.grouping.film_groups`.
        seed: of the draw of the new groups.
        note: how groups were found, for the file.

    Raises:
        UsageError: the earlier split has other parts, none of its films is there, patients or labels are not
            those that it was made with, or films of two of its parts are of one group now.
    """
    if {film.part for film in old.films} - set(PARTS) or HELD_OUT in old.note:
        raise UsageError(
            "--extend goes on with train, validation and test; split folds, and what was made with --hold-out, anew"
        )
    if other := labelled_otherwise(old, films):
        raise UsageError(
            f"the split to extend was made with other patients or labels, the first {other}; give the same table "
            "with --patients, with lines for the new films"
        )
    by_path = {film.path: film for film in old.films}
    by_content = {film.sha256: film for film in old.films}
    by_patient = {film.patient: film for film in old.films if film.patient}
    kept: dict[int, SplitFilm] = {}
    found = set()
    for film, digest, group in zip(films, sha256, groups.tolist(), strict=True):
        own = by_path.get(film.path)
        if own is None or own.sha256 != digest:
            own = by_content.get(digest, own)
        if own is not None:
            found.add(own.path)
        else:
            own = by_patient.get(film.patient)
        if own is None:
            continue
        first = kept.setdefault(group, own)
        if own.part != first.part:
            raise UsageError(
                f"{first.path} ({first.part}) and {own.path} ({own.part}) are of one patient or copies now, maybe by "
                "a new film, so the test would be of what is learned from: leave that film out (edge-xray audit "
                "shows copies), or split anew without --extend"
            )
    if not found:
        raise UsageError(
            "none of the films of the split to extend is in the folder; name the folder with the old films and the new"
        )
    new = np.array([group not in kept for group in groups.tolist()])
    parts = np.array(
        [kept[group].part if group in kept else "" for group in groups.tolist()], object
    )
    parts[new] = deal_groups(np.array([film.label for film in films])[new], groups[new], seed)
    added = len(films) - len(found)
    note += f" Extends a split of {counted(len(old.films), 'film')} by {counted(added, 'film')}."
    gone = [film.path for film in old.films if film.path not in found]
    if gone:
        note += f" No longer there: {counted(len(gone), 'film')}, the first {printable(gone[0])}."
    return Split(
        seed,
        tuple(
            SplitFilm(film.path, film.label, film.patient, f"g{group}", digest, str(part))
            for film, digest, group, part in zip(films, sha256, groups, parts, strict=True)
        ),
        note.strip(),
    )
