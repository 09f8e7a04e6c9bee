"""A model of any kind and labelled films: logits, probabilities and decisions as the device has them.

A ``.tflite`` file runs through the device's own `Classifier`. A ``.keras`` file runs in Keras between
the same preprocessing, score calibration and decision.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_xray.calibration import probabilities, to_logits
from edge_xray.decision import decide
from edge_xray.decode import decode
from edge_xray.errors import FilmError, ModelError, UsageError
from edge_xray.labelled import (
    LabelledFilm,
    Split,
    SplitFilm,
    check_split,
    file_sha256,
    read_labelled_folder,
)
from edge_xray.metadata import ModelMetadata, OperatingPoint, read_metadata
from edge_xray.preprocess import preprocess
from edge_xray_trainer.corruptions import CORRUPTION_SIDE

if TYPE_CHECKING:
    from edge_xray.classifier import Classifier

KERAS_BATCH = 16
"""Films a step in Keras: as fast as larger batches on a processor, and small in memory."""

WHOLE_FOLDER = "all"
"""Name of the part where no split is given."""


class Scorer(Protocol):
    """A model that can be asked about prepared films.

    Attributes:
        metadata: what the model says of itself.
        file: the model's file.
        sha256: of the file.
        runtime: what runs it, with version.
    """

    metadata: ModelMetadata
    file: Path
    sha256: str
    runtime: str

    def logits(
        self, pixels: Sequence[NDArray[np.uint8]], done: Callable[[], None]
    ) -> NDArray[np.float64]:
        """Score films.

        Args:
            pixels: each uint8, (1, H, W, C), from `edge_xray.preprocess.preprocess`.
            done: called after each film.

        Returns:
            (n, classes), before calibration.
        """
        ...

    def seconds(self, film: NDArray[np.uint8]) -> float:
        """How long one film takes, from prepared pixels to logits, on one thread where it can be set."""
        ...


class TfliteScorer:
    """A packed ``.tflite`` in the device's own runtime, one interpreter a thread."""

    def __init__(self, file: Path, *, jobs: int = 1, runtime: str | None = None) -> None:
        """Load and check the model as the device does.

        Args:
            file: the packed model.
            jobs: films scored at once.
            runtime: as for `edge_xray.classifier.Classifier`.
        """
        from edge_xray.classifier import Classifier

        self._first = Classifier(file, runtime=runtime)
        self._free: queue.SimpleQueue[Classifier] = queue.SimpleQueue()
        # Made here, one after the other: starting an interpreter is no thing for several threads.
        for _ in range(jobs):
            self._free.put(self._first.twin())
        self._jobs = jobs
        self.metadata = self._first.metadata
        self.sha256 = self._first.sha256
        self.runtime = self._first.runtime
        self.file = file

    def logits(
        self, pixels: Sequence[NDArray[np.uint8]], done: Callable[[], None]
    ) -> NDArray[np.float64]:
        """See `Scorer.logits`."""

        def score(film: NDArray[np.uint8]) -> NDArray[np.float64]:
            classifier = self._free.get()
            try:
                return classifier.classify(film).logits
            finally:
                self._free.put(classifier)
                done()

        with ThreadPoolExecutor(self._jobs) as pool:
            answers = list(pool.map(score, pixels))
        return np.array(answers, np.float64).reshape(len(pixels), len(self.metadata.labels))

    def seconds(self, film: NDArray[np.uint8]) -> float:
        """See `Scorer.seconds`; one thread."""
        began = time.perf_counter()
        self._first.classify(film)
        return time.perf_counter() - began


class KerasScorer:
    """A ``.keras`` file with this kit's metadata."""

    def __init__(self, file: Path) -> None:
        """Load the network.

        Raises:
            ModelError: the file carries no metadata, is damaged, or its outputs do not fit its labels.
        """
        self.metadata = read_metadata(file)
        # Tensorflow's start writes lines on GPUs that are not there among the report's.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        try:
            self._network = keras.models.load_model(file, compile=False)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"model {file}: Keras {keras.__version__} cannot load it ({error}); train it again or "
                "use the version that its record names"
            ) from error
        self.sha256 = file_sha256(file)
        self.runtime = f"keras {keras.__version__} ({keras.backend.backend()})"
        self.file = file

    def logits(
        self, pixels: Sequence[NDArray[np.uint8]], done: Callable[[], None]
    ) -> NDArray[np.float64]:
        """See `Scorer.logits`."""
        parts = [np.zeros((0, len(self.metadata.labels)))]
        for start in range(0, len(pixels), KERAS_BATCH):
            batch = np.concatenate(pixels[start : start + KERAS_BATCH]).astype(np.float32)
            parts.append(self._as_logits(self._network.predict_on_batch(batch)))
            for _ in range(len(batch)):
                done()
        return np.concatenate(parts)

    def seconds(self, film: NDArray[np.uint8]) -> float:
        """See `Scorer.seconds`; as many threads as the backend takes."""
        batch = film.astype(np.float32)
        began = time.perf_counter()
        self._as_logits(self._network.predict_on_batch(batch))
        return time.perf_counter() - began

    def _as_logits(self, answer: object) -> NDArray[np.float64]:
        if isinstance(answer, Mapping):
            answer = answer.get("evidence", next(iter(answer.values())))
        elif isinstance(answer, list | tuple):
            answer = answer[0]
        values = np.asarray(answer, np.float64)
        if self.metadata.evidence_map:
            values = values.mean(axis=(1, 2))
        else:
            values = to_logits(values, self.metadata.output)
        if values.ndim != 2 or values.shape[1] != len(self.metadata.labels):
            raise ModelError(
                f"model {self.file}: its output of shape {values.shape} does not fit its "
                f"{len(self.metadata.labels)} labels"
            )
        return values


