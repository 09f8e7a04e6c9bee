"""``edge-xray parity``: parse, call, tell."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_xray._extras import require
from edge_xray.errors import ExitCode
from edge_xray_converter import _options as options
from edge_xray_converter.budget import Budget

if TYPE_CHECKING:
    from edge_xray_converter.converted_from import Told
    from edge_xray_converter.describe import Description
    from edge_xray_converter.sources import PixelRange


def parity_command(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="REFERENCE CANDIDATE…",
            help="Packed .tflite files or .keras files, the reference first.",
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="Labelled films, one folder a class.")],
    split: options.Split = None,
    part: Annotated[
        str | None, typer.Option(help="Which part of the split. Default: test.")
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns path and patient (and label), for a whole folder."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="STEM",
            help="STEM.html, STEM.json and STEM.md are written.",
        ),
    ] = Path("edge-xray-parity"),
    operating_point: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Operating point; by default each model's own."),
    ] = None,
    max_accuracy_drop: options.AccuracyDrop = Budget.accuracy_drop,
    max_label_accuracy_drop: options.LabelAccuracyDrop = Budget.label_accuracy_drop,
    max_sensitivity_drop: options.SensitivityDrop = Budget.sensitivity_drop,
    max_auc_drop: options.AucDrop = Budget.auc_drop,
    max_pair_auc_drop: options.PairAucDrop = Budget.pair_auc_drop,
    max_flips: options.Flips = Budget.flips,
    max_mean_shift: options.MeanShift = Budget.mean_shift,
    max_refusals: options.Refusals = Budget.refusals,
    resamples: Annotated[
        int,
        typer.Option(
            min=100, max=options.MOST_RESAMPLES, help="Draws of patients for the intervals."
        ),
    ] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Measure latency and memory.")
    ] = True,
    show_films: Annotated[
        bool,
        typer.Option("--films/--no-films", help="Show and name the films that get another label."),
    ] = True,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME…]",
            help="ai-edge-litert, tflite-runtime or tensorflow; one for all models or one a model; "
            "by default the first found.",
        ),
    ] = None,
    input_range: options.InputRange = None,
    labels: options.Labels = None,
    negative: options.Negative = None,
) -> None:
    """Compare models on the same films, through the code the clinic runs; exit 1 if too much is lost.

    A .keras file or SavedModel is run as a float32 .tflite made on the fly; what one from elsewhere does not say of
    itself is read from a candidate that was converted from it. Without --split the split.json
    beside the reference decides if it is of --data's films, else all films are used; films that set the ranges
    of an int8 model are refused. Packed .tflite files alone
    need no TensorFlow.
    """
    trained = any(path.suffix != ".tflite" for path in models)
    require("convert", "edge-xray parity", options.MODULES if trained else options.REPORT_MODULES)
    from edge_xray.progress import progress
    from edge_xray.unseen_films import TEST_PART, split_beside
    from edge_xray_converter.convert import Conversion, convert
    from edge_xray_converter.describe import Description, parse_labels, parse_names
    from edge_xray_converter.outputs import check_name, write_output
    from edge_xray_converter.parity import make_parity
    from edge_xray_converter.parity_html import render
    from edge_xray_converter.parity_text import failures, to_json, to_markdown
    from edge_xray_converter.record import Making, make_record
    from edge_xray_converter.runs import open_models
    from edge_xray_converter.sources import PixelRange, with_name
    from edge_xray_converter.truth import read_parity_set

    check_name(output)
    models = [with_name(model) for model in models]
    told = _told(
        models,
        Description(labels=parse_labels(labels), negative=parse_labels(negative)),
        PixelRange.parse(input_range) if input_range is not None else None,
    )

    def convert_float(source: Path, path: Path) -> None:
        how = Conversion(data=data)
        if source in told:
            known = told[source]
            how = replace(how, description=known.description, pixel_range=known.pixel_range)
        with progress(f"Converting {source.name}", None):
            convert(source, ["float32"], path, how)

    budget = Budget(
        max_accuracy_drop,
        max_label_accuracy_drop,
        max_sensitivity_drop,
        max_auc_drop,
        max_pair_auc_drop,
        max_flips,
        max_mean_shift,
        max_refusals,
    )
    command = shlex.join(["edge-xray", *map(_without_folders, sys.argv[1:])])
    making = Making(resamples, seed, timing, show_films, command)
    wanted = part or TEST_PART
    if split is None and (split := split_beside(models[0], data, wanted)) is not None:
        typer.echo(
            f"Films of part {wanted} of {split.name}, found beside {models[0].name}.", err=True
        )
    films = read_parity_set(data, split, part, patients)
    with open_models(
        models,
        convert_float=convert_float,
        operating_point=operating_point,
        runtimes=parse_names(runtime),
    ) as opened:
        with progress("Scoring films", len(films.films)) as done:
            parity = make_parity(opened, films, budget, resamples=resamples, seed=seed, step=done)
        with progress("Timing the models" if timing else "Writing the report", None):
            record = make_record(parity, making)
            texts = {
                ".html": render(parity, record, films=show_films),
                ".json": to_json(record),
                ".md": to_markdown(record),
            }
    if split is None:
        typer.echo(
            f"All {len(films.films)} films of {data.name}: no split of them is named or found beside "
            f"{models[0].name}.",
            err=True,
        )
    for ending, text in texts.items():
        path = output.with_name(output.name + ending)
        # A name whose bytes are no text is shown with escapes.
        write_output(path, text.encode("utf-8", "backslashreplace"))
        typer.echo(str(path))
    for remark in record["remarks"]:
        typer.echo(remark, err=True)
    typer.echo(record["verdict"], err=True)
    if not parity.passed:
        for line in failures(record):
            typer.echo(f"  {line}", err=True)
        raise typer.Exit(ExitCode.FAILED_CHECK)


def _told(
    models: Sequence[Path], said: Description, pixel_range: PixelRange | None
) -> dict[Path, Told]:
    """What is known of each network from elsewhere; says where it stands if nobody said it now.

    Raises:
        UsageError: something is said, and there is no such network.
    """
    from edge_xray.errors import UsageError
    from edge_xray_converter.converted_from import told_of
    from edge_xray_converter.describe import carries_metadata
    from edge_xray_converter.runs import is_trained
    from edge_xray_converter.sources import PixelRange

    foreign = [model for model in models if is_trained(model) and not carries_metadata(model)]
    given = list(said.options())
    if pixel_range not in (None, PixelRange()):
        given.append("--input-range")
    if given and not foreign:
        raise UsageError(
            f"{', '.join(given)}: is for networks from elsewhere, and all of these models say themselves "
            "what they are; leave it out"
        )
    told = {model: told_of(model, models, said, pixel_range) for model in foreign}
    for model, known in told.items():
        if known.by is not None:
            typer.echo(
                f"{model.name} carries no metadata: what no option says of it is read from "
                f"{known.by.name}, which was converted from it.",
                err=True,
            )
    return told


def _without_folders(argument: str) -> str:
    """An argument as the report may show it: folders of this machine concern nobody else."""
    return re.sub(r"^(--[^=/\\]+=|-\w)?.*[/\\]", r"\1", argument.rstrip("/\\"), flags=re.DOTALL)
