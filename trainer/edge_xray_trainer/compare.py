"""Several models on the same films: which structure of network suits them, at what size and time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_xray.clustered import ClusterResamples, clustered_difference
from edge_xray.errors import ModelError, UsageError
from edge_xray.measures import auc
from edge_xray.metadata import ModelMetadata
from edge_xray.operating_point import Estimate
from edge_xray.progress import Steps, unseen
from edge_xray_trainer.evaluate import ChosenFilms, EvaluationRequest, choose_films, evaluate
from edge_xray_trainer.figures import Measures
from edge_xray_trainer.run_files import MODEL_FILE, RECORD_FILE
from edge_xray_trainer.scorers import Scorer, open_scorer
from edge_xray_trainer.scoring import reference_of

WARM_UP = 5
"""Runs before the clock counts: the first fill caches and choose kernels."""

TIMED_RUNS = 100
"""Runs of one film that the median is taken of."""


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One model among several.

    Attributes:
        name: what it is called in the table.
        metadata: of the model.
        sha256: of its file.
        bytes: size of its file.
        runtime: what ran it.
        milliseconds: median of one film from prepared pixels to logits, with the interval of a median.
        test: figures on the films.
        class_accuracy: films given their own class; None if no class is known.
        pairs: AUC between positive classes.
        calibration_error: ECE of the finding.
        robustness: mean balanced error over 13 corruptions; None if not measured.
        border: figures on the border alone; None if not measured.
        centre_blanked: figures with the centre blanked; None if not measured.
        stand_ins: of the run's record: ``{name: balanced accuracy}``.
        difference_auc: AUC less that of the first run, paired.
        difference_accuracy: accuracy less that of the first run, paired.
    """

    name: str
    metadata: ModelMetadata
    sha256: str
    bytes: int
    runtime: str
    milliseconds: Estimate
    test: Measures
    class_accuracy: Estimate | None
    pairs: Mapping[tuple[str, str], Estimate]
    calibration_error: Estimate
    robustness: Estimate | None
    border: Measures | None
    centre_blanked: Measures | None
    stand_ins: Mapping[str, Estimate]
    difference_auc: Estimate | None = None
    difference_accuracy: Estimate | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several models on the same films.

    Attributes:
        runs: in the order they were named; the first is the one that others are compared with.
        data: name of the folder.
        part: of the split.
        films_sha256: over the hashes of the films.
        labels: films by label.
        patients_unknown: films whose patient is not known; each counts as one patient's.
        notes: what must be known of the films, in sentences.
    """

    runs: tuple[ComparedRun, ...]
    data: str
    part: str
    films_sha256: str
    labels: Mapping[str, int]
    patients_unknown: int
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Answers:
    """What the paired differences need of one model."""

    p_finding: NDArray[np.float64]
    right: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    clusters: NDArray[np.str_]


def model_of(run: Path) -> Path:
    """The model of a run.

    Args:
        run: a model file, the name of a shipped model, or a folder with one packed ``.tflite`` or ``model.keras`` in it; the
            packed one is what will be used, so it goes first.

    Raises:
        ModelError: there is none, or several packed ones.
    """
    if not run.is_dir():
        return run
    packed = sorted(run.glob("*.tflite"))
    if len(packed) > 1:
        raise ModelError(
            f"{run}: holds {len(packed)} packed models ({', '.join(own.name for own in packed)}); "
            "name the files instead of the folder"
        )
    if packed:
        return packed[0]
    if (run / MODEL_FILE).is_file():
        return run / MODEL_FILE
    raise ModelError(f"{run}: expected a .tflite file or {MODEL_FILE} in it; found neither")


def stand_ins_of(model: Path, name: str) -> dict[str, Estimate]:
    """Balanced accuracy on stand-ins for a shift of site, from the record beside a model.

    Args:
        model: the model's file; its record is ``NAME.record.json`` or ``record.json`` beside it.
        name: the model's name; a record of another name is not its own.

    Raises:
        UsageError: the record is damaged.
    """
    for path in (model.with_name(f"{model.stem}.{RECORD_FILE}"), model.with_name(RECORD_FILE)):
        if not path.is_file():
            continue
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if record.get("name") != name:
                continue
            return {
                own: _kept(**figures["balanced_accuracy"])
                for own, figures in record.get("shift_stand_ins", {}).items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"{path}: expected a run's record ({error!r})") from error
    return {}


def _kept(**figure: float | None) -> Estimate:
    """A figure of a record, which has null for what films of one class do not tell."""
    return Estimate(**{key: math.nan if own is None else float(own) for key, own in figure.items()})


def time_one_film(
    scorer: Scorer, film: NDArray[np.uint8], done: Callable[[], None], runs: int = TIMED_RUNS
) -> Estimate:
    """Median time of one film in milliseconds.

    The interval is that of a median, from the order statistics (Conover 1999, 3.2): free of any
    assumption on how times are spread, but of nothing about how busy the machine is.

    Args:
        scorer: the model.
        film: uint8, (1, H, W, C).
        done: called after each run.
        runs: how many are timed.
    """
    for _ in range(WARM_UP):
        scorer.seconds(film)
    times = np.empty(runs)
    for i in range(runs):
        times[i] = scorer.seconds(film) * 1000.0
        done()
    times.sort()
    spread = 0.98 * math.sqrt(runs)
    # Both ranks are rounded up, and count from 1.
    low = max(0, math.ceil(runs / 2 - spread) - 1)
    high = min(runs - 1, math.ceil(runs / 2 + spread) - 1)
    return Estimate(float(np.median(times)), float(times[low]), float(times[high]))


def compare(
    runs: Sequence[Path],
    request: EvaluationRequest,
    progress: Steps = unseen,
    *,
    runtime: str | None = None,
) -> Comparison:
    """Measure several models on the same films.

    Args:
        runs: model files or folders of runs.
        request: what to measure on.
        progress: shows how far it is.
        runtime: of packed models.

    Raises:
        UsageError: fewer than two runs, models of which one takes other classes for the finding, films that one reads
            and another does not, or films that one was trained with.
        ModelError: a model cannot be used.
    """
    if len(runs) < 2:
        raise UsageError(f"expected two or more runs to compare, got {len(runs)}")
    models = [model_of(run) for run in runs]
    names = _names(models)
    scorers = [open_scorer(model, jobs=request.jobs, runtime=runtime) for model in models]
    _refuse_strangers(names, scorers)
    # Before the first is measured, which takes long.
    chosen = choose_films(list(zip(names, scorers, strict=True)), request)
    sick: list[NDArray[np.bool_]] = []
    for name, scorer in zip(names, scorers, strict=True):
        scorer.metadata.operating_point(request.operating_point)
        sick.append(reference_of(chosen.films, scorer.metadata, request.renamed).positive)
        if not np.array_equal(sick[0], sick[-1]):
            raise UsageError(
                f"{name} takes other films for {scorer.metadata.finding} than {names[0]} does for "
                f"{scorers[0].metadata.finding}: their figures answer different questions; compare models of one finding"
            )
    measured: list[ComparedRun] = []
    answers: list[_Answers] = []
    facts: list[tuple[str, str, str, Mapping[str, int], int]] = []
    for name, scorer in zip(names, scorers, strict=True):
        one, own, found = _measure(name, scorer, request, progress, chosen)
        if facts and found != facts[0]:
            raise UsageError(
                f"{name} was measured on other films than {names[0]}: a film can be read at one input "
                "size and not at the other; see edge-xray audit"
            )
        facts.append(found)
        measured.append(one)
        answers.append(own)
    resamples = ClusterResamples(
        answers[0].clusters, resamples=request.resamples, seed=request.seed
    )
    measured[1:] = [
        _paired(one, own, answers[0], resamples)
        for one, own in zip(measured[1:], answers[1:], strict=True)
    ]
    return Comparison(tuple(measured), *facts[0], chosen.notes)


def _refuse_strangers(names: Sequence[str], scorers: Sequence[Scorer]) -> None:
    """Refuse models without a finding in common, before --rename is advised, which could not help."""
    found = [
        {each.metadata.finding.lower()}
        | {label.name.lower() for label in each.metadata.labels if label.triage != "none"}
        for each in scorers
    ]
    for name, scorer, words in zip(names, scorers, found, strict=True):
        if not words & found[0]:
            raise UsageError(
                f"{name} looks for {scorer.metadata.finding} and {names[0]} for {scorers[0].metadata.finding}, "
                "and they have no class of it in common; compare models of one finding"
            )


def _names(models: Sequence[Path]) -> list[str]:
    """Short names that tell the models apart: a run's model by its folder, others by file."""
    stems = [
        f"{model.resolve().parent.name}/{model.name}" if model.name == MODEL_FILE else model.stem
        for model in models
    ]
    if len(set(stems)) == len(stems):
        return stems
    names = [f"{model.resolve().parent.name}/{model.name}" for model in models]
    if len(set(names)) == len(names):
        return names
    return [f"{place} {name}" for place, name in enumerate(names, start=1)]