def open_scorer(model: Path | str, *, jobs: int = 1, runtime: str | None = None) -> Scorer:
    """Load a model by its file's ending, or a shipped one by its name.

    Args:
        model: a ``.keras`` or packed ``.tflite`` file, a run's folder with ``model.keras`` in it, or the
            name of a shipped model.
        jobs: films scored at once.
        runtime: of a ``.tflite`` model.

    Raises:
        ModelError: the file is missing, damaged, or carries no metadata.
    """
    path = Path(model)
    if path.is_dir():
        path = path / "model.keras"
    if path.suffix == ".keras":
        return KerasScorer(path)
    return TfliteScorer(path, jobs=jobs, runtime=runtime)


def labelled_root(data: Path) -> Path:
    """The folder that film paths are relative to: `data`, or its ``train`` in the Kaggle layout."""
    inner = data / "train"
    if (inner / "NORMAL").is_dir() and not (data / "NORMAL").is_dir():
        return inner
    return data


def films_of_part(data: Path, split_file: Path | None, part: str | None) -> list[SplitFilm]:
    """The films to measure on.

    Args:
        data: the labelled folder.
        split_file: a split of it; None takes all films.
        part: which part of the split.

    Raises:
        UsageError: a part without a split, no such part, or a film that is not the one split.
    """
    if split_file is None:
        if part is not None:
            raise UsageError(
                f"--part {part} needs --split, the file that says which films are in it"
            )
        films = read_labelled_folder(data)
        root = labelled_root(data)
        return [_unsplit(film, file_sha256(root / film.path)) for film in films]
    split = Split.read(split_file)
    wanted = split.part(part or "test")
    check_split(split, labelled_root(data), (part or "test",))
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
        standard: for each, uint8, (224, 224) or (224, 224, 3): what corruptions work on.
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
        except FilmError as error:
            return error
        finally:
            done()
        facts = FilmFacts(decoded.format, decoded.width, decoded.height, float(pixels.mean()))
        if not standard:
            return pixels, pixels[:0], facts
        small = preprocess(decoded.pixels, base)[0]
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


def reference_of(
    films: Sequence[SplitFilm], metadata: ModelMetadata, renamed: Mapping[str, str]
) -> Reference:
    """Find each film's class among the model's.

    A film labelled with the model's finding itself (``pneumonia``) is positive of an unknown class.

    Args:
        films: the films.
        metadata: of the model.
        renamed: labels of the folder and what the model calls them.

    Raises:
        UsageError: a label that the model does not have; the message says how to rename it.
    """
    names = metadata.label_names
    labels = [renamed.get(film.label, film.label) for film in films]
    unknown = sorted(set(labels) - set(names) - {metadata.finding})
    if unknown:
        raise UsageError(
            f"the films are labelled {', '.join(unknown)}, the model knows {', '.join(names)}; say "
            f"which is which: --rename {unknown[0]}={names[0]}"
        )
    index = np.array([names.index(label) if label in names else -1 for label in labels], np.int64)
    # The last entry answers for index -1: the finding without its class.
    positive = np.array([*metadata.positive, True])[index]
    return Reference(positive, index, np.array([film.group for film in films], np.str_))


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
    """
    metadata = scorer.metadata
    shares = probabilities(scorer.logits(pixels, done), metadata.calibration)
    decisions = [decide(row, metadata, point) for row in shares]
    decided = np.array([metadata.label_names.index(d.label) for d in decisions], np.int64)
    return Scored(
        shares,
        np.array([decision.p_finding for decision in decisions], np.float64),
        np.array(metadata.positive)[decided],
        decided,
        np.array([decision.triage == "review" for decision in decisions], bool),
    )
