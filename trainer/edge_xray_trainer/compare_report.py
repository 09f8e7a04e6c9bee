"""A comparison of models as tables, plots, JSON, Markdown and HTML; plain data in, text out."""

from __future__ import annotations

import os
import platform
from typing import Any

from edge_xray.labelled import films_and_patients
from edge_xray.metadata import DISCLAIMER
from edge_xray_trainer.compare import ComparedRun, Comparison, verdict_of
from edge_xray_trainer.delivery import as_json, plain
from edge_xray_trainer.evaluate_tables import INTERVALS
from edge_xray_trainer.pages import render_page
from edge_xray_trainer.plots import Picture, scatter_plot
from edge_xray_trainer.provenance import made_by, provenance_section
from edge_xray_trainer.tables import Cell, Table, markdown

SCHEMA_VERSION = 1
MEGABYTE = 1_000_000


def tables_of(comparison: Comparison) -> list[Table]:
    """All tables of the report."""
    made = [_figures(comparison), _costs(comparison), _shifts(comparison)]
    if len(comparison.runs) > 1:
        made.append(_differences(comparison))
    return made


def summary_of(comparison: Comparison) -> str:
    """Which films, and the verdict."""
    test = comparison.runs[0].test
    return (
        f"{len(comparison.runs)} models on "
        f"{films_and_patients(test.films, test.patients, comparison.patients_unknown)} "
        f"({comparison.data}, part {comparison.part}), each at its own operating point. "
        f"{verdict_of(comparison)}" + "".join(f" {note}" for note in comparison.notes)
    )


def _figures(comparison: Comparison) -> Table:
    # An area is the same whichever of the two comes first, and models differ in that.
    areas = [
        {tuple(sorted(pair)): own for pair, own in run.pairs.items()} for run in comparison.runs
    ]
    pairs = list(dict.fromkeys(pair for own in areas for pair in own))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            run.name,
            run.test.auc,
            run.test.accuracy,
            run.test.sensitivity,
            run.test.specificity,
            run.class_accuracy,
            *(own.get(pair) for pair in pairs),
            run.calibration_error,
        )
        for run, own in zip(comparison.runs, areas, strict=True)
    )
    return Table(
        "Figures",
        (
            "model",
            "AUC",
            "accuracy",
            "sensitivity",
            "specificity",
            "class accuracy",
            *(f"AUC {' vs '.join(pair)}" for pair in pairs),
            "ECE",
        ),
        rows,
        INTERVALS,
    )


def _costs(comparison: Comparison) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            run.name,
            run.metadata.architecture or "–",
            run.metadata.quantization or "float32",
            f"{run.metadata.input.width}x{run.metadata.input.height}",
            run.bytes / MEGABYTE,
            run.milliseconds,
            run.runtime,
        )
        for run in comparison.runs
    )
    return Table(
        "Costs",
        ("model", "architecture", "numbers", "input", "MB", "ms a film", "runtime"),
        rows,
        "Median of 100 runs from prepared pixels to logits, with its 95 % interval, on this machine "
        f"({platform.machine()}, {os.cpu_count()} processors): compare within the table only.",
    )


def _shifts(comparison: Comparison) -> Table:
    names = list(dict.fromkeys(name for run in comparison.runs for name in run.stand_ins))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            run.name,
            run.robustness,
            run.border.auc if run.border else None,
            run.centre_blanked.auc if run.centre_blanked else None,
            *(run.stand_ins.get(name) for name in names),
        )
        for run in comparison.runs
    )
    note = (
        "Mean balanced error: 13 corruptions at 5 severities. AUC on the border alone and with the "
    )
    note += "centre blanked: 0.5 is a model that reads nothing there. "
    if names:
        note += (
            "Stand-ins, from the runs' records: balanced accuracy on one series of normal films of a network "
            "trained without it, by the recipe of that run or a shorter one; not of the model itself."
        )
    else:
        note += "No run's record holds stand-ins; edge-xray evaluate --record adds them."
    return Table(
        "Stand-ins for a shift of site",
        (
            "model",
            "mean balanced error, corrupted",
            "AUC, border only",
            "AUC, centre blanked",
            *names,
        ),
        rows,
        note,
    )


def _differences(comparison: Comparison) -> Table:
    first = comparison.runs[0].name
    return Table(
        f"Differences to {first}",
        ("model", "AUC", "accuracy"),
        tuple(
            (run.name, run.difference_auc, run.difference_accuracy) for run in comparison.runs[1:]
        ),
        "Paired, on the same films, with 95 % intervals by patient; where one holds 0, the "
        "films do not tell which model is better. An area that no draw of patients changes has none.",
    )


def pictures_of(comparison: Comparison) -> list[Picture]:
    """Accuracy against size, and against time."""
    runs = comparison.runs
    return [
        scatter_plot(
            "Accuracy against size of the file.",
            {run.name: (run.bytes / MEGABYTE, run.test.accuracy) for run in runs},
            "size in MB",
            "accuracy",
        ),
        scatter_plot(
            "Accuracy against time a film on this machine.",
            {run.name: (run.milliseconds.value, run.test.accuracy) for run in runs},
            "milliseconds a film",
            "accuracy",
        ),
        scatter_plot(
            "AUC against size of the file.",
            {run.name: (run.bytes / MEGABYTE, run.test.auc) for run in runs},
            "size in MB",
            "AUC",
        ),
    ]


def provenance_of(comparison: Comparison, command: str) -> dict[str, str]:
    """What was run on what, so that it can be run again."""
    return {
        "Command": command,
        **{f"Model {run.name}": f"SHA-256 {run.sha256}" for run in comparison.runs},
        "Films": f"SHA-256 over their hashes {comparison.films_sha256}",
        "Made by": made_by(),
    }


def to_json(comparison: Comparison, command: str) -> str:
    """The comparison as JSON."""
    return as_json(
        {
            "schema_version": SCHEMA_VERSION,
            "disclaimer": DISCLAIMER,
            "verdict": verdict_of(comparison),
            "data": {
                "folder": comparison.data,
                "part": comparison.part,
                "films_sha256": comparison.films_sha256,
                "labels": comparison.labels,
                "patients_unknown": comparison.patients_unknown,
                "notes": list(comparison.notes),
            },
            "runs": [_run(run) for run in comparison.runs],
            "provenance": provenance_of(comparison, command),
        }
    )


def _run(run: ComparedRun) -> dict[str, Any]:
    record: dict[str, Any] = plain(
        {name: value for name, value in vars(run).items() if name != "metadata"}
    )
    metadata = run.metadata
    return {
        **record,
        "model": metadata.name,
        "version": metadata.version,
        "architecture": metadata.architecture,
        "quantization": metadata.quantization or "float32",
        "input": metadata.input.to_dict(),
    }


def to_markdown(comparison: Comparison, command: str) -> str:
    """The comparison as Markdown, for a model card."""
    text = f"# Comparison of models\n\n{DISCLAIMER}\n\n{summary_of(comparison)}\n\n"
    text += "\n".join(markdown(table) for table in tables_of(comparison))
    return text + provenance_section(provenance_of(comparison, command))


def to_html(comparison: Comparison, command: str) -> str:
    """The comparison as one self-contained page."""
    return render_page(
        "evaluation.html",
        title="Comparison of models",
        summary=summary_of(comparison),
        tables=tables_of(comparison),
        pictures=pictures_of(comparison),
        provenance=provenance_of(comparison, command),
    )
