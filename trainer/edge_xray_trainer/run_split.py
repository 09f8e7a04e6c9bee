"""Which split a run works on: settled and checked before anything is written, then kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from edge_xray.errors import UsageError
from edge_xray.film_table import films_of_folder
from edge_xray.labelled import (
    KAGGLE_FOLDERS,
    Split,
    SplitFilm,
    check_split,
    labelled_otherwise,
    labelled_root,
    named_patient,
)
from edge_xray.labelled_files import class_folders, files_below
from edge_xray.plural import counted
from edge_xray.progress import silent
from edge_xray.walk import printable
from edge_xray_trainer.grouping import draw_split
from edge_xray_trainer.progress import Progress
from edge_xray_trainer.splits import HELD_OUT, fold_as_split


def choose_split(
    data: Path,
    *,
    kept: Path | None,
    may_draw_again: bool,
    given: Path | None = None,
    test_fold: int | None = None,
    patients: Path | None = None,
    seed: int | None = None,
    progress: Progress = silent,
    note: Callable[[str], None] = silent,
) -> Split:
    """The split that is given, or the one that the run's folder keeps, or a new one.

    Args:
        data: the labelled folder.
        kept: the split file of the run's folder; None where there is none, or it will be thrown away.
        may_draw_again: whether a kept split that was drawn otherwise may be replaced: no run used it.
        given: a split file to use.
        test_fold: which fold of the given file is the test; None where it has parts.
        patients: a CSV that names patients or labels.
        seed: of the draw; None takes that of the split there is, or 0.
        progress: told of each film read, where a split is drawn.
        note: told how groups were found, where a split is drawn, and else how many films it does not name.

    Raises:
        UsageError: the split does not fit the films or what is asked for, or parts a group.
    """
    source = given or kept
    if test_fold is not None and given is None:
        raise UsageError("--test-fold says which fold of a split file is the test: add --split")
    if test_fold is not None and given and kept and given.exists() and given.samefile(kept):
        raise UsageError(
            f"{given}: would be replaced by the split of fold {test_fold}; keep the folds in another folder"
        )
    if source is not None:
        split = _read(source, test_fold)
        other = _otherwise(split, source, data, patients, seed)
        if not other:
            try:
                check_split(split, labelled_root(data), ("train", "validation"))
            except UsageError as error:
                if given is not None:
                    raise
                raise UsageError(
                    f"{error}. The split is {source}: for other films choose another folder with -o"
                ) from error
            _refuse_parted(split, source)
            _refuse_lacking(split, source)
            if unknown := _unknown_films(split, labelled_root(data)):
                note(
                    f"Left out, as not in {source.name}: {counted(len(unknown), 'film')} of the folder, the first "
                    f"{printable(unknown[0])}. To learn from them too, and test on the same films as now: edge-xray split --extend."
                )
            return split
        if given is not None or not may_draw_again or HELD_OUT in split.note:
            raise UsageError(other)
    split = draw_split(data, seed=seed or 0, patients=patients, progress=progress)
    note(split.note)
    return split


def write_split(split: Split, path: Path) -> None:
    """Keep a run's split, unless the file says so already."""
    with suppress(UsageError):  # a broken file is no split
        if path.exists() and Split.read(path) == split:
            return
    split.write(path)


def _read(source: Path, test_fold: int | None) -> Split:
    split = Split.read(source)
    folds = {film.part for film in split.films if film.part.startswith("fold")}
    if test_fold is not None:
        if not folds:
            raise UsageError(f"{source}: --test-fold is for a file of `edge-xray split --folds`")
        return fold_as_split(split, test_fold)
    if folds:
        raise UsageError(
            f"{source}: holds {len(folds)} folds; say which is the test: --test-fold 0 to {len(folds) - 1}"
        )
    return split


def _otherwise(
    split: Split, source: Path, data: Path, patients: Path | None, seed: int | None
) -> str:
    """How the split was made otherwise than is asked for, with what to do; empty if it was not."""
    advice = "leave the option out, or choose another folder with -o, or begin again with --restart"
    if seed is not None and seed != split.seed:
        return f"--split-seed {seed}: {source} was drawn with the seed {split.seed}; {advice}"
    if patients is not None:
        other = labelled_otherwise(split, films_of_folder(data, patients))
        if other:
            return (
                f"--patients {patients}: {source} was made with other patients or labels, the first "
                f"{other}; {advice}"
            )
    return ""


def _unknown_films(split: Split, root: Path) -> list[str]:
    known = {film.path for film in split.films}
    there = (
        path.relative_to(root).as_posix()
        for name in class_folders(root)
        for path, film in files_below(root / name)
        if film
    )
    return sorted(set(there) - known)


def _refuse_parted(split: Split, source: Path) -> None:
    found: dict[str, dict[str, None]] = defaultdict(dict)
    kaggle = {film.path.rpartition("/")[0] for film in split.films} >= KAGGLE_FOLDERS
    for film in split.films:
        for name in _belongs(film, kaggle):
            found[name][film.part] = None
    for name, parts in found.items():
        if len(parts) > 1:
            raise UsageError(
                f"{source}: {name} stands in {' and '.join(parts)}, so the model would be measured on "
                "what it learned from; split again: edge-xray split"
            )


def _refuse_lacking(split: Split, source: Path) -> None:
    for part in ("train", "validation"):
        lacking = {film.label for film in split.films} - {
            film.label for film in split.films if film.part == part
        }
        if lacking:
            raise UsageError(
                f"{source}: its part {part} has no film of {', '.join(sorted(lacking))}; split again: "
                "edge-xray split"
            )


def _belongs(film: SplitFilm, kaggle: bool) -> Iterator[str]:
    """Whatever no split may part and this film is one of, in words."""
    who = film.patient or (named_patient(film.path) if kaggle else "")
    if who:
        yield f"the patient {who}"
    if film.group:
        yield f"the group {film.group}"
