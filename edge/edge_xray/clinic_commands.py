"""The commands a clinic calls day by day: ``scan``, ``watch``, ``info``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Final

import typer

from edge_xray._runtimes import RUNTIMES
from edge_xray.errors import EdgeXrayError, OutputError
from edge_xray.own_files import DEFAULT_FOLDER
from edge_xray.stopping import reader_left
from edge_xray.walk import one_line

FORMAT_NAMES: Final = ("table", "csv", "jsonl", "html")
RUNTIME_NAMES: Final = tuple(RUNTIMES)


def _complete_models(incomplete: str) -> list[str]:
    from edge_xray.shipped import shipped_names

    return [name for name in shipped_names() if name.startswith(incomplete)]


def _complete_formats(incomplete: str) -> list[str]:
    return [name for name in FORMAT_NAMES if name.startswith(incomplete)]


def _complete_runtimes(incomplete: str) -> list[str]:
    return [name for name in RUNTIME_NAMES if name.startswith(incomplete)]


def _complete_points(context: typer.Context, incomplete: str) -> list[str]:
    from edge_xray.model_file import parse_metadata
    from edge_xray.shipped import read_model

    try:
        model = read_model(context.params.get("model"))
        points = parse_metadata(model.data, model.source).operating_points
    except EdgeXrayError:
        return []
    return [point.name for point in points if point.name.startswith(incomplete)]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="FILE|NAME",
        autocompletion=_complete_models,
        help="A packed .tflite file, or the name of a shipped model. Default: the shipped one.",
    ),
]
Point = Annotated[
    str | None,
    typer.Option(
        "--operating-point",
        metavar="NAME",
        autocompletion=_complete_points,
        help="Where the line is drawn; `edge-xray info` lists them. Default: the model's first.",
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        metavar="NAME",
        autocompletion=_complete_runtimes,
        help=f"{', '.join(RUNTIME_NAMES)}. Default: the first that is installed.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        min=1,
        max=64,
        help="Films scored at once. A scan's default: one for each processor and for each 200 MB of "
        "free memory, 8 at most.",
    ),
]
Recursive = Annotated[
    bool, typer.Option("--recursive/--no-recursive", help="Also folders within folders.")
]
Heatmaps = Annotated[
    bool, typer.Option("--heatmaps", help="Write the film with its heat map as PNG, one a film.")
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress and no remarks: the list and errors only."),
]
QuietWatch = Annotated[
    bool, typer.Option("--quiet", "-q", help="Errors only: the list is in the results folder.")
]
AnyAge = Annotated[
    bool, typer.Option("--any-age", help="Score patients of any age, and films unlike those known.")
]
AnyView = Annotated[
    bool,
    typer.Option(
        "--any-view", help="Score films of any view, cropped ones, and ones unlike those known."
    ),
]
AnyBodyPart = Annotated[
    bool,
    typer.Option(
        "--any-body-part",
        help="Score films of any body part and modality, and pictures that are inverted, turned or no chest film.",
    ),
]
WithIdentifiers = Annotated[
    bool,
    typer.Option(
        "--with-identifiers", help="Keep DICOM patient IDs as they are, not as a keyed hash."
    ),
]


def scan_command(
    paths: Annotated[
        list[Path],
        # What may not be read gets a row that says so; typer would end the scan.
        typer.Argument(metavar="PATH…", help="Films, or folders of films.", readable=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for all results; nothing goes to stdout.",
            readable=False,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            autocompletion=_complete_formats,
            help=f"{', '.join(FORMAT_NAMES)}; several with --output. "
            "Without --output: on stdout, and no files.",
        ),
    ] = None,
    model: Model = None,
    operating_point: Point = None,
    jobs: Jobs = None,
    recursive: Recursive = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a film could not be scored.")
    ] = False,
    heatmaps: Heatmaps = False,
    quiet: Quiet = False,
    any_age: AnyAge = False,
    any_view: AnyView = False,
    any_body_part: AnyBodyPart = False,
    with_identifiers: WithIdentifiers = False,
    runtime: Runtime = None,
) -> None:
    """Score films and say what to do about each, most urgent first.

    Every file in a folder gets a row, whatever its name: content decides what it is, and a file that
    is no film, or a film that cannot be scored, says why. Left out are names that begin with a dot,
    Thumbs.db, desktop.ini, DICOMDIR, the recycle bin of a drive and results of this program. Links are
    not followed out of the folder.

    With neither --output nor --format: the triage list on the screen, and CSV, JSON Lines and an
    HTML report in edge-xray-results. A scan that was cut off goes on where it was: run it again.
    """
    from edge_xray.gate import Limits
    from edge_xray.scan import ScanOptions
    from edge_xray.scan_command import ScanRequest, run_scan

    request = ScanRequest(
        paths=tuple(paths),
        output=output,
        formats=_split_commas(formats),
        model=model,
        runtime=runtime,
        options=ScanOptions(
            operating_point=operating_point,
            jobs=jobs,
            recursive=recursive,
            limits=Limits(any_age, any_view, any_body_part),
            with_identifiers=with_identifiers,
        ),
        heatmaps=heatmaps,
        strict=strict,
        quiet=quiet,
    )
    raise typer.Exit(run_scan(request, say))


def _split_commas(formats: list[str] | None) -> tuple[str, ...]:
    names = (name.strip() for text in formats or () for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def watch_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Where films arrive; it may come and go.", readable=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for all results.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            autocompletion=_complete_formats,
            help="csv, jsonl, html, which are kept up to date. Default: all three.",
        ),
    ] = None,
    model: Model = None,
    operating_point: Point = None,
    jobs: Jobs = 1,
    recursive: Recursive = True,
    interval: Annotated[
        float,
        typer.Option(
            min=0.1, metavar="SECONDS", help="Between two looks; a file must hold still for one."
        ),
    ] = 2.0,
    heatmaps: Heatmaps = False,
    quiet: QuietWatch = False,
    any_age: AnyAge = False,
    any_view: AnyView = False,
    any_body_part: AnyBodyPart = False,
    with_identifiers: WithIdentifiers = False,
    runtime: Runtime = None,
) -> None:
    """Score films as they arrive in a folder, until stopped.

    A film is taken once its file holds still and nobody writes to it. Each gets a line on stdout and
    a row in the results folder, edge-xray-results unless --output says otherwise. Ctrl-C, SIGTERM and
    closing the terminal finish the film under way; started again, it goes on where it was.
    """
    from edge_xray.gate import Limits
    from edge_xray.scan import ScanOptions
    from edge_xray.scan_command import ScanRequest
    from edge_xray.watch_command import run_watch_command

    request = ScanRequest(
        paths=(),
        output=output or Path(DEFAULT_FOLDER),
        formats=_split_commas(formats),
        model=model,
        runtime=runtime,
        options=ScanOptions(
            operating_point=operating_point,
            jobs=jobs,
            recursive=recursive,
            limits=Limits(any_age, any_view, any_body_part),
            with_identifiers=with_identifiers,
        ),
        heatmaps=heatmaps,
        quiet=quiet,
    )
    raise typer.Exit(run_watch_command(folder, request, say, typer.echo, interval))


def info_command(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|NAME]",
            autocompletion=_complete_models,
            help="A packed .tflite file, or the name of a shipped model. Default: the shipped one.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The metadata as it stands in the file.")
    ] = False,
) -> None:
    """Print what a model file says of itself: what it is for, where its line is, where it is from."""
    from edge_xray.classifier import open_model
    from edge_xray.reports import model_text
    from edge_xray.shipped import read_model, shipped_names

    found = read_model(model)
    _, metadata = open_model(found)
    if as_json:
        tell(metadata.to_json(), nl=False)
        return
    lines = model_text.render(metadata, found.sha256, found.source, len(found.data))
    tell("".join(lines), nl=False)
    if model is None and len(shipped_names()) > 1:
        say(f"Shipped models: {', '.join(shipped_names())}")


def tell(text: str, *, nl: bool = True) -> None:
    """Say a line on stdout.

    Raises:
        OutputError: stdout is full or closed.
        OSError: its reader had enough, which is nobody's fault.
    """
    try:
        typer.echo(text, nl=nl)
    except OSError as error:
        if reader_left(error):
            raise
        raise OutputError(
            f"stdout: cannot be written ({error.strerror or error}); free some space"
        ) from error


def say(text: str) -> None:
    """Say a line on stderr: talk and errors, never data. Nothing fails because nobody can hear it."""
    with contextlib.suppress(OSError, ValueError):
        typer.echo(one_line(text), err=True)
