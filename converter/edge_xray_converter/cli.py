"""The workshop's commands ``convert`` and ``parity``; everything heavy is imported inside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_xray._extras import require

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


def convert_command(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="A .keras file or a SavedModel folder."),
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
