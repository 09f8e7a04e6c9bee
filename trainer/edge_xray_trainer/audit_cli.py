"""``edge-xray audit``: look at a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_xray._extras import require
from edge_xray.errors import ExitCode
from edge_xray_trainer import _options as options
from edge_xray_trainer.cli import PANEL

MODULES = ("sklearn", "scipy", "matplotlib", "jinja2")
FORMATS = ("json", "markdown", "html")


def register(app: typer.Typer) -> None:
    """Add the command to the front door.

    Args:
        app: the ``edge-xray`` command.
    """
    app.command("audit", rich_help_panel=PANEL)(audit_command)


def audit_command(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Folder of labelled films, or one with train, test, … in it."
        ),
    ],
    split: Annotated[
        Path | None,
        typer.Option(help="Split file to check; default: parts are the folders train, test, …"),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns path and patient (and label)."),
    ] = None,
    output: options.Output = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="table, json, markdown or html."),
    ] = None,
    films: Annotated[
        bool, typer.Option("--films/--no-films", help="Show patients' films in the HTML.")
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a patient or film is in two parts.")
    ] = False,
    folds: Annotated[int, typer.Option(min=2, help="Of the shortcut score.")] = 5,
    seed: options.Seed = 0,
    jobs: options.Jobs = 2,
) -> None:
    """Look at a data set: leakage, copies, damaged files, balance, and shortcuts.

    Copies are found byte for byte and by perceptual hash, within and across patients and parts. The
    shortcut score says how well each class is told from the border of the film alone.
    """
    require("train", "edge-xray audit", MODULES)
    from edge_xray.metadata import DISCLAIMER
    from edge_xray.progress import progress
    from edge_xray_trainer import audit_report as report
    from edge_xray_trainer.audit import AuditRequest, audit
    from edge_xray_trainer.audit_findings import findings_of
    from edge_xray_trainer.audit_tables import tables_of
    from edge_xray_trainer.delivery import chosen_formats, deliver
    from edge_xray_trainer.provenance import command_line

    wanted = chosen_formats(formats, FORMATS, output)
    found = audit(
        AuditRequest(data, split=split, patients=patients, folds=folds, seed=seed, jobs=jobs),
        progress,
    )
    command = command_line(context)
    sentences = [f"{finding.kind}: {finding.text}" for finding in findings_of(found)]
    deliver(
        wanted,
        output,
        tables_of(found),
        {
            "json": ("audit.json", lambda: report.to_json(found, command)),
            "markdown": ("audit.md", lambda: report.to_markdown(found, command)),
            "html": ("audit.html", lambda: report.to_html(found, command, films=films)),
        },
        "\n".join([*sentences, report.summary_of(found), DISCLAIMER]),
    )
    if strict and found.leaks:
        raise typer.Exit(ExitCode.FAILED_CHECK)
