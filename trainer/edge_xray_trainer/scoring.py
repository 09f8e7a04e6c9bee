"""Labelled films through a model: prepared, scored and decided on as the device does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.calibration import probabilities
from edge_xray.decision import decide
from edge_xray.decode import decode
from edge_xray.errors import FilmError, ModelError, UsageError
from edge_xray.film_table import films_of_folder
from edge_xray.labelled import (
    LabelledFilm,
    Split,
    SplitFilm,
    check_split,
    film_sha256,
    labelled_root,
)
from edge_xray.metadata import ModelMetadata
from edge_xray.operating_point import OperatingPoint
from edge_xray.preprocess import preprocess
from edge_xray.unseen_films import TEST_PART
from edge_xray_trainer.corruptions import CORRUPTION_SIDE
from edge_xray_trainer.scorers import Scorer

WHOLE_FOLDER = "all"
"""Name of the part where no split is given."""


def films_of_part(
    data: Path, split: Split | None, part: str | None, patients: Path | None = None
) -> list[SplitFilm]:
    """The films to measure on.

    Args:
        data: the labelled folder.
        split: of it; None takes all films.
        part: which part of the split.
        patients: a CSV that names patients or labels of the films of a whole folder.

    Raises:
        UsageError: a part without a split, no such part, or a film that is not the one split.
    """
    if split is None:
        if part is not None:
            raise UsageError(
                f"--part {part} needs --split, the file that says which films are in it: there is none of "
                "these films beside the model"
            )
        films = films_of_folder(data, patients, fewest=1)
        root = labelled_root(data)
        return [_unsplit(film, film_sha256(root / film.path)) for film in films]
    wanted = split.part(part or TEST_PART)
    check_split(split, labelled_root(data), (part or TEST_PART,))
    return wanted


def _unsplit(film: LabelledFilm, digest: str) -> SplitFilm:
    # Without a patient's name a film and its copies count as one patient.
    group = film.patient or f"sha256 {digest}"
    return SplitFilm(film.path, film.label, film.patient, group, digest, WHOLE_FOLDER)


@dataclass(frozen=True)
class FilmFacts:
    """What a subgroup can be made of.

    Attributes:
        format: of the file: ``JPEG``, ``PNG``, ``DICOM``, …
        width: columns in the file.
        height: rows in the file.
        brightness: mean grey level, 0..255.
    """

    format: str
    width: int
    height: int
    brightness: float


@dataclass(frozen=True, eq=False)
class PreparedFilms:
    """Films that could be read, prepared for one network.

    Attributes:
        films: what they are.
        inputs: for each, uint8, (1, H, W, C): the network's input.
        standard: for each, uint8, (224, 224) or (224, 224, 3): what corruptions work on, the same for
            networks of all sizes.
        facts: of each.
        skipped: paths of films that could not be read, with the reason.
    """

    films: tuple[SplitFilm, ...]
    inputs: tuple[NDArray[np.uint8], ...]
    standard: tuple[NDArray[np.uint8], ...]
    facts: tuple[FilmFacts, ...]
    skipped: Mapping[str, str]


def prepare(
    data: Path,
    films: Sequence[SplitFilm],
    metadata: ModelMetadata,
    done: Callable[[], None],
    *,
    jobs: int = 1,
    standard: bool = False,
) -> PreparedFilms:
    """Decode and prepare films as the device does.

    Args:
        data: the labelled folder.
        films: which of its films.
        metadata: of the model that is asked.
        done: called after each film.
        jobs: films at once.
        standard: whether to keep the films at 224x224 too.

    Raises:
        UsageError: none of the films could be read.
    """
    spec = metadata.input
    base = replace(spec, height=CORRUPTION_SIDE, width=CORRUPTION_SIDE)
    root = labelled_root(data)

    def read(
        film: SplitFilm,
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], FilmFacts] | FilmError:
        try:
            decoded = decode(root / film.path, spec)
            pixels = preprocess(decoded.pixels, spec)
            # Read anew: by how much a film is reduced when it is read depends on the size wanted.
            small = preprocess(decode(root / film.path, base).pixels, base)[0] if standard else None
        except FilmError as error:
            return error
        finally:
            done()
        facts = FilmFacts(decoded.format, decoded.width, decoded.height, float(pixels.mean()))
        if small is None:
            return pixels, pixels[:0], facts
        return pixels, small[..., 0] if spec.channels == 1 else small, facts

    with ThreadPoolExecutor(jobs) as pool:
        answers = list(pool.map(read, films))
    kept = [
        (film, *answer)
        for film, answer in zip(films, answers, strict=True)
        if not isinstance(answer, FilmError)
    ]
    skipped = {
        film.path: str(answer)
        for film, answer in zip(films, answers, strict=True)
        if isinstance(answer, FilmError)
    }
    if not kept:
        first = next(iter(skipped.items()), ("", "there are none"))
        raise UsageError(f"{data}: no film could be read; the first: {first[0]} ({first[1]})")
    columns = tuple(zip(*kept, strict=True))
    return PreparedFilms(columns[0], columns[1], columns[2], columns[3], skipped)


@dataclass(frozen=True, eq=False)
class Reference:
    """What the films are, in the words of one model.

    Attributes:
        positive: (n,) bool, whether the film shows the finding.
        index: (n,) int, which of the model's classes; -1 where only the finding is known.
        clusters: (n,) str, the patient (with duplicates) of each film.
    """

    positive: NDArray[np.bool_]
    index: NDArray[np.int64]
    clusters: NDArray[np.str_]


def refuse_renamed(
    renamed: Mapping[str, str], labels: Iterable[str], metadata: ModelMetadata
) -> None:
    """Refuse names that would change nothing, or that say of films what no model can.

    Args:
        renamed: labels of the folder and what the model calls them.
        labels: of the films there are.
        metadata: of the model.

    Raises:
        UsageError: no film has the label, or the model has no such class.
    """
    known = sorted(set(labels))
    classes = tuple(dict.fromkeys((*metadata.label_names, metadata.finding)))
    for label, name in renamed.items():
        if label not in known:
            raise UsageError(
                f"--rename {label}={name}: no film is labelled {label!r}; the films are labelled "
                f"{', '.join(known)}"
            )
        if _own_name(name, metadata) not in classes:
            raise UsageError(
                f"--rename {label}={name}: the model has no class {name!r}; expected one of "
                f"{', '.join(classes)}"
            )


def _own_name(name: str, metadata: ModelMetadata) -> str:
    """A class as the model writes it, which may be in capitals where others packed it."""
    own = (*metadata.label_names, metadata.finding)
    return next((word for word in own if word.lower() == name.lower()), name)


def reference_of(
    films: Sequence[SplitFilm], metadata: ModelMetadata, renamed: Mapping[str, str]
) -> Reference:
    """Find each film's class among the model's, whatever its case.

    A film labelled with the model's finding itself (``pneumonia``) is positive of an unknown class.

    Args:
        films: the films.
        metadata: of the model.
        renamed: labels of the folder and what the model calls them.

    Raises:
        UsageError: a label that the model does not have; the message says how to rename it.
    """
    names = metadata.label_names
    labels = [_own_name(renamed.get(film.label, film.label), metadata) for film in films]
    unknown = sorted(set(labels) - set(names) - {metadata.finding})
    if unknown:
        choices = dict.fromkeys((*names, metadata.finding))
        raise UsageError(
            f"the films are labelled {', '.join(unknown)}, the model knows {', '.join(names)}; say "
            f"which is which: --rename {unknown[0]}=CLASS, CLASS one of {', '.join(choices)}"
        )
    index = np.array([names.index(label) if label in names else -1 for label in labels], np.int64)
    # The last entry answers for index -1: the finding without its class.
    positive = np.array([*metadata.positive, True])[index]
    return Reference(positive, index, np.array([film.cluster for film in films], np.str_))


@dataclass(frozen=True, eq=False)
class Scored:
    """What a model says of films.

    Attributes:
        probabilities: (n, classes), calibrated.
        p_finding: (n,), 0..1.
        called: (n,) bool, positive at the operating point.
        decided: (n,) int, the class decided on.
        review: (n,) bool, whether a person must decide.
    """

    probabilities: NDArray[np.float64]
    p_finding: NDArray[np.float64]
    called: NDArray[np.bool_]
    decided: NDArray[np.int64]
    review: NDArray[np.bool_]


def score(
    scorer: Scorer,
    pixels: Sequence[NDArray[np.uint8]],
    point: OperatingPoint,
    done: Callable[[], None],
) -> Scored:
    """Ask a model about prepared films and decide about each as the device does.

    Args:
        scorer: the model.
        pixels: each uint8, (1, H, W, C).
        point: the operating point.
        done: called after each film.

    Raises:
        ModelError: the model gives no number for some of them.
    """
    metadata = scorer.metadata
    logits = scorer.logits(pixels, done)
    silent = int((~np.isfinite(logits).all(axis=1)).sum())
    if silent:
        raise ModelError(
            f"{scorer.file}: gives no number for {silent} of {len(logits)} films, so nothing can be measured: "
            "its weights or its arithmetic broke down; train it again, or name another model"
        )
    shares = probabilities(logits, metadata.calibration, metadata.positive)
    decisions = [decide(row, metadata, point) for row in shares]
    decided = np.array([metadata.label_names.index(d.label) for d in decisions], np.int64)
    return Scored(
        shares,
        np.array([decision.p_finding for decision in decisions], np.float64),
        np.array(metadata.positive)[decided],
        decided,
        np.array([decision.triage == "review" for decision in decisions], bool),
    )
