"""Finding films: a folder is walked as a stream, and nothing outside it is ever opened.

Every regular file below a folder is taken for a film, whatever its name: content decides later, and
a file that is no film gets a row that says so. Left out are names that begin with a dot, what an
operating system or a DICOM disc leaves beside films (`LITTER`), and the kit's own results folders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LITTER: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir"})
"""Files, in lower case, that stand beside films and are none; ``DICOMDIR`` is a disc's index."""

RESULTS_MARK: Final = ".edge-xray-results"
"""A file of this name marks a folder as results of this kit."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is to be scored, or why it cannot be.

    Attributes:
        path: to open.
        shown: the same as printable text: what rows and reports call it.
        reason: empty, or the stable word for why it is not opened.
        message: that in plain words.
    """

    path: Path
    shown: str
    reason: str = ""
    message: str = ""


def printable(path: Path | str) -> str:
    """A path as text that any output can hold: undecodable bytes and controls as escapes.

    Two different paths never give the same text, unless a name holds the escape itself.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def without_repeats(paths: Iterable[Path], *, recursive: bool = True) -> list[Path]:
    """Leave out paths that are named twice, or that a named folder holds anyway.

    Args:
        paths: files and folders, as named.
        recursive: whether folders within folders are walked.
    """
    named = list(dict.fromkeys(paths))
    folders = {path for path in named if path.is_dir()}

    def held(path: Path) -> bool:
        for parent in path.parents:
            inside = path.relative_to(parent).parts
            if parent in folders and (recursive or (len(inside) == 1 and path not in folders)):
                return not any(_is_litter(part) for part in inside) and not path.is_symlink()
        return False

    return [path for path in named if not held(path)]


def find_films(
    paths: Iterable[Path],
    *,
    recursive: bool = True,
    exclude: Path | None = None,
) -> Iterator[Found]:
    """Walk files and folders, in the order given; within a folder in the order of the disk.

    A link to a file within the folder is taken as a file; one that leaves the folder, leads nowhere
    or round in a circle is found with a reason. Linked folders within the folder are not entered:
    they are walked under their own name.

    Args:
        paths: files and folders. One that is missing is found with a reason.
        recursive: also what lies in folders within the folders.
        exclude: a folder that is not entered: the one results are written to.
    """
    for path in paths:
        try:
            info = path.stat()
        except OSError as error:
            yield _problem(path, *_why_unreadable(error))
            continue
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(path, os.path.realpath(path), recursive, exclude)
        elif stat.S_ISREG(info.st_mode):
            yield Found(path, printable(path))
        else:
            yield _problem(path, "not_a_file", "it is neither a file nor a folder")


def _walk(folder: Path, root: str, recursive: bool, exclude: Path | None) -> Iterator[Found]:
    """Depth first without recursion; at most one open directory a level."""
    open_folders: list[tuple[Path, Iterator[os.DirEntry[str]]]] = []

    def enter(path: Path) -> Iterator[Found]:
        try:
            open_folders.append((path, os.scandir(path)))
        except OSError as error:
            yield _problem(path, *_why_unreadable(error))

    yield from enter(folder)
    while open_folders:
        current, entries = open_folders[-1]
        try:
            entry = next(entries, None)
        except OSError as error:
            # The drive was pulled out, or the disk cannot read this folder's list to its end.
            yield _problem(current, *_why_unreadable(error))
            entry = None
        if entry is None:
            open_folders.pop()
            continue
        if _is_litter(entry.name):
            continue
        path = Path(entry.path)
        try:
            if entry.is_symlink():
                yield from _follow(path, root)
            elif entry.is_dir():
                if recursive and not _is_results(path, exclude):
                    yield from enter(path)
            elif entry.is_file():
                yield Found(path, printable(path))
        except OSError as error:
            yield _problem(path, *_why_unreadable(error))


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _is_results(folder: Path, exclude: Path | None) -> bool:
    if (folder / RESULTS_MARK).exists():
        return True
    if exclude is None:
        return False
    try:
        return folder.samefile(exclude)
    except OSError:
        return False


def _follow(path: Path, root: str) -> Iterator[Found]:
    try:
        target = os.path.realpath(path, strict=True)
        info = Path(target).stat()
    except OSError as error:
        yield _problem(
            path, "broken_link", f"a link that leads nowhere ({error.strerror or error})"
        )
        return
    if os.path.commonpath([root, target]) != root:
        yield _problem(
            path, "link_outside", "a link out of the folder, not followed; copy the film into it"
        )
    elif stat.S_ISREG(info.st_mode):
        yield Found(Path(target), printable(path))


def _problem(path: Path, reason: str, message: str) -> Found:
    return Found(path, printable(path), reason, message)


def _why_unreadable(error: OSError) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return "missing", "there is no such file; check the name, or the drive"
    return (
        "unreadable",
        f"it cannot be read ({error.strerror or error}); check its permissions and the disk",
    )
