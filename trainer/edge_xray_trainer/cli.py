"""The trainer's commands: ``train``, ``average`` and ``split`` here, ``audit``, ``evaluate``, ``compare`` beside it.

Importing this costs milliseconds; whatever is heavy is imported when a command runs.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edge_xray._extras import require
from edge_xray.errors import OutputError, UsageError
from edge_xray_trainer.keras_start import start_keras

if TYPE_CHECKING:
    from edge_xray_trainer.checkpoints import EpochResult

PANEL = "Workshop"
MODULES = ("keras", "tensorflow", "scipy", "sklearn")
PURPOSE = "training"

LARGEST_SEED = 2**32 - 1
"""The largest that all the generators take."""

QUIET_SECONDS = 30.0
"""Between two lines of progress where nobody watches."""


def register(app: typer.Typer) -> None:
    """Add the trainer's commands to the front door.

    Args:
        app: the ``edge-xray`` command.
    """
    app.command("train", rich_help_panel=PANEL)(train_command)
    app.command("average", rich_help_panel=PANEL)(average_command)
    app.command("split", rich_help_panel=PANEL)(split_command)
    for name in ("audit_cli", "evaluate_cli", "compare_cli"):
        importlib.import_module(f"edge_xray_trainer.{name}").register(app)


def train_command(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Folder of films: one folder a class, or the Kaggle layout."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; an interrupted one goes on.")
    ] = Path("runs/lite0"),
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file of options, with the tables augmentation and task."),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(help="lite0 (default), tiny or baseline."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the films.")] = None,
    steps_per_epoch: Annotated[
        int | None,
        typer.Option(help="Batches a pass; 0 takes each film once."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Films a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak of the schedule.")] = None,
    input_size: Annotated[
        int | None,
        typer.Option(help="Height and width of the network's input, in pixels."),
    ] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 colour.")] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option("--pretrained/--from-scratch", help="Start from ImageNet weights."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better validation loss; 0: never."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LARGEST_SEED, help="Of everything random in the run.")
    ] = None,
    deterministic: Annotated[
        bool | None,
        typer.Option("--deterministic/--fast", help="Reproducible kernels on a GPU too."),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            help="A model.keras of the same architecture and labels whose weights to start from."
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="A model of the same labels, .keras or packed .tflite, to distil from; repeated, the mean of several."
        ),
    ] = None,
    teacher_sees: Annotated[
        str | None,
        typer.Option(
            help="film: asked once about each; view: about each varied film, which pays in a long run."
        ),
    ] = None,
    teacher_weight: Annotated[
        float | None,
        typer.Option(help="Share of the target taken from the teacher, 0 to 1."),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(help="Split file to use again; default: draw one by patient."),
    ] = None,
    test_fold: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="K",
            help="With a --split of folds: fold K is the test, the next one validation.",
        ),
    ] = None,
    split_seed: Annotated[
        int | None,
        typer.Option(min=0, max=LARGEST_SEED, help="Of the split, where one is drawn. Default: 0."),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns path and patient (and label)."),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option(help="Class that means nothing was found; may be repeated."),
    ] = None,
    finding: Annotated[
        str | None,
        typer.Option(help="What a positive film shows; names the column p_FINDING."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model; default: the run's folder.")] = "",
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, with the data's attribution.")
    ] = "",
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw an earlier run in the folder away.")
    ] = False,
) -> None:
    """Train a network; split by patient, keep the best epoch, calibrate, record all of it.

    Writes model.keras, record.json, split.json and curves.png into the run's folder. Options stand in
    the TOML file under their names (learning_rate = 4e-4); a flag wins over the file.
    """
    require("train", PURPOSE, MODULES)
    start_keras()
    from edge_xray_trainer.options import TrainingOptions, read_config, update_options
    from edge_xray_trainer.run import run
    from edge_xray_trainer.run_request import Listener, RunRequest

    options, task = read_config(config) if config else (TrainingOptions(), None)
    options = update_options(
        options,
        {
            "architecture": architecture,
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "input_size": input_size,
            "channels": channels,
            "pretrained": pretrained,
            "patience": patience,
            "seed": seed,
            "deterministic": deterministic,
            "initial": initial,
            "teacher": teacher,
            "teacher_sees": teacher_sees,
            "teacher_weight": teacher_weight,
        },
    )
    if negative or finding is not None:
        task = dict(task or {})
        if negative:
            task["negative"] = negative
        if finding is not None:
            task["finding"] = finding
    request = RunRequest(
        data,
        output,
        options,
        task=task,
        split=split,
        test_fold=test_fold,
        patients=patients,
        split_seed=split_seed,
        name=name,
        model_version=model_version,
        licence=licence,
        restart=restart,
    )
    console = Console(stderr=True)
    with _Display(console) as display:
        try:
            result = run(
                request,
                Listener(
                    display.progress, display.epoch, lambda text: console.print(text, markup=False)
                ),
            )
        except KeyboardInterrupt:
            same = "the same command, without --restart," if restart else "the same command"
            console.print(f"Stopped: {same} goes on after the last finished epoch.")
            raise
    point = result.metadata.operating_points[0]
    best = result.state.best
    if best is None or point.sensitivity is None or point.specificity is None:
        raise UsageError("the run kept no epoch; start again with --restart")
    console.print(
        f"Kept epoch {best.epoch} of {len(result.state.epochs)}. On validation, at the operating point "
        f"{point.name} ({point.threshold:.3f}): sensitivity {point.sensitivity.value:.1%}, "
        f"specificity {point.specificity.value:.1%}. "
        "Chosen on these films, so measure on others: edge-xray evaluate."
    )
    typer.echo(str(result.model))


def average_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="Folders of finished runs on one split.")
    ],
    data: Annotated[Path, typer.Option(help="The labelled folder of the runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the averaged run.")],
    name: Annotated[
        str, typer.Option(help="Name of the model; default: that of the first run.")
    ] = "",
    model_version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, with the data's attribution.")
    ] = "",
) -> None:
    """Average the weights of runs and fit calibration and operating points anew.

    Runs that started from the same weights may lie in one valley, where the mean of their weights can be
    better than each (Wortsman et al. 2022). For the shipped models it was not. Validation says whether it
    is for yours: all figures are shown.
    """
    require("train", PURPOSE, MODULES)
    start_keras()
    from edge_xray_trainer.averaging import average_runs
    from edge_xray_trainer.run_request import Listener

    console = Console(stderr=True)
    with _Display(console) as display:
        result = average_runs(
            runs,
            data,
            output,
            name=name,
            model_version=model_version,
            licence=licence,
            listener=Listener(
                display.progress, display.epoch, lambda text: console.print(text, markup=False)
            ),
        )
    typer.echo(str(result.model))


def split_command(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Folder of films: one folder a class, or the Kaggle layout."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The split file to write.")] = Path(
        "split.json"
    ),
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the draw.")] = 0,
    folds: Annotated[
        int,
        typer.Option(
            help="Write so many folds instead of train, validation and test; train each with edge-xray "
            "train --split FILE --test-fold K."
        ),
    ] = 0,
    patients: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns path and patient (and label)."),
    ] = None,
    hold_out: Annotated[
        str,
        typer.Option(
            help="File name pattern, as NORMAL2-*: these films go into the test only, and no other films of "
            "their class do; other films of their patients are left out. A stand-in for another hospital."
        ),
    ] = "",
    extend: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An earlier split of some of these films: they keep their parts, new films of their patients go "
            "with them, and the others are dealt out.",
        ),
    ] = None,
) -> None:
    """Split films by patient and duplicate group, in proportion, with the hash of every film."""
    require("train", PURPOSE, MODULES)
    from edge_xray.labelled import Split
    from edge_xray.plural import counted
    from edge_xray_trainer.delivery import check_folder
    from edge_xray_trainer.extension import extend_split
    from edge_xray_trainer.grouping import grouped_films
    from edge_xray_trainer.splits import hold_out_films, make_folds, make_split

    if sum(map(bool, (folds, hold_out, extend))) > 1:
        raise UsageError("--folds, --hold-out and --extend cannot go together; choose one")
    if extend and output.exists() and extend.exists() and output.samefile(extend):
        raise UsageError(
            f"{extend}: would be replaced by what is made of it, and models are judged by it; name another file with -o"
        )
    earlier = Split.read(extend) if extend else None
    if not output.absolute().parent.is_dir() or output.is_dir():
        raise OutputError(f"{output}: expected a file name in a folder that exists")
    check_folder(output.absolute().parent)
    with _Display(Console(stderr=True)) as display:
        films, sha256, groups, note = grouped_films(data, patients, display.progress)
    if earlier:
        made = extend_split(earlier, films, sha256, groups, seed=seed, note=note)
    elif folds:
        made = make_folds(films, sha256, groups, folds=folds, seed=seed, note=note)
    else:
        made = make_split(films, sha256, groups, seed=seed, note=note)
    if hold_out:
        made = hold_out_films(made, hold_out)
    made.write(output)
    typer.echo(made.note, err=True)
    for part in sorted({film.part for film in made.films}):
        typer.echo(f"{part}: {counted(len(made.part(part)), 'film')}", err=True)
    typer.echo(str(output))


class _Display:
    """Progress with time left on a terminal; a line now and then where nobody watches."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: Any = None
        self._said = time.monotonic()

    def __enter__(self) -> _Display:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        if self._console.is_terminal:
            stage = what.split(",")[0]
            if self._task is None or self._task[1] != stage:
                if self._task is not None:
                    self._live.remove_task(self._task[0])
                # Steps done before this start were not done at its pace.
                self._task = (self._live.add_task(what, total=total, completed=done - 1), stage)
            self._live.update(self._task[0], description=what, completed=done, total=total)
        elif time.monotonic() - self._said > QUIET_SECONDS:
            self._said = time.monotonic()
            self._console.print(f"{what}: {done} of {total}")

    def epoch(self, result: EpochResult) -> None:
        self._console.print(
            f"Epoch {result.epoch}: loss {result.loss:.4f}; validation loss "
            f"{result.validation_loss:.4f}, accuracy {result.validation_accuracy:.1%}, "
            f"AUC {result.validation_auc:.4f} ({result.seconds:.0f} s)"
        )
