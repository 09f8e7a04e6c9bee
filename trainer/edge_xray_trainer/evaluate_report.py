"""An evaluation as JSON, Markdown, HTML and CSV; plain data in, text out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from edge_xray.labelled import films_and_patients
from edge_xray.measures import mean_of_two
from edge_xray.metadata import DISCLAIMER
from edge_xray_trainer.corruptions import CORRUPTIONS
from edge_xray_trainer.delivery import as_json
from edge_xray_trainer.evaluate import Evaluation
from edge_xray_trainer.evaluate_tables import BENCHMARK_FINDING, tables_of
from edge_xray_trainer.figures import Measures
from edge_xray_trainer.pages import render_page
from edge_xray_trainer.plots import (
    Picture,
    bars_plot,
    confusion_plot,
    reliability_plot,
    roc_plot,
)
from edge_xray_trainer.provenance import made_by, provenance_section
from edge_xray_trainer.tables import markdown

SCHEMA_VERSION = 1


def summary_of(evaluation: Evaluation) -> str:
    """One sentence: which model, on which films, at which operating point."""
    test, point = evaluation.test, evaluation.point
    name = f"{evaluation.metadata.name} {evaluation.metadata.version}"
    kind = evaluation.metadata.quantization or "float32"
    return (
        f"{name} ({evaluation.model_file}, {kind}, {evaluation.runtime}) on "
        f"{films_and_patients(test.films, test.patients, evaluation.patients_unknown)} ({evaluation.data}, part {evaluation.part}), operating point "
        f"{point.name}: a finding from a probability of {point.threshold:.3f}."
        + "".join(f" {note}" for note in evaluation.notes)
    )


def pictures_of(evaluation: Evaluation) -> list[Picture]:
    """The plots of the report."""
    test = evaluation.test
    reliability = evaluation.reliability
    made = []
    if math.isfinite(test.auc.value):
        point = (test.type_1.value, test.sensitivity.value)
        made.append(roc_plot(f"AUC {test.auc.value:.3f}", evaluation.roc, point))
    made.append(reliability_plot(reliability.stated, reliability.observed, reliability.films))
    if evaluation.classes is not None:
        made.append(confusion_plot(evaluation.classes.names, evaluation.classes.confusion))
    robustness = evaluation.robustness
    if robustness is not None:
        known = evaluation.metadata.finding == BENCHMARK_FINDING
        made.append(
            bars_plot(
                "Balanced error on corrupted films, mean over severities.",
                list(robustness.by_corruption),
                list(robustness.by_corruption.values()),
                "balanced error",
                reference=[own.alexnet for own in CORRUPTIONS] if known else None,
                reference_name="AlexNet of the benchmark",
            )
        )
    return made


def provenance_of(evaluation: Evaluation, command: str) -> dict[str, str]:
    """What was run on what, so that it can be run again."""
    return {
        "Command": command,
        "Model": f"{evaluation.model_file}, SHA-256 {evaluation.model_sha256}",
        "Size": f"{evaluation.model_bytes:,} bytes",
        "Runtime": evaluation.runtime,
        "Films": f"{evaluation.test.films} of {evaluation.data}, part {evaluation.part}; SHA-256 over "
        f"their hashes {evaluation.films_sha256}",
        "Made by": made_by(),
    }


def to_record(evaluation: Evaluation, command: str) -> dict[str, Any]:
    """The evaluation as plain data; what single films got is in the CSV."""
    test = evaluation.test
    return {
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "model": {
            "name": evaluation.metadata.name,
            "version": evaluation.metadata.version,
            "file": evaluation.model_file,
            "sha256": evaluation.model_sha256,
            "bytes": evaluation.model_bytes,
            "architecture": evaluation.metadata.architecture,
            "quantization": evaluation.metadata.quantization or "float32",
            "runtime": evaluation.runtime,
            "input": evaluation.metadata.input.to_dict(),
        },
        "data": {
            "folder": evaluation.data,
            "part": evaluation.part,
            "films": test.films,
            "patients": test.patients,
            "patients_unknown": evaluation.patients_unknown,
            "labels": dict(evaluation.labels),
            "films_sha256": evaluation.films_sha256,
            "skipped": dict(evaluation.skipped),
            "notes": list(evaluation.notes),
        },
        "operating_point": evaluation.point.to_dict(),
        "test": _measures(test),
        "train": _measures(evaluation.train) if evaluation.train else None,
        "gap": dict(zip(("type_1", "type_2"), evaluation.gap, strict=True))
        if evaluation.gap
        else None,
        "classes": evaluation.classes,
        "predictive_values": [
            {"prevalence": share, "ppv": ppv, "npv": npv}
            for share, ppv, npv in evaluation.predictive
        ],
        "score_calibration": evaluation.reliability,
        "roc": {
            "false_positive_rate": evaluation.roc[0],
            "true_positive_rate": evaluation.roc[1],
        },
        "subgroups": [
            {"by": own.by, "subgroup": own.name, **_measures(own.measures), "pairs": own.pairs}
            for own in evaluation.subgroups
        ],
        "robustness": evaluation.robustness,
        "shortcut": {name: _measures(own) for name, own in evaluation.shortcut.items()},
        "provenance": provenance_of(evaluation, command),
    }


def _measures(measures: Measures) -> dict[str, Any]:
    names = ("true_positive", "false_positive", "true_negative", "false_negative")
    return {
        "films": measures.films,
        "patients": measures.patients,
        "positives": measures.positives,
        "counts": dict(zip(names, measures.counts, strict=True)),
        "auc": measures.auc,
        "accuracy": measures.accuracy,
        "sensitivity": measures.sensitivity,
        "specificity": measures.specificity,
        "type_1_error": measures.type_1,
        "type_2_error": measures.type_2,
        "review": measures.review,
    }


def to_json(evaluation: Evaluation, command: str) -> str:
    """The evaluation as JSON."""
    return as_json(to_record(evaluation, command))


def to_markdown(evaluation: Evaluation, command: str) -> str:
    """The evaluation as Markdown, for a model card."""
    text = f"# Evaluation of {evaluation.metadata.name}\n\n{DISCLAIMER}\n\n"
    text += summary_of(evaluation) + "\n\n"
    text += "\n".join(markdown(table) for table in tables_of(evaluation))
    return text + provenance_section(provenance_of(evaluation, command))


def to_html(evaluation: Evaluation, command: str) -> str:
    """The evaluation as one self-contained page."""
    return render_page(
        "evaluation.html",
        title=f"Evaluation of {evaluation.metadata.name}",
        summary=summary_of(evaluation),
        tables=tables_of(evaluation),
        pictures=pictures_of(evaluation),
        provenance=provenance_of(evaluation, command),
    )


def to_csv(evaluation: Evaluation) -> str:
    """What each film got: one row a film."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = evaluation.metadata.label_names
    writer.writerow(
        ["path", "sha256", "group", "reference", "decided", "review", "p_finding"]
        + [f"p_{name}" for name in names]
    )
    scored = evaluation.scored
    for i, film in enumerate(evaluation.films.films):
        shares: Sequence[float] = scored.probabilities[i].tolist()
        writer.writerow(
            [film.path, film.sha256, film.group, film.label, names[int(scored.decided[i])]]
            + [str(bool(scored.review[i])).lower(), f"{scored.p_finding[i]:.6f}"]
            + [f"{share:.6f}" for share in shares]
        )
    return stream.getvalue()


def stand_in_of(evaluation: Evaluation) -> dict[str, Any]:
    """The figures that a run's record keeps of a stand-in for a shift of site."""
    test = evaluation.test
    return {
        "films": test.films,
        "patients": test.patients,
        "auc": test.auc,
        "sensitivity": test.sensitivity,
        "specificity": test.specificity,
        "balanced_accuracy": mean_of_two(test.sensitivity, test.specificity),
        "model_sha256": evaluation.model_sha256,
        "films_sha256": evaluation.films_sha256,
    }
