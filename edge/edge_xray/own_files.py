"""What the kit itself writes into a results folder: its names, and how to tell them from films.

A results folder may hold films as well: an answer to "which of these files are ours" goes by the mark, the
place and the whole name of each file, so that no film of a clinic is left out, replaced or removed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from edge_xray.durable import LOCK_NAME

DEFAULT_FOLDER: Final = "edge-xray-results"
"""Where results go when nobody says."""

RESULTS_MARK: Final = ".edge-xray-results"
"""A file of this name marks a folder as results of this kit."""

JOURNAL_NAME: Final = "journal.jsonl"
PICTURES: Final = "pictures"
HEATMAPS: Final = "heatmaps"
EARLIER: Final = "earlier"

NAME_HASH_DIGITS: Final = 12
"""Hexadecimal digits of a film's hash in the name of its overlay."""

REPORT: Final = re.compile(r"results(-\d+)?\.(html|csv|jsonl|txt)")
_PICTURE: Final = re.compile(r"[0-9a-f]{64}\.jpg")
_TEMPORARY: Final = re.compile(r"\.(.+)\.\d+\.tmp")
_OVERLAY: Final = re.compile(rf".+-[0-9a-f]{{{NAME_HASH_DIGITS}}}\.png")


def picture_name(sha256: str) -> str:
    """File name of the report's picture of a film, which is known by its content."""
    return f"{sha256}.jpg"


def overlay_name(name: str, sha256: str) -> str:
    """File name of a film with its heat map.

    Args:
        name: of the film, fit for a file name.
        sha256: of its content.
    """
    return f"{name}-{sha256[:NAME_HASH_DIGITS]}.png"


def temporary_name(name: str, worker: int) -> str:
    """File name of a picture while a worker writes it."""
    return f".{name}.{worker}.tmp"


def results_folder_of(path: Path) -> Path | None:
    """The folder that would have to be a results folder for a file to be one of the kit's own.

    Args:
        path: of the file; only its names are looked at.

    Returns:
        None if the kit calls no file so.
    """
    name, folder = path.name, path.parent
    if name in (JOURNAL_NAME, LOCK_NAME):
        return folder
    if REPORT.fullmatch(name):
        return folder.parent.parent if folder.parent.name == EARLIER else folder
    if (folder.name == PICTURES and _PICTURE.fullmatch(name)) or (
        folder.name == HEATMAPS and _OVERLAY.fullmatch(name)
    ):
        return folder.parent
    return None


def is_own(path: Path) -> bool:
    """Whether a file was written by the kit: called so, and in a folder with the mark."""
    folder = results_folder_of(path)
    return folder is not None and (folder / RESULTS_MARK).exists()


def is_unfinished(path: Path) -> bool:
    """Whether a file is a picture of the kit's that was being written, as when the power went."""
    named = _TEMPORARY.fullmatch(path.name)
    return named is not None and is_own(path.parent / named[1])
