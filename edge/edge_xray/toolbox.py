"""Commands that look after a machine: ``doctor``, ``self-test``, ``benchmark``, ``kit``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_xray.clinic_commands import Model, Point, Runtime, say, tell
from edge_xray.errors import ExitCode
from edge_xray.own_files import DEFAULT_FOLDER

if TYPE_CHECKING:
    from edge_xray.findings import Finding

CLINIC_PANEL = "Clinic"
WORKSHOP_PANEL = "Workshop"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the front door.

    Args:
        app: the application of ``edge-xray``.
    """
    app.command("doctor", rich_help_panel=CLINIC_PANEL)(doctor)
    app.command("self-test", rich_help_panel=CLINIC_PANEL)(self_test)
    app.command("benchmark", rich_help_panel=CLINIC_PANEL)(benchmark)
    kit = typer.Typer(no_args_is_help=True, help="Put everything for a clinic on a stick.")
    kit.callback()(_kit)
    kit.command("build")(kit_build)
    app.add_typer(kit, name="kit", rich_help_panel=WORKSHOP_PANEL)


def _complete_targets(incomplete: str) -> list[str]:
    from edge_xray.kit_targets import TARGETS

    return [name for name in TARGETS if name.startswith(incomplete)]


def doctor(
    model: Model = None,
    runtime: Runtime = None,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", help="Where results will be written."),
    ] = Path(DEFAULT_FOLDER),
    as_json: JsonOption = False,
) -> None:
    """Check this machine: runtime, model, disk, memory, clock, card, power. Exit 1 on a FAIL."""
    from edge_xray.doctor import examine

    _tell_findings(examine(output=output, model=model, runtime=runtime), as_json)


def self_test(
    model: Model = None,
    runtime: Runtime = None,
    operating_point: Point = None,
    as_json: JsonOption = False,
) -> None:
    """Check that this machine answers as the one that packed the model. Exit 1 on a FAIL."""
    from edge_xray.selftest import self_test as run

    _tell_findings(run(model, runtime=runtime, operating_point=operating_point), as_json)


def _tell_findings(found: Iterable[Finding], as_json: bool) -> None:
    from edge_xray.findings import passed, to_json, to_text

    findings = list(found)
    tell(to_json(findings) if as_json else to_text(findings), nl=False)
    if not passed(findings):
        raise typer.Exit(ExitCode.FAILED_CHECK)


def benchmark(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="Films to time; none: drawn ones of a clinic's size.",
            exists=True,
        ),
    ] = None,
    model: Model = None,
    runtime: Runtime = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the interpreter.")] = 1,
    films: Annotated[int, typer.Option(min=1, help="How many films to time.")] = 200,
    as_json: JsonOption = False,
    as_row: Annotated[
        bool, typer.Option("--row", help="Print a line for the table in docs/devices.md.")
    ] = False,
) -> None:
    """Measure this machine: films a second, ms by stage, memory, energy where it is told."""
    from edge_xray.benchmark import run_benchmark
    from edge_xray.progress import progress_between

    result = run_benchmark(
        folder,
        model=model,
        runtime=runtime,
        threads=threads,
        films=films,
        progress=progress_between,
    )
    if as_json:
        tell(result.to_json(), nl=False)
    elif as_row:
        tell(result.to_table_row())
    else:
        tell(result.to_text(), nl=False)


def _kit() -> None:
    """Put everything that a clinic's machine needs into one file, for a stick."""


def kit_build(
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=_complete_targets,
            help="rpi64, rpi32, linux-x86_64, windows or macos.",
        ),
    ],
    python: Annotated[
        str, typer.Option(metavar="VERSION", help="Python on that machine.")
    ] = "3.11",
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The zip to write.")
    ] = Path("edge-xray-kit.zip"),
    dicom: Annotated[
        bool, typer.Option("--dicom/--without-dicom", help="Include what DICOM files need.")
    ] = True,
    lock: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An earlier kit's requirements.txt, with its manifest.json beside it: its versions again.",
        ),
    ] = None,
    find_links: Annotated[
        Path | None,
        typer.Option(
            "--wheels", metavar="DIR", help="Take wheels from this folder alone; no internet."
        ),
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A built wheel of edge-xray. Default: built now."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The edge-xray repository. Default: found by itself."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A model of your own that the clinic uses; NAME.parity.json beside it must say PASS.",
        ),
    ] = None,
) -> None:
    """Build the kit: wheels with their hashes, samples, docs as HTML, an installer, an inventory.

    On the clinic's machine, which needs Python and no network: unpack it, sh install.sh.
    """
    from edge_xray.kit import build_kit
    from edge_xray.progress import progress

    with progress(f"Collecting what {target} needs", None):
        built = build_kit(
            target,
            python,
            output,
            source=source,
            wheel=wheel,
            dicom=dicom,
            lock=lock,
            find_links=find_links,
            model=model,
        )
    say(f"edge-xray {built.identifier}")
    for name in built.wheels:
        say(f"  {name}")
    for doubt in built.doubts:
        say(f"The model's parity report says PASS with a doubt. {doubt}")
    tell(f"{built.path}  {built.size / 1e6:.1f} MB")