def _measure(
    name: str,
    scorer: Scorer,
    request: EvaluationRequest,
    progress: Steps,
    chosen: ChosenFilms,
) -> tuple[ComparedRun, _Answers, tuple[str, str, str, Mapping[str, int], int]]:
    evaluation = evaluate(
        scorer, request, lambda what, total: progress(f"{name}: {what}", total), chosen
    )
    with progress(f"{name}: Timing", TIMED_RUNS) as done:
        milliseconds = time_one_film(scorer, evaluation.films.inputs[0], done)
    classes, robustness = evaluation.classes, evaluation.robustness
    run = ComparedRun(
        name=name,
        metadata=evaluation.metadata,
        sha256=evaluation.model_sha256,
        bytes=evaluation.model_bytes,
        runtime=evaluation.runtime,
        milliseconds=milliseconds,
        test=evaluation.test,
        class_accuracy=classes.accuracy if classes else None,
        pairs=classes.pairs if classes else {},
        calibration_error=evaluation.reliability.finding,
        robustness=robustness.mean if robustness else None,
        border=evaluation.shortcut.get("border only"),
        centre_blanked=evaluation.shortcut.get("centre blanked"),
        stand_ins=stand_ins_of(scorer.file, evaluation.metadata.name),
    )
    reference = evaluation.reference
    answers = _Answers(
        evaluation.scored.p_finding,
        evaluation.scored.called == reference.positive,
        reference.positive,
        reference.clusters,
    )
    facts = (
        evaluation.data,
        evaluation.part,
        evaluation.films_sha256,
        evaluation.labels,
        evaluation.patients_unknown,
    )
    return run, answers, facts


