"""Commands that look after a machine: ``doctor``, ``self-test``, ``benchmark``, ``kit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_xray.errors import ExitCode

CLINIC_PANEL = "Clinic"
WORKSHOP_PANEL = "Workshop"

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="FILE|NAME", help="Packed .tflite file or shipped model."),
]
RuntimeOption = Annotated[
    str | None,
    typer.Option("--runtime", metavar="NAME", help="ai-edge-litert, tflite-runtime or tensorflow."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the front door.

    Args:
        app: the application of ``edge-xray``.
    """
    app.command("doctor", rich_help_panel=CLINIC_PANEL)(doctor)
    app.command("self-test", rich_help_panel=CLINIC_PANEL)(self_test)
    app.command("benchmark", rich_help_panel=CLINIC_PANEL)(benchmark)


def doctor(
    model: ModelOption = None,
    runtime: RuntimeOption = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Where results will be written."),
    ] = Path("edge-xray-results"),
    as_json: JsonOption = False,
) -> None:
    """Check this machine: runtime, model, disk, memory, clock, card, power. Exit 1 on a FAIL."""
    from edge_xray.doctor import examine
    from edge_xray.findings import passed, to_json, to_text

    findings = list(examine(output=output, model=model, runtime=runtime))
    typer.echo(to_json(findings) if as_json else to_text(findings), nl=False)
    if not passed(findings):
        raise typer.Exit(ExitCode.FAILED_CHECK)


def self_test(
    model: ModelOption = None,
    runtime: RuntimeOption = None,
    operating_point: Annotated[
        str | None,
        typer.Option("--operating-point", metavar="NAME", help="Where decisions are compared."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that this machine answers as the one that packed the model. Exit 1 on a FAIL."""
    from edge_xray.findings import passed, to_json, to_text
    from edge_xray.selftest import self_test as run

    findings = list(run(model, runtime=runtime, operating_point=operating_point))
    typer.echo(to_json(findings) if as_json else to_text(findings), nl=False)
    if not passed(findings):
        raise typer.Exit(ExitCode.FAILED_CHECK)


def benchmark(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Films to time; none: drawn ones of a clinic's size.", exists=True),
    ] = None,
    model: ModelOption = None,
    runtime: RuntimeOption = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the interpreter.")] = 1,
    films: Annotated[int, typer.Option(min=1, help="How many films to time.")] = 200,
    as_json: JsonOption = False,
    as_row: Annotated[
        bool, typer.Option("--row", help="Print a line for the table in docs/devices.md.")
    ] = False,
) -> None:
    """Measure this machine: films a second, ms by stage, memory, energy where it is told."""
    from edge_xray.benchmark import run_benchmark

    result = run_benchmark(folder, model=model, runtime=runtime, threads=threads, films=films)
    if as_json:
        typer.echo(result.to_json(), nl=False)
    elif as_row:
        typer.echo(result.to_table_row())
    else:
        typer.echo(result.to_text(), nl=False)
