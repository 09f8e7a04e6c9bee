"""Models of any kind behind one face: prepared films in, logits out.

A ``.tflite`` file runs through the device's own `Classifier`, a ``.keras`` file in Keras.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_xray.calibration import to_logits
from edge_xray.errors import ModelError
from edge_xray.labelled import file_sha256
from edge_xray.metadata import ModelMetadata
from edge_xray.model_file import read_metadata
from edge_xray.shipped import read_model
from edge_xray_trainer.keras_file import load_keras
from edge_xray_trainer.run_files import MODEL_FILE

if TYPE_CHECKING:
    from edge_xray.classifier import Classifier

KERAS_BATCH = 16
"""Films a step in Keras: as fast as larger batches on a processor, and small in memory."""


class Scorer(Protocol):
    """A model that can be asked about prepared films.

    Attributes:
        metadata: what the model says of itself.
        file: the model's file.
        size: of the file, in bytes.
        sha256: of the file.
        runtime: what runs it, with version.
    """

    metadata: ModelMetadata
    file: Path
    size: int
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

    def __init__(self, source: Path | str, *, jobs: int = 1, runtime: str | None = None) -> None:
        """Load and check the model as the device does.

        Args:
            source: the packed model's file, or the name of a shipped one.
            jobs: films scored at once.
            runtime: as for `edge_xray.classifier.Classifier`.
        """
        from edge_xray.classifier import Classifier

        model = read_model(source)
        self._first = Classifier(source, runtime=runtime)
        self._free: queue.SimpleQueue[Classifier] = queue.SimpleQueue()
        # Made here, one after the other: starting an interpreter is no thing for several threads.
        for _ in range(jobs):
            self._free.put(self._first.twin())
        self._jobs = jobs
        self.metadata = self._first.metadata
        self.sha256 = self._first.sha256
        self.runtime = self._first.runtime
        self.file = model.path
        self.size = len(model.data)

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
        self._network = load_keras(file)
        import keras

        self.sha256 = file_sha256(file)
        self.runtime = f"keras {keras.__version__} ({keras.backend.backend()})"
        self.file = file
        self.size = file.stat().st_size

    def logits(
        self, pixels: Sequence[NDArray[np.uint8]], done: Callable[[], None]
    ) -> NDArray[np.float64]:
        """See `Scorer.logits`."""
        parts: list[NDArray[np.float64]] = [np.zeros((0, len(self.metadata.labels)))]
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
        ModelError: there is no such file or name, or the file is damaged or carries no metadata.
    """
    path = Path(model)
    if path.is_dir():
        path = path / MODEL_FILE
    if path.suffix == ".keras":
        return KerasScorer(path)
    source = path if path.exists() else str(model)
    return TfliteScorer(source, jobs=jobs, runtime=runtime)
