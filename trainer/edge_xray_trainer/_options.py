"""Options that ``audit``, ``compare`` and ``evaluate`` share, and the modules that the latter two need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_xray_trainer.cli import LARGEST_SEED

REPORT_MODULES = ("scipy", "matplotlib", "jinja2")
"""What measuring a packed ``.tflite`` file needs of the extra ``train``."""

MOST_RESAMPLES = 100_000
"""More would take gigabytes of memory, and move no digit that is shown."""

Data = Annotated[Path, typer.Option("--data", "-d", help="Folder of labelled films.")]
Split = Annotated[
    Path | None,
    typer.Option(
        help="Split file; default: split.json beside the model if it is of --data's films, else all "
        "films of the folder."
    ),
]
Part = Annotated[str | None, typer.Option(help="Which part of the split. Default: test.")]
Patients = Annotated[
    Path | None,
    typer.Option(help="CSV with the columns path and patient (and label), for a whole folder."),
]
Robustness = Annotated[
    bool, typer.Option("--robustness/--no-robustness", help="Score corrupted films too.")
]
RobustnessFilms = Annotated[
    int, typer.Option(min=0, help="Corrupt so many films, drawn at random; 0: all.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Folder for the report's files."),
]
Resamples = Annotated[int, typer.Option(min=100, max=MOST_RESAMPLES, help="Of the bootstrap.")]
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of everything drawn.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Films at once.")]
