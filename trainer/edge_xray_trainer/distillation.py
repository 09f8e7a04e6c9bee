"""Learning from networks that were trained before (Hinton et al. 2015)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.calibration import ScoreCalibration, probabilities
from edge_xray.errors import UsageError
from edge_xray.metadata import ModelMetadata
from edge_xray.model_file import read_metadata
from edge_xray.preprocess import preprocess
from edge_xray.progress import silent
from edge_xray_trainer.class_weights import class_weights
from edge_xray_trainer.data import FilmSet
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.scorers import open_scorer

Targets = Callable[[NDArray[np.intp], NDArray[np.uint8]], NDArray[np.float32]]
"""``targets(films, views)``: what a network is to answer for the films of a batch, (n, classes) with rows that
sum to 1; ``films`` are their places among the training films, ``views`` (n, H, W, C) uint8 what the network is shown.
Called from several threads."""


def source_metadata(role: str, path: Path, names: tuple[str, ...]) -> ModelMetadata:
    """What a model that is to be learned from says of itself.

    Args:
        role: ``teacher`` or ``initial``, for the message.
        path: a ``.keras`` file of this kit.
        names: class names that it must have, in order.

    Raises:
        UsageError: it has other labels, or has them in another order.
        ModelError: it is no network of this kit.
    """
    metadata = read_metadata(path)
    if metadata.label_names != names:
        raise UsageError(
            f"{role} {path}: its labels are {list(metadata.label_names)}, expected {list(names)}"
        )
    return metadata


class Teacher:
    """A trained network that is asked about films."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        """Load it.

        Args:
            path: a ``.keras`` or packed ``.tflite`` file of this kit; the latter answers several times as fast.
            names: class names that it must have, in order.

        Raises:
            UsageError: it has other labels.
            ModelError: it is no network of this kit, or damaged.
        """
        metadata = source_metadata("teacher", path, names)
        self.input = metadata.input
        self.temperature = metadata.calibration.temperature
        self.positive = metadata.positive
        self._scorer = open_scorer(path, jobs=os.cpu_count() or 1)
        # Batches are prepared in several threads, and Keras builds its function at the first call.
        self._lock = threading.Lock()

    def logits(
        self, pixels: NDArray[np.uint8], on_film: Callable[[], None] = silent
    ) -> NDArray[np.float64]:
        """Answers to films, (n, classes).

        Args:
            pixels: (n, H, W, C) uint8, 0..255; of another size or colour than the teacher's, they are prepared
                as the device would.
            on_film: called for each film that was asked about.
        """
        wanted = self.input.shape[1:]
        if pixels.shape[1:] != wanted:
            plain = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            pixels = np.concatenate([preprocess(film, self.input) for film in plain])
        with self._lock:
            return self._scorer.logits(list(pixels[:, None]), on_film)


def labels_alone(films: FilmSet) -> Targets:
    """Targets without a teacher."""
    one_hot = films.one_hot
    return lambda chosen, _: one_hot[chosen]


def taught_on_films(
    options: TrainingOptions,
    films: FilmSet,
    teachers: Sequence[Teacher],
    answers: Sequence[NDArray[np.floating]],
) -> Targets:
    """Labels mixed with what teachers made of each film as it is: asked once, learned from in every view.

    Args:
        options: `teacher_weight`, `teacher_temperature`, `balance_classes`.
        films: the training films.
        teachers: who were asked.
        answers: each teacher's logits for them, (n, classes).
    """
    targets = _blend(options, films, films.one_hot, teachers, answers)
    return lambda chosen, _: targets[chosen]


def taught_on_views(
    options: TrainingOptions, films: FilmSet, teachers: Sequence[Teacher]
) -> Targets:
    """Labels mixed with what teachers make of each varied film, just as the student is shown it.

    The student learns what a teacher makes of a dark, a cropped or a blurred film, and not only the training films'
    own answers, which a long run would learn by heart (Beyer et al. 2022, "a good teacher is patient and consistent").

    Args:
        options: as for `taught_on_films`.
        films: the training films.
        teachers: asked about each view.
    """
    one_hot = films.one_hot

    def targets(chosen: NDArray[np.intp], views: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers = [teacher.logits(views) for teacher in teachers]
        return _blend(options, films, one_hot[chosen], teachers, answers)

    return targets


def _blend(
    options: TrainingOptions,
    films: FilmSet,
    one_hot: NDArray[np.float32],
    teachers: Sequence[Teacher],
    answers: Sequence[NDArray[np.floating]],
) -> NDArray[np.float32]:
    """Labels and the mean of softened answers, in the shares of the options."""
    # A teacher answers at the classes' shares; under class weights the student learns weighted ones.
    weighted = np.log(class_weights(options, films))
    softened = ScoreCalibration(options.teacher_temperature)
    soft = np.mean(
        [
            probabilities(own + teacher.temperature * weighted, softened, teacher.positive)
            for teacher, own in zip(teachers, answers, strict=True)
        ],
        axis=0,
    )
    share = options.teacher_weight
    mixed: NDArray[np.float32] = ((1 - share) * one_hot + share * soft).astype(np.float32)
    return mixed
