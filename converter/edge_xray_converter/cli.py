"""The workshop's commands ``convert`` and ``parity``; everything heavy is imported inside them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_xray._extras import require
from edge_xray.errors import ExitCode, OutputError

if TYPE_CHECKING:
    from edge_xray_converter.tflite import Flavour

PANEL = "Workshop"
MODULES = ("tensorflow", "keras")


def register(app: typer.Typer) -> None:
    """Add this room's commands to the front door.

    Args:
        app: the ``edge-xray`` application.
    """
    app.command("convert", rich_help_panel=PANEL)(convert_command)
    app.command("parity", rich_help_panel=PANEL)(parity_command)


def convert_command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="A .keras file, a SavedModel folder or a float .tflite file."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The .tflite file; with several kinds, the kind is put before the ending. "
            "[default: beside MODEL]",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Labelled films, one folder a class; int8 needs them."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Integers throughout, uint8 pixels in. The default.")
    ] = False,
    float16: Annotated[
        bool, typer.Option("--float16", help="Weights of 16 bits, float arithmetic.")
    ] = False,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Weights of 8 bits, float arithmetic.")
    ] = False,
    float32: Annotated[bool, typer.Option("--float32", help="Nothing rounded.")] = False,
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Which films are training films. [default: split.json beside MODEL]",
        ),
    ] = None,
    all_training: Annotated[
        bool, typer.Option("--all-training", help="All films of --data are training films.")
    ] = False,
    films: Annotated[
        int, typer.Option(min=1, help="How many training films set the ranges of int8.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Seed of their draw.")] = 0,
    input_range: Annotated[
        str,
        typer.Option(
            metavar="LOW..HIGH",
            help="Range in which a network from elsewhere expects its pixels, such as -1..1.",
        ),
    ] = "0..255",
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,…",
            help="Classes of a network from elsewhere, in the order of its outputs. "
            "[default: the folders of --data, sorted]",
        ),
    ] = None,
    negative: Annotated[
        str | None, typer.Option(metavar="A,…", help="Which of them mean that nothing was found.")
    ] = None,
    finding: Annotated[
        str | None, typer.Option(metavar="WORD", help="What a positive film shows.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of a network from elsewhere.")] = None,
    threshold: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Its operating point: positive from this probability."),
    ] = 0.5,
) -> None:
    """Convert a trained network to .tflite files that the clinic can run.

    The ranges of int8 are measured on films of the split's training part only.
    """
    require("convert", "edge-xray convert", MODULES)
    from edge_xray_converter.convert import convert
    from edge_xray_converter.describe import Description, parse_labels
    from edge_xray_converter.sources import PixelRange

    wanted = [
        flavour
        for flavour, chosen in (
            ("int8", int8),
            ("float16", float16),
            ("dynamic", dynamic),
            ("float32", float32),
        )
        if chosen
    ]
    flavours: list[Flavour] = [*wanted] or ["int8"]  # type: ignore[list-item]
    written = convert(
        model,
        flavours,
        output or model.with_suffix(".tflite"),
        data=data,
        split_file=split,
        all_training=all_training,
        films=films,
        seed=seed,
        pixel_range=PixelRange.parse(input_range),
        description=Description(
            name or "", parse_labels(labels), parse_labels(negative), finding or "", threshold
        ),
    )
    for rewrite in written[0].rewrites:
        typer.echo(f"Rewritten, exactly: {rewrite}.", err=True)
    for file in written:
        kinds = ", ".join(f"{count} {kind}" for kind, count in file.operations.items())
        typer.echo(f"{file.flavour}: {file.size / 1e6:.2f} MB, {kinds}", err=True)
        typer.echo(str(file.path))


def parity_command(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="REFERENCE CANDIDATE…",
            help="Packed .tflite files or .keras files, the reference first.",
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Labelled films, one folder a class.")],
    split: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A split of these films. [default: all films]"),
    ] = None,
    part: Annotated[str, typer.Option(help="Which part of the split.")] = "test",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="STEM", help="STEM.md and STEM.json are written."),
    ] = Path("edge-xray-parity"),
    operating_point: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where decisions are made. [default: the model's own]"),
    ] = None,
    max_accuracy_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of decisions and of labels, as a share.")
    ] = 0.005,
    max_sensitivity_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="At the operating point, as a share.")
    ] = 0.005,
    max_auc_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of finding against none.")
    ] = 0.002,
    max_pair_auc_drop: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Between the two findings, if there are two.")
    ] = 0.01,
    max_flips: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Films with another label, as a share.")
    ] = 0.02,
    max_mean_shift: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Mean change of the probability.")
    ] = 0.02,
    resamples: Annotated[
        int, typer.Option(min=100, help="Draws of patients for the intervals.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Measure latency and memory.")
    ] = True,
    runtime: Annotated[
        str | None,
        typer.Option(help="ai-edge-litert, tflite-runtime or tensorflow. [default: first found]"),
    ] = None,
) -> None:
    """Compare models on the same films, through the code the clinic runs; exit 1 if too much is lost.

    A .keras file is run as a float32 .tflite made on the fly.
    """
    require("convert", "edge-xray parity", MODULES)
    from rich.console import Console
    from rich.progress import Progress

    from edge_xray_converter.budget import Budget
    from edge_xray_converter.parity import Options, make_parity
    from edge_xray_converter.parity_text import to_json, to_markdown
    from edge_xray_converter.runs import open_models
    from edge_xray_converter.truth import read_parity_set

    films = read_parity_set(data, split, part)
    options = Options(
        Budget(
            max_accuracy_drop,
            max_sensitivity_drop,
            max_auc_drop,
            max_pair_auc_drop,
            max_flips,
            max_mean_shift,
        ),
        resamples,
        seed,
        timing,
        runtime,
        shlex.join(["edge-xray", *sys.argv[1:]]),
    )
    with (
        open_models(models, operating_point=operating_point, runtime=runtime, data=data) as opened,
        Progress(console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("Scoring films", total=len(films.films))
        parity = make_parity(
            opened, films, options, lambda done, _: bar.update(task, completed=done)
        )
    for ending, text in ((".json", to_json(parity.record)), (".md", to_markdown(parity.record))):
        path = output.with_name(output.name + ending)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); name another -o"
            ) from error
        typer.echo(str(path))
    typer.echo(parity.record["verdict"], err=True)
    if not parity.passed:
        raise typer.Exit(ExitCode.FAILED_CHECK)
