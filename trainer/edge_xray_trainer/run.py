"""A whole run: folder of films -> split -> training -> fitting -> ``model.keras`` with its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from edge_xray.durable import FolderLock, output_errors
from edge_xray.errors import UsageError
from edge_xray.film_table import films_of_folder
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split, labelled_root
from edge_xray.model_file import read_metadata
from edge_xray.plural import counted
from edge_xray.stopping import stops_between_steps
from edge_xray.unseen_films import SPLIT_NAME, refuse_training_films, splits_beside
from edge_xray_trainer.checkpoints import TrainingState, read_state, run_fingerprint
from edge_xray_trainer.curves import draw_curves
from edge_xray_trainer.data import REFUSED_SHARE, FilmSet, load_films, load_parts
from edge_xray_trainer.delivery import check_folder
from edge_xray_trainer.distillation import Targets, Teacher, taught_on_films, taught_on_views
from edge_xray_trainer.finished import is_finished, write_finished
from edge_xray_trainer.fitted_metadata import fit_metadata
from edge_xray_trainer.fitting import gate_remark
from edge_xray_trainer.networks import architecture_of, build_network, load_initial_weights
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.progress import counter
from edge_xray_trainer.run_files import (
    CURVES_FILE,
    LOCK_FILE,
    MODEL_FILE,
    RECORD_FILE,
    RUN_FILES,
    STATE_FILE,
)
from edge_xray_trainer.run_record import make_record, short, sources_of
from edge_xray_trainer.run_request import (
    Listener,
    RunRequest,
    RunResult,
    check_words,
    refuse_among_films,
)
from edge_xray_trainer.run_split import choose_split, write_split
from edge_xray_trainer.task import Task, check_table, task_for
from edge_xray_trainer.training import check_devices, train


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
    check_devices(options)
    check_folder(output)
    if (output / LOCK_FILE).exists():
        FolderLock(output, LOCK_FILE, "run").release()  # Before all films are loaded for nothing.
    check_table(request.task)
    _check_sources(request)
    refuse_among_films(output, labelled_root(request.data))
    split = _split_of(request, tell)
    task = task_for([film.label for film in split.films], request.task)
    learned_from = sources_of(options)
    kept = None if request.restart else _kept_state(request, split, task)
    if kept is not None:
        finished = _finished(request, task, kept)
        if finished is not None:
            tell.note(
                f"Going on after {counted(len(kept.epochs), 'finished epoch')}. None is left to do: the run is finished, "
                f"and its {MODEL_FILE} stays as it is."
            )
            return finished
        _refuse_changed(options, kept, learned_from)
    _refuse_knowing(options, split, tell)
    size = options.input_size or architecture.input_size
    spec = InputSpec(size, size, options.channels)
    root, use = labelled_root(request.data), task.intended_use
    sets = load_parts(root, split, spec, task.names, tell.progress, use=use)
    _tell_of_films(sets["train"], options, tell)
    targets = _targets(request, sets["train"], tell)
    if request.restart or (options.initial and kept is None):
        network = build_network(options, len(task.names))
        if options.initial:
            load_initial_weights(network, Path(options.initial), task.names)
    # Nothing was written or removed so far: whatever is refused is refused above,
    # but a second run beside one at work.
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    with FolderLock(output, LOCK_FILE, "run"), stops_between_steps() as raise_held:
        with output_errors(output):
            if request.restart:
                for name in RUN_FILES:
                    (output / name).unlink(missing_ok=True)
            write_split(split, output / SPLIT_NAME)
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
            on_resume=lambda done: tell.note(f"Going on after {counted(done, 'finished epoch')}."),
            between_steps=raise_held,
        )
        tell.note("Fitting score calibration, operating points and the quality gate.")

        def asked(what: str, done: int, total: int) -> None:
            tell.progress(what, done, total)
            raise_held()

        metadata = fit_metadata(request, network, sets, task, spec, split, state, asked)
        # A checkpoint of before it was kept does not tell what was learned from.
        state = replace(state, learned_from=state.learned_from or learned_from)
        with output_errors(output):
            draw_curves(state, output / CURVES_FILE)
            record = make_record(options, request.data.name, metadata, split, state, began)
            write_finished(output, network, metadata, record)
    if remark := gate_remark(len(sets["validation"])):
        tell.note(remark)
    return RunResult(output / MODEL_FILE, output / RECORD_FILE, metadata, state)


def _tell_of_films(films: FilmSet, options: TrainingOptions, tell: Listener) -> None:
    """Say what a run of hours would be for nothing with: films the device refuses, and colours not seen."""
    if len(films.refused) > REFUSED_SHARE * len(films):
        tell.note(
            f"The device would not score {len(films.refused)} of {len(films)} films to learn from, the first "
            f"{films.refused[0]}. Is [task] right about body_part, modalities, views and age?"
        )
    if options.channels == 1 and films.in_colour:
        tell.note(
            f"{films.in_colour} of {len(films)} films to learn from are in colour, and this network sees greys only: "
            "where the colour tells something, train with --channels 3."
        )


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
    asked = (request.model_name, request.model_version, request.licence, task.labels, task.finding)
    found = (metadata.name, metadata.version, metadata.licence, metadata.labels, metadata.finding)
    if (*asked, task.intended_use) != (*found, metadata.intended_use):
        return None
    return RunResult(model, request.output / RECORD_FILE, metadata, kept)


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


def _refuse_knowing(options: TrainingOptions, split: Split, tell: Listener) -> None:
    """Refuse to learn from a model that knows films held back here: what it learned of them would be passed on."""
    held_back = [film for film in split.films if film.part != "train"]
    for name in filter(None, (options.initial, *options.teacher)):
        path = Path(name)
        metadata = read_metadata(path)
        if metadata.training.get("split_sha256") == split.fingerprint():
            continue
        try:
            told = refuse_training_films(metadata, held_back, None, name, splits_beside([path]))
        except UsageError as error:
            raise UsageError(
                f"What learns from {name} would be measured on films that this knows. {error}"
            ) from error
        if not told:
            tell.note(
                f"Nothing tells whether {short(name)} was trained with films that are for validation or test here: "
                f"the split that it was trained with is not beside it. If it was, all figures lean good."
            )


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
        tell.note(f"Asking the teacher {short(name)} about {counted(len(own), 'film')}.")
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
    kept = request.output / SPLIT_NAME
    if request.split is None and (request.restart or not kept.exists()):
        # Before every film is read for a split.
        films = films_of_folder(request.data, request.patients)
        task_for([film.label for film in films], request.task)
    used = any((request.output / name).exists() for name in RUN_FILES if name != SPLIT_NAME)
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