def _paired(
    run: ComparedRun, own: _Answers, first: _Answers, resamples: ClusterResamples
) -> ComparedRun:
    """Differences to the first run, on the same resamples of the same patients."""
    value = auc(own.positive, own.p_finding) - auc(first.positive, first.p_finding)
    return replace(
        run,
        difference_auc=resamples.estimate(
            value,
            resamples.aucs(own.positive, own.p_finding)
            - resamples.aucs(first.positive, first.p_finding),
        ),
        difference_accuracy=clustered_difference(own.right, first.right, own.clusters),
    )


def verdict_of(comparison: Comparison) -> str:
    """One sentence: the best AUC, and the smallest model whose AUC may be as good."""
    runs = [run for run in comparison.runs if math.isfinite(run.test.auc.value)]
    if not runs:
        return "No AUC: the films are all of one kind."
    best = max(runs, key=lambda run: run.test.auc.value)
    close = [run for run in runs if run is best or run.test.auc.high >= best.test.auc.value]
    which = "whose interval reaches it"
    if best.test.auc.value == 1.0:
        # No other interval reaches 1 (`ClusterResamples.estimate_area`), but its own reaches down.
        close = [run for run in runs if run is best or run.test.auc.value >= best.test.auc.low]
        which = "in its interval"
    small = min(close, key=lambda run: run.bytes)
    text = f"Highest AUC: {best.name} ({best.test.auc.value:.4f})."
    if small is not best:
        text += (
            f" The smallest {which}: {small.name} ({small.test.auc.value:.4f}, "
            f"{small.bytes / best.bytes:.0%} of the size)."
        )
    return text
