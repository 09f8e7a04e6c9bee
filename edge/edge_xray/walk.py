"""Finding films: a folder is walked as a stream, and nothing outside it is ever opened.

Every regular file below a folder is taken for a film, whatever its name: content decides later, and
a file that is no film gets a row that says so. Left out are names that begin with a dot, what an
operating system or a DICOM disc leaves beside films (`LITTER`), and the kit's own files (`own_files`).
"""

from __future__ import annotations

import glob
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_xray.own_files import is_own

REASONS: Final = {
    "broken_link": "a link that leads nowhere, or round in a circle",
    "link_outside": "a link out of the folder that is scanned; it is not followed",
    "missing": "there is no such file, or it is gone",
}
"""Reasons for a file that was not found where it was looked for, with what they mean."""

LITTER: Final = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir"),
        *("$recycle.bin", "system volume information", "lost+found"),
    }
)
"""What stands beside films and is none, in lower case: ``DICOMDIR`` is a disc's index; films in the bin that Windows
keeps on a drive are deleted ones, and two folders of a drive's root nobody may look into."""

JUNCTION: Final = 0xA0000003
"""Reparse tag of a folder's other name on Windows (``IO_REPARSE_TAG_MOUNT_POINT``), or of a mounted drive."""

_VERBATIM: Final = "\\\\?\\"
_DEVICES: Final = "\\\\.\\"
"""How a path begins that Windows takes to the letter, and one that names a device."""


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

    Two different paths never give the same text: a backslash is escaped too, but on Windows, where it
    parts folders and no name has one.
    """
    data = os.fsencode(path)
    if os.sep != "\\":
        data = data.replace(b"\\", rb"\\")
    text = data.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def one_line(text: str) -> str:
    """A message with any controls as escapes: a name in it may hold a line feed, or what paints a terminal."""
    return "".join(_escape(char) if unicodedata.category(char) == "Cc" else char for char in text)


def _escape(char: str) -> str:
    if "\x80" <= char <= "\xff":
        return f"\\u{ord(char):04x}"  # \x80 is an undecodable byte
    return char.encode("unicode_escape").decode("ascii")


def full_path(path: Path) -> Path:
    """One name for a path however it was spelled; a link keeps its own, as it may be turned elsewhere."""
    if os.name == "nt":
        return Path(os.path.abspath(path))  # noqa: PTH100 - knows ``E:``, the folder in use on that drive
    try:
        return Path(os.path.realpath(path)) if ".." in path.parts else path.absolute()
    except FileNotFoundError:  # this process's own folder was removed
        return path


def with_wildcards(paths: Iterable[Path]) -> list[Path]:
    """Paths with ``*`` and ``?`` resolved, which the shells of Windows leave to the program; elsewhere as they are.

    One that nothing fits stays as it is.
    """
    named: list[Path] = []
    for path in paths:
        text = os.path.splitdrive(path)[1]
        fitting: list[str] = []
        if os.name == "nt" and ("*" in text or "?" in text):
            fitting = sorted(glob.glob(str(path).replace("[", "[[]")))  # noqa: PTH207 - from any root
        named += [Path(name) for name in fitting] or [path]
    return named


def without_repeats(paths: Iterable[Path], *, recursive: bool = True) -> list[Path]:
    """Leave out paths that are named twice, however spelled, or that a named folder holds anyway.

    Args:
        paths: files and folders, as named; of two spellings the first is kept.
        recursive: whether folders within folders are walked.
    """
    named: dict[Path, Path] = {}
    for path in paths:
        named.setdefault(full_path(path), path)
    folders = {path for path in named if os.path.isdir(path)}  # noqa: PTH112 - never raises

    def held(path: Path) -> bool:
        linked = os.path.islink(path)  # noqa: PTH114 - never raises
        for parent in path.parents:
            inside = path.relative_to(parent).parts
            if parent in folders and (recursive or (len(inside) == 1 and path not in folders)):
                return not linked and not any(is_litter(part) for part in inside)
            linked = linked or os.path.islink(parent)  # noqa: PTH114 - never raises
        return False

    return [spelled for path, spelled in named.items() if not held(path)]


def find_films(
    paths: Iterable[Path],
    *,
    recursive: bool = True,
) -> Iterator[Found]:
    """Walk files and folders, in the order given; a folder's files, then the folders in it.

    A link to a file within the folder is taken as a file; one that leaves the folder, leads nowhere
    or round in a circle is found with a reason. Linked folders within the folder are not entered:
    they are walked under their own name.

    Args:
        paths: files and folders. One that is missing is found with a reason.
        recursive: also what lies in folders within the folders.
    """
    for path in paths:
        try:
            info = path.stat()
        except OSError as error:
            yield _problem(path, *_why_unreadable(error))
            continue
        if stat.S_ISDIR(info.st_mode):
            yield from _walk(path, os.path.realpath(path), recursive)
        elif stat.S_ISREG(info.st_mode):
            yield Found(path, printable(path))
        else:
            yield _problem(path, "not_a_file", "it is neither a file nor a folder")


def openable(path: Path) -> Path:
    """The same path for Windows to open to the letter, which any other system does anyway.

    Of a plain one it leaves off dots and spaces at the end of a name, takes ``aux.dcm`` for a device, and
    finds nothing where it is longer than 259 characters.
    """
    if os.name != "nt":
        return path
    full = os.path.normpath(path) if path.is_absolute() else os.path.abspath(path)  # noqa: PTH100 - knows ``E:``
    if full.startswith((_VERBATIM, _DEVICES)):
        return path
    return Path(f"{_VERBATIM}UNC{full[1:]}" if full.startswith("\\\\") else f"{_VERBATIM}{full}")


def _walk(folder: Path, root: str, recursive: bool) -> Iterator[Found]:
    """One folder open at a time, however deep they lie; of those to come, the paths are kept."""
    waiting = [(folder, openable(folder))]
    while waiting:
        current, opened = waiting.pop()
        within: list[tuple[Path, Path]] = []
        try:
            for entry in os.scandir(opened):
                yield from _entry(entry, current, root, within)
        except OSError as error:
            # Not to be opened, the drive was pulled out, or the disk cannot read the list to its end.
            yield Found(opened, printable(current), *_why_unreadable(error))
        if recursive:
            waiting += reversed(within)


def _entry(
    entry: os.DirEntry[str], folder: Path, root: str, folders: list[tuple[Path, Path]]
) -> Iterator[Found]:
    """What is found in one entry of `folder`; a folder in it is added to `folders`, as it is called and as it is opened."""
    if is_litter(entry.name):
        return
    opened = Path(entry.path)
    path = folder / entry.name if os.name == "nt" else opened
    try:
        if entry.is_symlink():
            yield from _follow(path, root)
        elif entry.is_dir():
            if _is_junction(entry):
                yield from _follow(path, root)
            else:
                folders.append((path, opened))
        elif entry.is_file() and not is_own(opened):
            yield Found(opened, printable(path))
    except OSError as error:
        yield Found(opened, printable(path), *_why_unreadable(error))


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Whether a folder is a link that `is_symlink` does not tell; only Windows has such."""
    return getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0) == JUNCTION


def is_litter(name: str) -> bool:
    """Whether a file or folder of that name stands beside films and is passed over, as a hidden one is."""
    return name.startswith(".") or name.lower() in LITTER


def _follow(path: Path, root: str) -> Iterator[Found]:
    try:
        target = os.path.realpath(path, strict=True)
        info = Path(target).stat()
    except OSError as error:
        yield _problem(
            path, "broken_link", f"a link that leads nowhere ({error.strerror or error})"
        )
        return
    if not _is_within(target, root):
        yield _problem(
            path, "link_outside", "a link out of the folder, not followed; copy the film into it"
        )
    elif stat.S_ISREG(info.st_mode):
        yield Found(Path(target), printable(path))


def _is_within(target: str, root: str) -> bool:
    try:
        return os.path.commonpath([root, target]) == root
    except ValueError:
        # Two drives of Windows have no path in common.
        return False


def _problem(path: Path, reason: str, message: str) -> Found:
    return Found(path, printable(path), reason, message)


def _why_unreadable(error: OSError) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return "missing", "there is no such file; check the name, or the drive"
    return (
        "unreadable",
        f"it cannot be read ({error.strerror or error}); check its permissions and the disk",
    )
