"""Measure a model on labelled films: every figure with its interval, on films of other patients.

The steps are `prepare` and `score` of `edge_xray_trainer.scoring`, then one function a section here.
Nothing is fitted and nothing is chosen: operating point and score calibration are the model's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray.film_table import films_of_folder
from edge_xray.labelled import (
    Split,
    SplitFilm,
    labelled_root,
    refuse_other_labels,
)
from edge_xray.measures import BOOTSTRAP_RESAMPLES, difference
from edge_xray.metadata import ModelMetadata
from edge_xray.operating_point import Estimate, OperatingPoint
from edge_xray.progress import Steps, unseen
from edge_xray.unseen_films import (
    TEST_PART,
    refuse_training_films,
    split_beside,
    splits_beside,
    trained_with,
)
from edge_xray_trainer.figures import (
    Bootstrap,
    Classes,
    Measures,
    Reliability,
    Subgroup,
    measure,
    measure_classes,
    measure_pairs,
    measure_predictive_values,
    measure_reliability,
    measure_roc,
)
from edge_xray_trainer.scorers import Scorer
from edge_xray_trainer.scoring import (
    PreparedFilms,
    Reference,
    Scored,
    films_of_part,
    prepare,
    reference_of,
    refuse_renamed,
    score,
)
from edge_xray_trainer.stress import Robustness, measure_robustness, measure_shortcut
from edge_xray_trainer.subgroups import subgroups_of

PREVALENCES = (0.05, 0.2, 0.5)
"""Shares of positives for which predictive values are given: a village, a clinic, a ward."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What to measure.

    Attributes:
        data: the labelled folder.
        split: a split of it; None takes the one beside the model if it is of these films, else all films.
        part: which part of the split; None is ``test``.
        patients: a CSV with the columns path and patient (and label); with a split it must say the same; None:
            what file names tell.
        train_part: the part that the model learnt from, to be set beside; empty leaves it out, and so does
            a split that the model was not trained with, and the part that is measured itself.
        operating_point: name of one of the model's; None is its first.
        renamed: labels of the folder and what the model calls them.
        prevalences: for predictive values, each more than 0 and less than 1.
        series: regular expression on file names; what its first group matches is a subgroup.
        groups: a CSV with the column ``path`` and others to make subgroups of; None: none.
        robustness: whether to score corrupted films.
        robustness_films: how many of the films to corrupt, drawn at random; 0: all.
        shortcut: whether to score films of which a part is blanked.
        resamples: of the bootstrap.
        seed: of everything drawn.
        jobs: films at once.
    """

    data: Path
    split: Path | None = None
    part: str | None = None
    patients: Path | None = None
    train_part: str = "train"
    operating_point: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    prevalences: tuple[float, ...] = PREVALENCES
    series: str = r"^(NORMAL2-IM|IM|person)"
    groups: Path | None = None
    robustness: bool = True
    robustness_films: int = 0
    shortcut: bool = True
    resamples: int = BOOTSTRAP_RESAMPLES
    seed: int = 0
    jobs: int = 1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that was measured of one model on one set of films.

    Attributes:
        metadata: of the model.
        model_file: name of its file.
        model_sha256: of the file.
        model_bytes: size of the file.
        runtime: what ran it.
        data: name of the folder.
        part: which part of the split.
        notes: what must be known of the films, in sentences.
        films_sha256: over the hashes of the films measured on.
        labels: films by label.
        skipped: paths of films that could not be read, with the reason.
        point: the operating point.
        test: figures on the films.
        train: the same on films the model learnt from; None if not measured.
        gap: type I and type II error on the films, less those on training films.
        classes: by class.
        predictive: ``(prevalence, PPV, NPV)``.
        reliability: of the probabilities.
        roc: false and true positive rates.
        subgroups: figures on some of the films.
        robustness: on corrupted films; None if not measured.
        shortcut: by variant, figures on films of which a part is blanked.
        films: what was measured on.
        reference: what they are.
        scored: what the model said of them.
    """

    metadata: ModelMetadata
    model_file: str
    model_sha256: str
    model_bytes: int
    runtime: str
    data: str
    part: str
    notes: tuple[str, ...]
    films_sha256: str
    labels: Mapping[str, int]
    skipped: Mapping[str, str]
    point: OperatingPoint
    test: Measures
    train: Measures | None
    gap: tuple[Estimate, Estimate] | None
    classes: Classes | None
    predictive: tuple[tuple[float, Estimate, Estimate], ...]
    reliability: Reliability
    roc: tuple[NDArray[np.float64], NDArray[np.float64]]
    subgroups: tuple[Subgroup, ...]
    robustness: Robustness | None
    shortcut: Mapping[str, Measures]
    films: PreparedFilms
    reference: Reference
    scored: Scored

    @property
    def patients_unknown(self) -> int:
        """Films whose patient is not known; each counts as one patient's."""
        return sum(not film.patient for film in self.films.films)


@dataclass(frozen=True)
class ChosenFilms:
    """The films to judge models on, none of which they were trained with as far as can be told.

    Attributes:
        films: which.
        learned: films of the same split that all models learned from, to set beside; empty: none.
        notes: what must be known of them, in sentences.
    """

    films: Sequence[SplitFilm]
    learned: Sequence[SplitFilm]
    notes: tuple[str, ...]


