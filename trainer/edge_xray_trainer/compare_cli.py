"""``edge-xray compare``: several models on the same films."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_xray._extras import require
from edge_xray_trainer import _options as options
from edge_xray_trainer.cli import PANEL

FORMATS = ("json", "markdown", "html")


def register(app: typer.Typer) -> None:
    """Add the command to the front door.

    Args:
        app: the ``edge-xray`` command.
    """
    app.command("compare", rich_help_panel=PANEL)(compare_command)


def compare_command(
    context: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN…", help="Folders of runs, model files or names; the first leads."
        ),
    ],
    data: options.Data,
    split: options.Split = None,
    part: options.Part = None,
    patients: options.Patients = None,
    operating_point: Annotated[
        str | None,
        typer.Option(help="Where the line is drawn. Default: each model's first."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=CLASS", help="A folder's label and what the models call it."),
    ] = None,
    robustness: options.Robustness = True,
    robustness_films: options.RobustnessFilms = 0,
    output: options.Output = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="table, json, markdown or html."),
    ] = None,
    resamples: options.Resamples = 2000,
    seed: options.Seed = 0,
    jobs: options.Jobs = 2,
    runtime: Annotated[
        str | None,
        typer.Option(help="Of .tflite models; default: the first that is installed."),
    ] = None,
) -> None:
    """Compare models on the same films: figures, size, time, and stand-ins for a shift of site.

    Every figure has its 95 % interval, and differences to the first model are paired. Time is of this
    machine: let nothing else run.
    """
    require("train", "edge-xray compare", options.REPORT_MODULES)
    from edge_xray.metadata import DISCLAIMER
    from edge_xray.progress import progress
    from edge_xray_trainer import compare_report as report
    from edge_xray_trainer.compare import compare
    from edge_xray_trainer.delivery import chosen_formats, deliver
    from edge_xray_trainer.evaluate import EvaluationRequest
    from edge_xray_trainer.evaluate_cli import renamed_labels
    from edge_xray_trainer.provenance import command_line

    wanted = chosen_formats(formats, FORMATS, output)
    request = EvaluationRequest(
        data=data,
        split=split,
        part=part,
        patients=patients,
        train_part="",
        operating_point=operating_point,
        renamed=renamed_labels(rename),
        series="",
        robustness=robustness,
        robustness_films=robustness_films,
        resamples=resamples,
        seed=seed,
        jobs=jobs,
    )
    comparison = compare(runs, request, progress, runtime=runtime)
    command = command_line(context)
    deliver(
        wanted,
        output,
        report.tables_of(comparison),
        {
            "json": ("comparison.json", lambda: report.to_json(comparison, command)),
            "markdown": ("comparison.md", lambda: report.to_markdown(comparison, command)),
            "html": ("comparison.html", lambda: report.to_html(comparison, command)),
        },
        f"{report.summary_of(comparison)}\n{DISCLAIMER}",
    )
