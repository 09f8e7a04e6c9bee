"""``edge-xray evaluate``: measure a model on labelled films."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_xray._extras import require
from edge_xray.errors import UsageError
from edge_xray_trainer import _options as options
from edge_xray_trainer.cli import PANEL

FORMATS = ("json", "markdown", "html", "csv")


def register(app: typer.Typer) -> None:
    """Add the command to the front door.

    Args:
        app: the ``edge-xray`` command.
    """
    app.command("evaluate", rich_help_panel=PANEL)(evaluate_command)


def evaluate_command(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A packed .tflite or .keras file, a run's folder, or a name."
        ),
    ],
    data: options.Data,
    split: options.Split = None,
    part: options.Part = None,
    patients: options.Patients = None,
    train_part: Annotated[
        str, typer.Option(help="The part learnt from, to compare errors with; empty: leave it out.")
    ] = "train",
    operating_point: Annotated[
        str | None,
        typer.Option(help="Where the line is drawn. Default: the model's first."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=CLASS", help="A folder's label and what the model calls it."),
    ] = None,
    prevalence: Annotated[
        list[float] | None,
        typer.Option(help="Share of positives for PPV and NPV; may be repeated."),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(help="Regular expression; its first group in a file name is a subgroup."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the column path and others of 2 to 12 values to make subgroups of."
        ),
    ] = None,
    robustness: options.Robustness = True,
    robustness_films: options.RobustnessFilms = 0,
    shortcut: Annotated[
        bool, typer.Option("--shortcut/--no-shortcut", help="Score films with parts blanked.")
    ] = True,
    output: options.Output = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="table, json, markdown, html or csv."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="A run's record.json that the figures are to be added to."),
    ] = None,
    stand_in: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --record: as which stand-in for a shift."),
    ] = None,
    resamples: options.Resamples = 2000,
    seed: options.Seed = 0,
    jobs: options.Jobs = 2,
    runtime: Annotated[
        str | None,
        typer.Option(help="Of a .tflite model; default: the first that is installed."),
    ] = None,
) -> None:
    """Measure a model on labelled films, every figure with its 95 % interval.

    AUC, accuracy, sensitivity, specificity and predictive values at the operating point; each class;
    errors on training films beside; score calibration; subgroups; 13 corruptions at 5 severities; and
    what the model makes of the border alone. Nothing is fitted: measure on films it never saw.
    """
    require("train", "edge-xray evaluate", options.REPORT_MODULES)
    from edge_xray.metadata import DISCLAIMER
    from edge_xray.progress import progress
    from edge_xray_trainer import evaluate_report as report
    from edge_xray_trainer.delivery import chosen_formats, deliver
    from edge_xray_trainer.evaluate import PREVALENCES, EvaluationRequest, evaluate
    from edge_xray_trainer.evaluate_tables import tables_of
    from edge_xray_trainer.provenance import command_line
    from edge_xray_trainer.scorers import open_scorer

    wanted = chosen_formats(formats, FORMATS, output)
    if (record is None) != (stand_in is None):
        raise UsageError("--record and --stand-in belong together: which file, and as what")
    for share in prevalence or ():
        if not 0.0 < share < 1.0:
            raise UsageError(f"--prevalence must be more than 0 and less than 1, got {share}")
    if record is not None:
        read_record(record)  # Before hours are spent on what is to be added to it.
    request = EvaluationRequest(
        data=data,
        split=split,
        part=part,
        patients=patients,
        train_part=train_part,
        operating_point=operating_point,
        renamed=renamed_labels(rename),
        prevalences=tuple(prevalence or PREVALENCES),
        groups=groups,
        robustness=robustness,
        robustness_films=robustness_films,
        shortcut=shortcut,
        resamples=resamples,
        seed=seed,
        jobs=jobs,
        **({} if series is None else {"series": series}),
    )
    scorer = open_scorer(model, jobs=jobs, runtime=runtime)
    evaluation = evaluate(scorer, request, progress)
    command = command_line(context)
    deliver(
        wanted,
        output,
        tables_of(evaluation, wide=False),
        {
            "json": ("evaluation.json", lambda: report.to_json(evaluation, command)),
            "markdown": ("evaluation.md", lambda: report.to_markdown(evaluation, command)),
            "html": ("evaluation.html", lambda: report.to_html(evaluation, command)),
            "csv": ("films.csv", lambda: report.to_csv(evaluation)),
        },
        f"{report.summary_of(evaluation)}\n{DISCLAIMER}",
    )
    if record is not None and stand_in is not None:
        add_stand_in(record, stand_in, report.stand_in_of(evaluation))


def renamed_labels(rename: list[str] | None) -> dict[str, str]:
    """Labels of a folder and what a model calls them, from ``LABEL=CLASS`` each.

    Raises:
        UsageError: one is not of this form.
    """
    pairs = {}
    for text in rename or ():
        label, equals, name = text.partition("=")
        if not (label and equals and name):
            raise UsageError(f"--rename expects LABEL=CLASS, got {text!r}")
        # In lower case, as the labels of a folder are.
        pairs[label.strip().lower()] = name.strip().lower()
    return pairs


def add_stand_in(record: Path, name: str, figures: dict[str, Any]) -> None:
    """Keep the figures of a stand-in for a shift of site in a run's record.

    Args:
        record: the run's ``record.json``; gains ``shift_stand_ins[name]``.
        name: of the stand-in, such as ``normals IM to NORMAL2``.
        figures: from `edge_xray_trainer.evaluate_report.stand_in_of`.

    Raises:
        UsageError: the file is no record.
        OutputError: it cannot be written.
    """
    from edge_xray_trainer.delivery import as_json, write_text

    kept = read_record(record)
    kept["shift_stand_ins"][name] = figures
    write_text(record, as_json(kept))


def read_record(record: Path) -> dict[str, Any]:
    """A run's record, with a place for stand-ins.

    Raises:
        UsageError: the file is no record.
    """
    try:
        kept: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if not isinstance(kept.setdefault("shift_stand_ins", {}), dict):
            raise TypeError("its shift_stand_ins are no table")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(f"{record}: expected a run's record.json ({error})") from error
    return kept