def choose_films(models: Sequence[tuple[str, Scorer]], request: EvaluationRequest) -> ChosenFilms:
    """Choose the films, and refuse those that a model was trained with.

    Args:
        models: to be judged, each with what the notes call it.
        request: which films; without a split, the one that lies beside a model is taken, if it is of these
            films.

    Raises:
        UsageError: films or split that cannot serve, or that a model was trained with.
    """
    files = [scorer.file for _, scorer in models]
    notes: list[str] = []
    path, train_part = request.split, request.train_part
    if path is None:
        for file in files:
            path = split_beside(file, request.data, request.part or TEST_PART)
            if path is not None:
                notes.append(f"The part is one of {path.name}, found beside {file.name}.")
                break
    split = None if path is None else Split.read(path)
    if (
        split is not None
        and request.split is None
        and not _are_there(request.data, split, train_part)
    ):
        train_part = ""
    if split is not None and path is not None and request.patients is not None:
        labelled = films_of_folder(request.data, request.patients)
        refuse_other_labels(split, path, labelled, request.patients)
    films = films_of_part(request.data, split, request.part, request.patients)
    for _, scorer in models:
        named = films if split is None else split.films
        refuse_renamed(request.renamed, [film.label for film in named], scorer.metadata)
    beside = splits_beside(files)
    for name, scorer in models:
        metadata = scorer.metadata
        if not refuse_training_films(metadata, films, split, str(scorer.file), beside):
            why = (
                "the split that it was trained with is not at hand"
                if metadata.training.get("split_sha256")
                else "it does not say which split it was trained with"
            )
            notes.append(
                f"Nothing tells whether {name} was trained with some of these films: {why}."
            )
        elif (
            split is not None
            and request.part not in (None, TEST_PART)
            and trained_with(metadata, split)
        ):
            notes.append(
                f"All figures lean good: {name} learned from the part {request.part}, or was fitted on it."
            )
    learned: Sequence[SplitFilm] = ()
    if (
        split is not None
        and train_part not in ("", request.part or TEST_PART)
        and all(trained_with(scorer.metadata, split) for _, scorer in models)
    ):
        try:
            learned = films_of_part(request.data, split, train_part)
        except UsageError as error:
            raise UsageError(f"--train-part {train_part}: {error}") from error
    return ChosenFilms(films, learned, tuple(notes))


def _are_there(data: Path, split: Split, part: str) -> bool:
    root, films = labelled_root(data), [film for film in split.films if film.part == part]
    return bool(films) and all((root / film.path).is_file() for film in films)


def evaluate(
    scorer: Scorer,
    request: EvaluationRequest,
    progress: Steps = unseen,
    chosen: ChosenFilms | None = None,
) -> Evaluation:
    """Measure a model.

    Args:
        scorer: the model.
        request: what to measure on, and what.
        progress: shows how far it is.
        chosen: the films, where several models are measured on the same ones; None chooses them.

    Raises:
        UsageError: films, split, labels or options that cannot serve, or films that the model was trained
            with; the message says what to do.
    """
    metadata = scorer.metadata
    point = metadata.operating_point(request.operating_point)
    chosen = chosen or choose_films([("the model", scorer)], request)
    wanted = chosen.films
    with progress("Reading films", len(wanted)) as done:
        films = prepare(
            request.data, wanted, metadata, done, jobs=request.jobs, standard=request.robustness
        )
    reference = reference_of(films.films, metadata, request.renamed)
    notes = list(chosen.notes)
    divided = list(subgroups_of(films, request.series, request.groups, notes.append))
    with progress("Scoring films", len(films.films)) as done:
        scored = score(scorer, films.inputs, point, done)
    bootstrap = Bootstrap(request.resamples, request.seed)
    test = measure(reference, scored, bootstrap)
    train = _measure_train(scorer, request, chosen, point, progress)
    gap = None
    if train is not None:
        gap = (difference(test.type_1, train.type_1), difference(test.type_2, train.type_2))
    labels = [film.label for film in films.films]
    return Evaluation(
        metadata=metadata,
        model_file=scorer.file.name,
        model_sha256=scorer.sha256,
        model_bytes=scorer.size,
        runtime=scorer.runtime,
        data=request.data.resolve().name,
        part=films.films[0].part,
        notes=tuple(notes),
        films_sha256=hashlib.sha256(
            "".join(film.sha256 + "\n" for film in films.films).encode()
        ).hexdigest(),
        labels={label: labels.count(label) for label in sorted(set(labels))},
        skipped=films.skipped,
        point=point,
        test=test,
        train=train,
        gap=gap,
        classes=measure_classes(reference, scored, metadata, bootstrap),
        predictive=tuple(
            (share, *measure_predictive_values(reference, scored, share))
            for share in request.prevalences
        ),
        reliability=measure_reliability(reference, scored, bootstrap.of(reference.clusters)),
        roc=measure_roc(reference, scored),
        subgroups=tuple(
            Subgroup(
                name,
                value,
                measure(reference, scored, bootstrap, members),
                measure_pairs(reference, scored, metadata, bootstrap, members),
            )
            for name, value, members in divided
        ),
        robustness=measure_robustness(
            scorer,
            films,
            reference,
            bootstrap,
            point,
            progress,
            jobs=request.jobs,
            limit=request.robustness_films,
        )
        if request.robustness
        else None,
        shortcut=measure_shortcut(scorer, films, reference, bootstrap, point, progress)
        if request.shortcut
        else {},
        films=films,
        reference=reference,
        scored=scored,
    )


def _measure_train(
    scorer: Scorer,
    request: EvaluationRequest,
    chosen: ChosenFilms,
    point: OperatingPoint,
    progress: Steps,
) -> Measures | None:
    if not chosen.learned:
        return None
    with progress("Reading training films", len(chosen.learned)) as done:
        films = prepare(request.data, chosen.learned, scorer.metadata, done, jobs=request.jobs)
    reference = reference_of(films.films, scorer.metadata, request.renamed)
    with progress("Scoring training films", len(films.films)) as done:
        scored = score(scorer, films.inputs, point, done)
    return measure(reference, scored, Bootstrap(request.resamples, request.seed))
