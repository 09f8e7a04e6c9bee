"""Options that ``convert`` and ``parity`` share, and the modules that both need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

REPORT_MODULES = ("matplotlib", "jinja2")
"""What a report on packed ``.tflite`` files needs of the extra ``convert``."""

MODULES = ("tensorflow", "keras", *REPORT_MODULES)
"""Import names of the extra ``convert``."""

MOST_RESAMPLES = 100_000
"""More would take gigabytes of memory, and move no digit that is shown."""

BUDGET_PANEL = "Budget"
FOREIGN_PANEL = "Networks from elsewhere"


def _share(words: str) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(
        min=0.0, max=1.0, help=words, rich_help_panel=BUDGET_PANEL
    )
    return info


AccuracyDrop = Annotated[float, _share("Of decisions, finding or none, as a share.")]
LabelAccuracyDrop = Annotated[float, _share("Of labels, as a share.")]
SensitivityDrop = Annotated[float, _share("At the operating point, as a share.")]
AucDrop = Annotated[float, _share("Of finding against none.")]
PairAucDrop = Annotated[float, _share("Between the two findings, if there are two.")]
Flips = Annotated[float, _share("Films that get another label, as a share.")]
MeanShift = Annotated[float, _share("Mean change of the probability of a finding.")]
Refusals = Annotated[float, _share("Films that the device would no longer score, as a share.")]

InputRange = Annotated[
    str | None,
    typer.Option(
        metavar="LOW..HIGH",
        help="Range in which it expects its pixels, such as -1..1; by default 0..255.",
        rich_help_panel=FOREIGN_PANEL,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,…",
        help="Its classes in the order of its outputs, by default the folders of --data, sorted.",
        rich_help_panel=FOREIGN_PANEL,
    ),
]
Negative = Annotated[
    str | None,
    typer.Option(
        metavar="A,…",
        help="Which classes mean that nothing was found; by default those named normal, healthy, no_… or the like.",
        rich_help_panel=FOREIGN_PANEL,
    ),
]
Split = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Which film of --data belongs to which part."),
]
