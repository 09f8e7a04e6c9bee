"""CSV: a stable contract, one row a file found. New columns only ever come at the end."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Final

from edge_xray.metadata import ModelMetadata
from edge_xray.results import PROBABILITY_DIGITS, Prediction, Row, Run

_FIRST: Final = ("path", "sha256", "status", "reason", "label", "triage")
_MIDDLE: Final = ("model", "operating_point")
_LAST: Final = ("message", "warnings", "width", "height", "patient", "heatmap", "model_sha256")

_FORMULA: Final = re.compile(r"""(^|[;|\t])(?=[\s"]*[=+\-@\t＝＋－＠])""")
"""Where a spreadsheet would take what follows for a formula (OWASP, CSV injection): at the start of a cell, also for one
that splits at semicolons, as in most of Europe, at tabs or at bars."""


def columns(metadata: ModelMetadata) -> list[str]:
    """Names of the columns: for the shipped models ``p_pneumonia, p_normal, p_bacterial, p_viral``.

    A class that bears the finding's own name would repeat its column: it is left out where it is the
    only positive class (the two are equal), else called ``p_NAME_class``.
    """
    return [*_FIRST, f"p_{metadata.finding}", *_class_columns(metadata), *_MIDDLE, *_LAST]


def _class_columns(metadata: ModelMetadata) -> dict[str, int]:
    """Column of a class to its place among the probabilities."""
    alone = sum(metadata.positive) == 1
    places = {}
    for place, (name, positive) in enumerate(
        zip(metadata.label_names, metadata.positive, strict=True)
    ):
        if name != metadata.finding:
            places[f"p_{name}"] = place
        elif not (alone and positive):
            places[f"p_{name}_class"] = place
    return places


def render(rows: Iterable[Row], run: Run) -> Iterator[str]:
    """The lines of the file, the header first, each ending with a line feed.

    Args:
        rows: in the order they are to stand.
        run: model and operating point.
    """
    yield _line(columns(run.metadata))
    for row in rows:
        yield _line(_cells(row, run))


def _cells(row: Row, run: Run) -> list[str]:
    classes = _class_columns(run.metadata)
    ends = [f"{run.metadata.name} {run.metadata.version}".strip(), run.point.name]
    warnings = "; ".join(row.warnings)
    if not isinstance(row, Prediction):
        blank = [""] * (3 + len(classes))
        return [
            *(row.path, row.sha256, "not_scored", row.reason),
            *blank,
            *ends,
            *(row.message, warnings, "", "", row.patient, "", run.model_sha256),
        ]
    shares = (row.probabilities[place] for place in classes.values())
    return [
        *(row.path, row.sha256, "scored", "", row.label, row.triage),
        *(_number(value) for value in (row.p_finding, *shares)),
        *ends,
        *("", warnings, str(row.width), str(row.height), row.patient, row.heatmap),
        run.model_sha256,
    ]


def _number(p: float) -> str:
    return f"{p:.{PROBABILITY_DIGITS}f}"


def _line(cells: Iterable[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([safe_cell(cell) for cell in cells])
    return stream.getvalue()


def safe_cell(text: str) -> str:
    """A cell on one line that no spreadsheet runs as a formula: an apostrophe leads what could be one.

    A NUL, at which many a reader ends and which Python 3.10 does not write, becomes the sign for what cannot be shown.
    """
    return _FORMULA.sub(r"\1'", " ".join(text.splitlines()).replace("\0", "\ufffd"))
