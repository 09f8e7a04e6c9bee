"""``edge-xray compare``: several models on the same films."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_xray._extras import require
from edge_xray_trainer.cli import LARGEST_SEED

PANEL = "Workshop"
MODULES = ("scipy", "matplotlib", "jinja2")
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
    data: Annotated[Path, typer.Option("--data", "-d", help="Folder of labelled films.")],
    split: Annotated[
        Path | None,
        typer.Option(
            help="Split file; default: split.json beside the model if it is of --data's films, else all "
            "films of the folder."
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(help="Which part of the split. Default: test."),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns path and patient (and label), for a whole folder."),
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(help="Where the line is drawn. Default: each model's first."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=CLASS", help="A folder's label and what the models call it."),
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness/--no-robustness", help="Score corrupted films too.")
    ] = True,
    robustness_films: Annotated[
        int, typer.Option(min=0, help="Corrupt so many films, drawn at random; 0: all.")
    ] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for the report's files."),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="table, json, markdown or html."),
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of everything drawn.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Films at once.")] = 2,
    runtime: Annotated[
        str | None,
        typer.Option(help="Of .tflite models; default: the first that is installed."),
    ] = None,
) -> None:
    """Compare models on the same films: figures, size, time, and stand-ins for a shift of site.

    Every figure has its 95 % interval, and differences to the first model are paired. Time is of this
    machine: let nothing else run.
    """
    require("train", "edge-xray compare", MODULES)
    from edge_xray.metadata import DISCLAIMER
    from edge_xray_trainer import compare_report as report
    from edge_xray_trainer.compare import compare
    from edge_xray_trainer.delivery import chosen_formats, deliver
    from edge_xray_trainer.evaluate import EvaluationRequest
    from edge_xray_trainer.evaluate_cli import command_line, renamed_labels
    from edge_xray_trainer.progress import progress

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
