"""A whole run: folder of films -> split -> training -> fitting -> ``model.keras`` with its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edge_xray.calibration import probabilities
from edge_xray.durable import FolderLock, output_errors
from edge_xray.errors import UsageError
from edge_xray.film_table import read_labels
from edge_xray.labelled import Split, labelled_root, read_labelled_folder
from edge_xray.metadata import FeaturePooling, InputSpec, ModelMetadata, OperatingPoint
from edge_xray.metadata_fields import TEXT, is_text
from edge_xray.model_file import read_metadata
from edge_xray.walk import printable
from edge_xray_trainer.checkpoints import (
    BEST_FILE,
    STATE_FILE,
    EpochResult,
    TrainingState,
    read_state,
    run_fingerprint,
)
from edge_xray_trainer.class_weights import class_weights, shift_logits
from edge_xray_trainer.curves import draw_curves
from edge_xray_trainer.data import FilmSet, load_films
from edge_xray_trainer.delivery import check_folder
from edge_xray_trainer.distillation import Targets, Teacher, taught_on_films, taught_on_views
from edge_xray_trainer.finished import is_finished, write_finished
from edge_xray_trainer.fitting import (
    SITE_VARIATION,
    fit_feature_statistics,
    fit_finding_temperature,
    fit_operating_points,
    fit_temperature,
    gate_remark,
)
from edge_xray_trainer.grouping import Progress, counter, silent
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.outputs import PREDICT_BATCH, network_outputs
from edge_xray_trainer.run_record import (
    MODEL_FILE,
    RECORD_FILE,
    make_record,
    short,
    sources_of,
)
from edge_xray_trainer.run_split import SPLIT_FILE, choose_split, write_split
from edge_xray_trainer.task import Task, check_table, task_for
from edge_xray_trainer.training import (
    architecture_of,
    build_network,
    load_initial_weights,
    refuse_several_machines,
    train,
)

CURVES_FILE = "curves.png"
RUN_FILES = (STATE_FILE, BEST_FILE, MODEL_FILE, RECORD_FILE, SPLIT_FILE)
"""What --restart throws away."""

LOCK_FILE = "run.lock"
"""Keeps a second run out of the folder: both would write one checkpoint."""


@dataclass(frozen=True)
class RunRequest:
    """What a run works on.

    Attributes:
        data: the labelled folder.
        output: the run's folder.
        options: of training.
        task: the ``[task]`` table; None takes what the labels suggest.
        split: a split file to use again; None draws one and writes it.
        test_fold: which fold of that file is the test; None where it has parts.
        patients: a CSV that names patients or labels; None trusts file names.
        split_seed: of the draw; None takes that of the split there is, or 0.
        name: of the model; empty takes the name of the run's folder.
        model_version: of the model.
        licence: of the weights, with the attribution that the data asks for.
        restart: throw an earlier run in the folder away.
    """

    data: Path
    output: Path
    options: TrainingOptions
    task: Mapping[str, Any] | None = None
    split: Path | None = None
    test_fold: int | None = None
    patients: Path | None = None
    split_seed: int | None = None
    name: str = ""
    model_version: str = "0.1.0"
    licence: str = ""
    restart: bool = False


@dataclass(frozen=True)
class RunResult:
    """What a run left in its folder.

    Attributes:
        model: the ``.keras`` file.
        record: the training record.
        metadata: what the model says of itself.
        state: the epochs.
    """

    model: Path
    record: Path
    metadata: ModelMetadata
    state: TrainingState


@dataclass
class Listener:
    """Where a run tells what it does; every field may stay as it is.

    Attributes:
        progress: see `Progress`.
        epoch: told each epoch's result.
        note: told a sentence worth showing.
    """

    progress: Progress = silent
    epoch: Callable[[EpochResult], None] = silent
    note: Callable[[str], None] = silent


def run(request: RunRequest, listener: Listener | None = None) -> RunResult:
    """Train a network and fit what the device needs; goes on with an interrupted run.

    A finished run is left as it is, if its model says of itself what the request does.

    Raises:
        UsageError: films, split or options cannot serve; the message says what to do.
        OutputError: the folder cannot be written to, or another run writes there.
    """
    tell = listener or Listener()
    output, options = request.output, request.options
    check_words(request.name, request.model_version, request.licence)
    architecture = architecture_of(options)
    refuse_several_machines()
    check_folder(output)
    check_table(request.task)
    _check_sources(request)
    split = _split_of(request, tell)
    root = labelled_root(request.data)
    task = task_for([film.label for film in split.films], request.task)
    learned_from = sources_of(options)
    kept = None if request.restart else _kept_state(request, split, task)
    if kept is not None:
        finished = _finished(request, task, kept)
        if finished is not None:
            tell.note(
                f"Going on after {len(kept.epochs)} finished epochs. None is left to do: the run is finished, "
                f"and its {MODEL_FILE} stays as it is."
            )
            return finished
        _refuse_changed(options, kept, learned_from)
    size = options.input_size or architecture.input_size
    spec = InputSpec(size, size, options.channels)
    sets = {
        part: load_films(
            root,
            split.part(part),
            spec,
            task.names,
            on_film=counter(tell.progress, f"Loading {part} films", len(split.part(part))),
        )
        for part in ("train", "validation")
    }
    targets = _targets(request, sets["train"], tell)
    if request.restart or (options.initial and kept is None):
        network = build_network(options, len(task.names))
        if options.initial:
            load_initial_weights(network, Path(options.initial), task.names)
    # Nothing was written or removed so far: whatever is refused is refused above,
    # but a second run beside one at work.
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    with FolderLock(output, LOCK_FILE, "run"):
        with output_errors(output):
            if request.restart:
                for name in RUN_FILES:
                    (output / name).unlink(missing_ok=True)
            write_split(split, output / SPLIT_FILE)
        began = datetime.now(timezone.utc)
        network, state = train(
            output,
            options,
            sets["train"],
            sets["validation"],
            positive=task.positive,
            split_fingerprint=split.fingerprint(),
            targets=targets,
            learned_from=learned_from,
            on_step=lambda done, total, loss: tell.progress(
                f"Training, loss {loss:.3f}", done, total
            ),
            on_epoch=tell.epoch,
            on_resume=lambda done: tell.note(f"Going on after {done} finished epochs."),
        )
        tell.note("Fitting score calibration, operating points and the quality gate.")
        metadata = fit_metadata(request, network, sets, task, spec, split, state, tell.progress)
        # A checkpoint of before it was kept does not tell what was learned from.
        state = replace(state, learned_from=state.learned_from or learned_from)
        with output_errors(output):
            draw_curves(state, output / CURVES_FILE)
            record = make_record(options, request.data.name, metadata, split, state, began)
            write_finished(output, network, metadata, record)
    if remark := gate_remark(len(sets["validation"])):
        tell.note(remark)
    return RunResult(output / MODEL_FILE, output / RECORD_FILE, metadata, state)


def _kept_state(request: RunRequest, split: Split, task: Task) -> TrainingState | None:
    """What the run's folder holds of this very run; None if nothing.

    Raises:
        UsageError: it holds another run, or a model and nothing to go on from.
    """
    path = request.output / STATE_FILE
    if not path.exists():
        if (request.output / MODEL_FILE).exists():
            raise UsageError(
                f"{request.output} holds a {MODEL_FILE} and no {STATE_FILE}, so this would train anew and replace "
                "that model: choose another folder with -o, or begin again there with --restart"
            )
        return None
    return read_state(path, run_fingerprint(request.options, split.fingerprint(), task.names))


def _finished(request: RunRequest, task: Task, kept: TrainingState) -> RunResult | None:
    """What a finished run left; None if it is not finished, or its model is to say something else of itself."""
    if not is_finished(request.output, kept):
        return None
    model = request.output / MODEL_FILE
    metadata = read_metadata(model)
    asked = (_name(request), request.model_version, request.licence, task.labels, task.finding)
    found = (metadata.name, metadata.version, metadata.licence, metadata.labels, metadata.finding)
    if (*asked, task.intended_use) != (*found, metadata.intended_use):
        return None
    return RunResult(model, request.output / RECORD_FILE, metadata, kept)


def check_words(name: str, model_version: str, licence: str) -> None:
    """Check what a model is to say of itself, before hours are spent on it.

    Raises:
        UsageError: names the option, the value received and what was expected.
    """
    words = {"--name": name, "--model-version": model_version, "--licence": licence}
    for option, value in words.items():
        if not is_text(value):
            raise UsageError(f"{option}: expected {TEXT}, got {value!r}")


def _name(request: RunRequest) -> str:
    return request.name.strip() or printable(request.output.resolve().name).strip() or "model"


def _refuse_changed(
    options: TrainingOptions, kept: TrainingState, learned_from: Mapping[str, str]
) -> None:
    """Refuse to go on with other teachers than a run began with; where it started from is behind it."""
    for name in options.teacher:
        own = short(name)
        if kept.learned_from.get(own, learned_from[own]) != learned_from[own]:
            raise UsageError(
                f"{name}: is not the teacher any more that the run began with; put that one back, or begin "
                "again with --restart"
            )


def fit_metadata(
    request: RunRequest,
    network: keras.Model,
    sets: Mapping[str, FilmSet],
    task: Task,
    spec: InputSpec,
    split: Split,
    state: TrainingState,
    progress: Progress = silent,
) -> ModelMetadata:
    """Fit calibration, operating points and gate statistics, and write them with the provenance.

    Args:
        request: the run.
        network: the trained network; class weights are taken off its evidence map here.
        sets: prepared ``train`` and ``validation`` films.
        task: what the labels mean.
        spec: the network's input.
        split: the split in use.
        state: the epochs.
        progress: told how many films the network has been asked about.
    """
    options = request.options
    validation = sets["validation"]
    data = printable(request.data.name)
    words = f"validation films of {data} (split seed {split.seed})"
    pooling = architecture_of(options).feature_pooling
    training = sets["train"].pixels
    asked = counter(progress, "Asking about films", len(validation) + 2 * len(training))
    logits, features = network_outputs(network, validation.pixels, pooling, asked)
    _, training_features = network_outputs(network, training, pooling, asked)
    varied_features = _varied_features(network, training, options.seed, pooling, asked)
    log_prior = -np.log(class_weights(options, sets["train"]))
    calibration = fit_temperature(logits, validation.labels, words, log_prior)
    shift_logits(network, calibration.temperature * log_prior)
    logits = logits + calibration.temperature * log_prior
    positive = np.array(task.positive)
    calibration = fit_finding_temperature(
        logits, validation.labels, validation.groups, calibration, positive
    )
    p_finding = probabilities(logits, calibration, positive)[:, positive].sum(axis=1)
    points: tuple[OperatingPoint, ...] = fit_operating_points(
        p_finding, positive[validation.labels], validation.groups, words
    )
    return ModelMetadata(
        name=_name(request),
        version=request.model_version,
        labels=task.labels,
        input=spec,
        operating_points=points,
        finding=task.finding,
        calibration=calibration,
        intended_use=task.intended_use,
        features=fit_feature_statistics(
            training_features,
            varied_features,
            features,
            f"training films of {data} (split seed {split.seed})",
            pooling,
        ),
        architecture=options.architecture,
        training={
            "data": data,
            "films": {part: len(films) for part, films in sets.items()},
            "split_sha256": split.fingerprint(),
            "split_seed": split.seed,
            "seed": options.seed,
            "epochs": len(state.epochs),
            "best_epoch": state.best.epoch if state.best else 0,
        },
        licence=request.licence,
    )


def _varied_features(
    network: keras.Model,
    pixels: NDArray[np.uint8],
    seed: int,
    pooling: FeaturePooling,
    on_film: Callable[[], None],
) -> NDArray[np.float64]:
    """Features of films varied by `SITE_VARIATION`, (n, c); varied copies are held a batch at a time."""
    features = []
    for start in range(0, len(pixels), PREDICT_BATCH):
        varied = [
            SITE_VARIATION(film, np.random.default_rng([seed, start + place]))
            for place, film in enumerate(pixels[start : start + PREDICT_BATCH])
        ]
        features.append(network_outputs(network, np.stack(varied), pooling, on_film)[1])
    return np.concatenate(features)


def _targets(request: RunRequest, films: FilmSet, tell: Listener) -> Targets | None:
    """What the teachers say, each at its own size; None without any."""
    options = request.options
    if not options.teacher:
        return None
    teachers = [Teacher(Path(name), films.names) for name in options.teacher]
    words = ", ".join(short(name) for name in options.teacher)
    if options.teacher_sees == "view":
        tell.note(f"Asking {words} about each varied film.")
        return taught_on_views(options, films, teachers)
    answers = []
    for name, teacher in zip(options.teacher, teachers, strict=True):
        own = load_films(
            labelled_root(request.data),
            films.films,
            teacher.input,
            films.names,
            on_film=counter(tell.progress, "Loading films for the teacher", len(films)),
        )
        tell.note(f"Asking the teacher {short(name)} about {len(own)} films.")
        asked = counter(tell.progress, "Asking the teacher", len(own))
        answers.append(teacher.logits(own.pixels, asked))
    return taught_on_films(options, films, teachers, answers)


def _check_sources(request: RunRequest) -> None:
    """Refuse models to learn from that are missing, or that --restart would remove first."""
    options = request.options
    for name in (options.initial, *options.teacher):
        if not name:
            continue
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"{path}: expected a model to learn from, found none")
        removed = [request.output / own for own in RUN_FILES]
        if request.restart and any(own.exists() and path.samefile(own) for own in removed):
            raise UsageError(
                f"{path}: --restart would throw away the model that is to be learned from; choose another "
                "folder with -o"
            )


def _split_of(request: RunRequest, tell: Listener) -> Split:
    kept = request.output / SPLIT_FILE
    if request.split is None and (request.restart or not kept.exists()):
        # Before every film is read for a split.
        films = read_labelled_folder(request.data)
        if request.patients is not None:
            films = read_labels(request.patients, films)
        task_for([film.label for film in films], request.task)
    used = any((request.output / name).exists() for name in RUN_FILES if name != SPLIT_FILE)
    return choose_split(
        request.data,
        kept=kept if kept.exists() and not request.restart else None,
        may_draw_again=not used,
        given=request.split,
        test_fold=request.test_fold,
        patients=request.patients,
        seed=request.split_seed,
        progress=tell.progress,
        note=tell.note,
    )
