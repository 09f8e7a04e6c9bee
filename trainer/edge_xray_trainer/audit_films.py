"""What an audit knows of each film: where it stands, what it holds, how it looks from far away."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.decode import decode
from edge_xray.errors import FilmError, UsageError
from edge_xray.film_file import read_file
from edge_xray.film_table import read_labels
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import (
    LabelledFilm,
    Split,
    files_left_out,
    labelled_root,
    read_labelled_folder,
)
from edge_xray.labelled_files import part_folders
from edge_xray.preprocess import preprocess
from edge_xray.quality import COLOUR_REFUSED, is_blank
from edge_xray_trainer.duplicates import HASH_SIDE, film_hash
from edge_xray_trainer.scoring import WHOLE_FOLDER
from edge_xray_trainer.shortcut import BORDER_SIDE, border_features

AUDIT_SPEC = InputSpec(BORDER_SIDE, BORDER_SIDE)
"""Films are looked at in grey at 224x224, as most networks take them."""

DARK = 10
"""Grey level up to which a pixel of the border counts as dark: collimated, padded or cut off."""


@dataclass(frozen=True, eq=False)
class Look:
    """How a film looks from far away.

    Attributes:
        kind: format and mode of the file, such as ``JPEG L``.
        width: columns in the file.
        height: rows in the file.
        size: of the file, in bytes.
        brightness: mean grey level, 0..1 of white.
        contrast: standard deviation of the grey levels, 0..1 of white.
        border: mean grey level of the border, 0..1 of white.
        dark_border: share of the border's pixels up to `DARK`.
        blank: whether it shows next to nothing.
        hash: uint64, (4,), from `edge_xray_trainer.duplicates.film_hash`.
        features: float32, (k,), from `edge_xray_trainer.shortcut.border_features`.
        small: uint8, (32, 32): the film, for comparing any two.
        in_colour: whether it is in colour, of which only the greys are looked at.
    """

    kind: str
    width: int
    height: int
    size: int
    brightness: float
    contrast: float
    border: float
    dark_border: float
    blank: bool
    hash: NDArray[np.uint64]
    features: NDArray[np.float32]
    small: NDArray[np.uint8]
    in_colour: bool = False


@dataclass(frozen=True, eq=False)
class AuditedFilm:
    """One file of a labelled folder.

    Attributes:
        path: relative to the folder that is audited.
        label: class name.
        patient: who it is of; empty where unknown.
        part: of the split, or ``all``.
        sha256: of the file's bytes; empty if it cannot be read.
        look: None if the film cannot be decoded.
        error: why not; empty if it can.
        changed: whether its bytes are others than those that were split.
    """

    path: str
    label: str
    patient: str
    part: str
    sha256: str = ""
    look: Look | None = None
    error: str = ""
    changed: bool = False


def list_films(
    data: Path, split: Path | None, patients: Path | None
) -> tuple[list[tuple[LabelledFilm, str, str]], Path]:
    """List films with the part that each is in.

    Args:
        data: a labelled folder, or one that holds such folders named ``train``, ``test``, ….
        split: a split of it; None takes the parts from the folders.
        patients: a CSV that names patients or labels; its paths are relative to the returned folder.

    Returns:
        ``([(film, part, sha256 in the split or empty)], folder that paths are relative to)``.

    Raises:
        UsageError: the folder, the split or the CSV cannot serve.
    """
    if split is not None:
        root = labelled_root(data)
        listed = [
            (LabelledFilm(film.path, film.label, film.patient), film.part, film.sha256)
            for film in Split.read(split).films
        ]
    else:
        root, listed = _list_folders(data)
    if patients is not None:
        named = {film.path: film for film in read_labels(patients, [film for film, *_ in listed])}
        listed = [(named[film.path], part, digest) for film, part, digest in listed]
    return listed, root


def _list_folders(data: Path) -> tuple[Path, list[tuple[LabelledFilm, str, str]]]:
    parts = part_folders(data) if data.is_dir() else []
    if not parts:
        return data, [(film, WHOLE_FOLDER, "") for film in read_labelled_folder(data)]
    listed = [
        (replace(film, path=f"{part.name}/{film.path}"), part.name, "")
        for part in parts
        for film in read_labelled_folder(part, fewest=1)
    ]
    labels = {film.label for film, *_ in listed}
    if len(labels) < 2:
        raise UsageError(
            f"{data}: expected at least two classes (one folder each), found {sorted(labels)} in "
            f"{', '.join(part.name for part in parts)}"
        )
    return data, listed


def unlisted_files(data: Path, split: Path | None) -> tuple[str, ...]:
    """Files in the class folders that `list_films` takes for no films; none where a split says which are.

    Args:
        data: as for `list_films`.
        split: as for `list_films`.
    """
    if split is not None:
        return ()
    parts = part_folders(data)
    if not parts:
        return tuple(files_left_out(data))
    return tuple(f"{part.name}/{path}" for part in parts for path in files_left_out(part))


def look_at_films(
    root: Path,
    listed: Sequence[tuple[LabelledFilm, str, str]],
    done: Callable[[], None],
    *,
    jobs: int = 1,
) -> Iterator[AuditedFilm]:
    """Read every film once.

    Args:
        root: the folder that paths are relative to.
        listed: from `list_films`.
        done: called after each film.
        jobs: films at once.

    Yields:
        The films, in order; one that cannot be read says why.
    """

    def audit(entry: tuple[LabelledFilm, str, str]) -> AuditedFilm:
        film, part, digest = entry
        blank = AuditedFilm(film.path, film.label, film.patient, part)
        try:
            if digest and not (root / film.path).is_file():
                return replace(blank, error="named by the split and missing", changed=True)
            content = read_file(root / film.path)
            sha256 = hashlib.sha256(content).hexdigest()
            changed = bool(digest) and digest != sha256
            blank = replace(blank, sha256=sha256, changed=changed)
            return replace(blank, look=_look(content))
        except FilmError as error:
            return replace(blank, error=f"{error.reason}: {error}")
        finally:
            done()

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(audit, listed)


def _look(content: bytes) -> Look:
    decoded = decode(content, AUDIT_SPEC)
    pixels = preprocess(decoded.pixels, AUDIT_SPEC)[0, ..., 0]
    line = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])
    small = Image.fromarray(pixels).resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX)
    return Look(
        kind=_kind(content, decoded.format),
        width=decoded.width,
        height=decoded.height,
        size=len(content),
        brightness=float(pixels.mean()) / 255.0,
        contrast=float(pixels.std()) / 255.0,
        border=float(line.mean()) / 255.0,
        dark_border=float((line <= DARK).mean()),
        blank=is_blank(pixels),
        hash=film_hash(pixels),
        features=border_features(pixels),
        small=np.asarray(small),
        in_colour=decoded.colour >= COLOUR_REFUSED,
    )


def _kind(content: bytes, file_format: str) -> str:
    if file_format == "DICOM":
        return file_format
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content)) as image:
            return f"{file_format} {image.mode}"


def pixels_of(root: Path, path: str) -> NDArray[np.uint8]:
    """A film's pixels at 224x224, for a picture of it.

    Raises:
        UsageError: it could be read before and no longer can.
    """
    try:
        return preprocess(decode(root / path, AUDIT_SPEC).pixels, AUDIT_SPEC)[0, ..., 0]
    except FilmError as error:
        raise UsageError(f"{path}: changed while it was audited ({error}); start again") from error
