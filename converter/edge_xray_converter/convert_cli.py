"""``edge-xray convert``: parse, call, tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_xray._extras import require
from edge_xray.errors import ExitCode
from edge_xray_converter import _options as options
from edge_xray_converter.budget import Budget

if TYPE_CHECKING:
    from edge_xray_converter.convert import Converted
    from edge_xray_converter.sources import Flavour

RANKED_LAYERS = 5
"""How many layers are named where int8 loses too much."""


def convert_command(
    context: typer.Context,
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
            "By default beside MODEL.",
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
    split: options.Split = None,
    all_training: Annotated[
        bool, typer.Option("--all-training", help="All films of --data are training films.")
    ] = False,
    films: Annotated[
        int, typer.Option(min=1, help="How many training films set the ranges of int8.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of their draw.")] = 0,
    draws: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Draw them N times, with seeds from --seed on, and take the draw that loses least on the split's "
            "validation films.",
        ),
    ] = 1,
    keep_float: Annotated[
        str,
        typer.Option(
            metavar="auto|none|NAME,…",
            help="Operations left in float: auto takes the fewest that keep the budget.",
        ),
    ] = "none",
    delegate: Annotated[
        bool,
        typer.Option(
            "--delegate/--no-delegate",
            help="Whether the runtime may use its fast delegate (XNNPACK). Without it int8 is slower and "
            "gives the same answers in every runtime, on one kind of processor.",
        ),
    ] = True,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Try int8 on the split's validation films.")
    ] = True,
    max_accuracy_drop: options.AccuracyDrop = Budget.accuracy_drop,
    max_label_accuracy_drop: options.LabelAccuracyDrop = Budget.label_accuracy_drop,
    max_sensitivity_drop: options.SensitivityDrop = Budget.sensitivity_drop,
    max_auc_drop: options.AucDrop = Budget.auc_drop,
    max_pair_auc_drop: options.PairAucDrop = Budget.pair_auc_drop,
    max_flips: options.Flips = Budget.flips,
    max_mean_shift: options.MeanShift = Budget.mean_shift,
    max_refusals: options.Refusals = Budget.refusals,
    input_range: options.InputRange = None,
    labels: options.Labels = None,
    negative: options.Negative = None,
    finding: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="What a positive film shows; names the column p_WORD.",
            rich_help_panel=options.FOREIGN_PANEL,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Its name; by default the file's.", rich_help_panel=options.FOREIGN_PANEL
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="A film is positive from this probability on, by default 0.5.",
            rich_help_panel=options.FOREIGN_PANEL,
        ),
    ] = None,
) -> None:
    """Convert a trained network to .tflite files that the clinic can run.

    The ranges of int8 are measured on the split's training films only (by default split.json beside
    MODEL), and the result is tried on its validation films: exit 1 if it loses more than the budget.
    """
    require("convert", "edge-xray convert", options.MODULES)
    from edge_xray.progress import progress
    from edge_xray_converter.convert import Conversion, convert
    from edge_xray_converter.describe import Description, parse_labels
    from edge_xray_converter.sources import PixelRange, with_name

    model = with_name(model)
    chosen: dict[Flavour, bool] = {
        "int8": int8,
        "float16": float16,
        "dynamic": dynamic,
        "float32": float32,
    }
    flavours = [flavour for flavour, wanted in chosen.items() if wanted]
    with progress(f"Converting {model.name}", draws if draws > 1 else None) as drawn:
        written = convert(
            model,
            flavours or ["int8"],
            output or model.parent / f"{model.stem}.tflite",
            Conversion(
                data,
                split,
                all_training,
                films,
                seed,
                PixelRange.parse(input_range) if input_range is not None else PixelRange(),
                Description(
                    name or "",
                    parse_labels(labels),
                    parse_labels(negative),
                    finding or "",
                    threshold,
                ),
                keep_float,
                check,
                Budget(
                    max_accuracy_drop,
                    max_label_accuracy_drop,
                    max_sensitivity_drop,
                    max_auc_drop,
                    max_pair_auc_drop,
                    max_flips,
                    max_mean_shift,
                    max_refusals,
                ),
                tuple(_trial_options(context)),
                delegate,
                draws,
            ),
            drawn,
        )
    for file in written:
        _tell(file)
        typer.echo(str(file.path))
    if not all(file.passed for file in written):
        raise typer.Exit(ExitCode.FAILED_CHECK)


def _trial_options(context: typer.Context) -> Iterator[str]:
    """The options given that say how int8 is tried."""
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        asked = (
            name.startswith("max_")
            or (name == "check" and value)
            or (name == "draws" and value > 1)
        )
        if given and asked:
            yield f"--{name.replace('_', '-')}"


def _tell(file: Converted) -> None:
    from edge_xray_converter.parity_text import check_row

    kinds = ", ".join(f"{count} {kind}" for kind, count in file.operations.items())
    typer.echo(f"{file.flavour}: {file.size / 1e6:.2f} MB, {kinds}", err=True)
    if file.kept_float:
        typer.echo(f"  left in float: {', '.join(file.kept_float)}", err=True)
    if file.draws > 1:
        typer.echo(
            f"  of {file.draws} draws of training films that of --seed {file.drawn} lost least",
            err=True,
        )
    if file.untried:
        typer.echo(f"  not tried on validation films: {file.untried}", err=True)
    for check in file.checks:
        mark = "kept" if check.passed else "NOT KEPT"
        name, measured, limit = check_row(vars(check))
        typer.echo(f"  {name} on validation films: {measured}, allowed {limit}: {mark}", err=True)
    if not file.passed:
        typer.echo(
            "  int8 loses too much. Error each operation adds, in steps of its output:", err=True
        )
        for layer in file.ranking[:RANKED_LAYERS]:
            typer.echo(f"    {layer.relative:6.2f}  {layer.kind} {layer.name}", err=True)
        if not file.kept_float:
            more = (
                ""
                if file.all_drawn
                else ", more --films, or the best of several draws with --draws"
            )
            typer.echo(f"  Try --keep-float auto{more}.", err=True)
        if file.too_few:
            typer.echo(f"  {file.too_few}", err=True)
