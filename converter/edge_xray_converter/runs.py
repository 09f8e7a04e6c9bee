"""Running models over the same films through the device's own `Classifier`.

A ``.keras`` file or SavedModel is converted to a float32 ``.tflite`` on the fly and run like any other
model: the reference then differs from the candidate by its quantization and by nothing else, and goes
through the code that the clinic runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.classifier import Classifier, Scores
from edge_xray.decision import decide
from edge_xray.decode import decode
from edge_xray.errors import FilmError, ModelError, UsageError
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import SplitFilm, file_sha256
from edge_xray.metadata import ModelMetadata
from edge_xray.operating_point import OperatingPoint
from edge_xray.preprocess import preprocess
from edge_xray.progress import silent
from edge_xray.quality import check_features
from edge_xray.walk import printable
from edge_xray_converter.describe import carries_metadata
from edge_xray_converter.paired import Outcome
from edge_xray_converter.truth import ParitySet, classes_of


@dataclass(frozen=True, eq=False)
class Model:
    """A model of a parity run.

    Attributes:
        title: what the report calls it: the file's name.
        path: the packed ``.tflite`` that is run.
        source: the file that was named; differs from `path` for a ``.keras`` file.
        source_sha256: of that file; empty for a SavedModel folder.
        classifier: the device's.
        point: the operating point it decides at.
    """

    title: str
    path: Path
    source: Path
    source_sha256: str
    classifier: Classifier
    point: OperatingPoint

    @property
    def metadata(self) -> ModelMetadata:
        """Of the packed model."""
        return self.classifier.metadata

    @property
    def described_here(self) -> bool:
        """Whether nothing of its metadata was in the file that was named."""
        return self.path != self.source and not carries_metadata(self.source)

    @property
    def runtime(self) -> str:
        """The distribution of the runtime, without its version."""
        return self.classifier.runtime.partition(" ")[0]


@dataclass(eq=False)
class Run:
    """What one model said of all films.

    Attributes:
        model: which.
        scores: one a film.
        labels: the label at the operating point, one a film.
        triage: the triage word, one a film.
    """

    model: Model
    scores: list[Scores] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    triage: list[str] = field(default_factory=list)

    def outcome(self, films: Sequence[SplitFilm]) -> Outcome:
        """The run as arrays, against the films' labels.

        Raises:
            UsageError: the films' labels do not match the model's.
            ModelError: the model gives no number for some of them.
        """
        metadata = self.model.metadata
        # The last entries answer for -1: the finding without its class.
        positive = np.array([*metadata.positive, True])
        truth = np.array(classes_of(films, metadata))
        names = np.array([*metadata.label_names, metadata.finding])
        finding = np.array([scores.p_finding for scores in self.scores])
        silent = int(np.isnan(finding).sum())
        if silent:
            raise ModelError(
                f"{self.model.title}: gives no number for {silent} of {len(finding)} films, so it cannot be "
                "judged: its weights or its arithmetic broke down; train it again, or name another model"
            )
        pair = [label.name for label in metadata.labels if label.triage != "none"]
        return Outcome(
            np.stack([scores.probabilities for scores in self.scores]),
            finding,
            finding >= self.model.point.threshold,
            np.array(self.labels),
            names[truth],
            positive[truth],
            metadata.label_names,
            (pair[0], pair[1]) if len(pair) == 2 else None,
            self._refused(),
        )

    def _refused(self) -> NDArray[np.bool_] | None:
        statistics = self.model.metadata.features
        features = [scores.features for scores in self.scores if scores.features is not None]
        if statistics is None or not features:
            return None
        return np.array([check_features(own, statistics).reason is not None for own in features])


@dataclass(frozen=True)
class Unread:
    """A film that could not be read, so no model was asked.

    Attributes:
        path: relative to the labelled folder.
        reason: the stable word of its `FilmError`.
    """

    path: str
    reason: str


def is_trained(source: Path) -> bool:
    """Whether a model is a trained network, which is converted before it is run."""
    return source.is_dir() or source.suffix in (".keras", ".h5")


@contextmanager
def open_models(
    sources: Sequence[Path],
    *,
    convert_float: Callable[[Path, Path], object],
    operating_point: str | None = None,
    runtimes: Sequence[str] = (),
) -> Iterator[list[Model]]:
    """Load models for a parity run.

    Args:
        sources: packed ``.tflite`` files, ``.keras`` files or SavedModels.
        convert_float: makes a packed float32 ``.tflite`` (the second path) of a source (the first).
        operating_point: name; None: each model's default one.
        runtimes: as for `Classifier`: none, one for all models, or one a model.

    Yields:
        The models, in the same order; what was converted on the fly is gone afterwards.

    Raises:
        ModelError: one cannot be loaded, or has no such operating point.
        UsageError: a runtime is not installed, or their number is another.
    """
    if len(runtimes) not in (0, 1, len(sources)):
        raise UsageError(
            f"expected one runtime, or one for each of the {len(sources)} models, got {len(runtimes)}"
        )
    several = len(set(runtimes)) > 1
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for index, source in enumerate(sources):
            path, name = source, printable(source.name)
            if is_trained(source):
                path = Path(folder) / f"{index}.tflite"
                convert_float(source, path)
            elif not source.is_file():
                raise ModelError(f"model {source}: no such file; name a .tflite or .keras file")
            runtime = runtimes[index % len(runtimes)] if runtimes else None
            classifier = Classifier(path, runtime=runtime)
            models.append(
                Model(
                    f"{name} on {runtime}" if several else name,
                    path,
                    source,
                    file_sha256(source) if source.is_file() else "",
                    classifier,
                    classifier.metadata.operating_point(operating_point),
                )
            )
        yield models


def run_models(
    models: Sequence[Model],
    films: ParitySet,
    step: Callable[[], None] = silent,
) -> tuple[list[Run], list[SplitFilm], list[Unread]]:
    """Ask every model about every film; each film is decoded once a size of input.

    Args:
        models: which.
        films: which.
        step: called after each film.

    Returns:
        One run a model, the films that were read in the order of the runs' rows, and the others.

    Raises:
        UsageError: no film could be read.
    """
    runs = [Run(model) for model in models]
    read: list[SplitFilm] = []
    unread: list[Unread] = []
    for film in films.films:
        inputs: dict[InputSpec, NDArray[np.uint8]] = {}
        try:
            for model in models:
                spec = model.metadata.input
                if spec not in inputs:
                    inputs[spec] = preprocess(decode(films.root / film.path, spec).pixels, spec)
        except FilmError as error:
            unread.append(Unread(film.path, error.reason))
        else:
            read.append(film)
            for run in runs:
                ask(run, inputs[run.model.metadata.input])
        step()
    if not read:
        raise UsageError(f"{films.root}: none of its {len(films.films)} films could be read")
    return runs, read, unread


def ask(run: Run, pixels: NDArray[np.uint8]) -> None:
    """Ask a model about one film and add the answer to its run.

    Args:
        run: grows by one film.
        pixels: prepared, uint8 (1, H, W, C).
    """
    scores = run.model.classifier.classify(pixels)
    decision = decide(scores.probabilities, run.model.metadata, run.model.point)
    run.scores.append(scores)
    run.labels.append(decision.label)
    run.triage.append(decision.triage)
