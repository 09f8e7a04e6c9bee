"""An evaluation as tables, JSON, Markdown, HTML and CSV; plain data in, text out."""

from __future__ import annotations

import csv
import io
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from edge_xray import __version__
from edge_xray.metadata import DISCLAIMER, Estimate
from edge_xray_trainer.corruptions import ALEXNET_BALANCED_ERROR, CORRUPTIONS, SEVERITIES
from edge_xray_trainer.delivery import as_json
from edge_xray_trainer.evaluate import Evaluation
from edge_xray_trainer.figures import Measures
from edge_xray_trainer.pages import render_page
from edge_xray_trainer.plots import (
    Picture,
    bars_plot,
    confusion_plot,
    reliability_plot,
    roc_plot,
)
from edge_xray_trainer.tables import Cell, Table, markdown

SCHEMA_VERSION = 1

BENCHMARK_FINDING = "pneumonia"
"""The finding of the benchmark whose reference errors are shown beside ours."""

INTERVALS = (
    "In parentheses: 95 % intervals. Rates: Wilson's for the effective number of films, as films of "
    "one patient resemble each other. Areas and means: bootstrap of patients."
)


def tables_of(evaluation: Evaluation) -> list[Table]:
    """All tables of the report, the most important first."""
    made = [_headline(evaluation), _errors(evaluation), _predictive(evaluation)]
    if evaluation.classes is not None:
        made += [_classes(evaluation), _confusion(evaluation)]
    made.append(_calibration(evaluation))
    if evaluation.subgroups:
        made.append(_subgroups(evaluation))
    if evaluation.shortcut:
        made.append(_shortcut(evaluation))
    if evaluation.robustness is not None:
        made.append(_robustness(evaluation))
    return made


def summary_of(evaluation: Evaluation) -> str:
    """One sentence: which model, on which films, at which operating point."""
    test, point = evaluation.test, evaluation.point
    name = f"{evaluation.metadata.name} {evaluation.metadata.version}"
    kind = evaluation.metadata.quantization or "float32"
    return (
        f"{name} ({evaluation.model_file}, {kind}, {evaluation.runtime}) on {test.films} films of "
        f"{test.patients} patients ({evaluation.data}, part {evaluation.part}), operating point "
        f"{point.name}: a finding from a probability of {point.threshold:.3f}."
    )


def _headline(evaluation: Evaluation) -> Table:
    test = evaluation.test
    hit, false, clear, missed = test.counts
    rows: list[tuple[Cell, ...]] = [
        ("AUC", test.auc, test.films),
        ("accuracy", test.accuracy, test.films),
        ("sensitivity", test.sensitivity, test.positives),
        ("specificity", test.specificity, test.films - test.positives),
        ("given to a person (review)", test.review, test.films),
    ]
    note = (
        f"{hit} true and {false} false positives, {clear} true and {missed} false negatives. "
        + INTERVALS
    )
    if evaluation.skipped:
        first = next(iter(evaluation.skipped.items()))
        note += f" {len(evaluation.skipped)} films could not be read, the first: {first[0]}."
    finding = evaluation.metadata.finding
    return Table(f"Normal against {finding}", ("figure", "value", "films"), tuple(rows), note)


def _errors(evaluation: Evaluation) -> Table:
    test, train = evaluation.test, evaluation.train
    gaps = evaluation.gap or (None, None)
    rows = tuple(
        (name, getattr(train, field) if train else None, getattr(test, field), gap)
        for name, field, gap in (
            ("type I error (false alarms)", "type_1", gaps[0]),
            ("type II error (misses)", "type_2", gaps[1]),
        )
    )
    trained = f"{train.films} training films" if train else "No training films measured"
    return Table(
        "Errors on films learnt from and on others",
        ("error", "training films", "these films", "gap"),
        rows,
        f"{trained}; {test.films} of these. A gap above 0 is what was learnt by heart (interval: "
        "Newcombe's, for different patients).",
    )


def _predictive(evaluation: Evaluation) -> Table:
    return Table(
        "What an answer is worth, by how common the finding is",
        ("prevalence", "PPV", "NPV"),
        tuple((f"{share:.0%}", ppv, npv) for share, ppv, npv in evaluation.predictive),
        "PPV: positives among films called positive; NPV: negatives among films called negative. "
        "Intervals: Mercaldo, Lau & Zhou 2007.",
    )


def _classes(evaluation: Evaluation) -> Table:
    classes = evaluation.classes
    if classes is None:
        raise ValueError("the class of no film is known")
    count = dict(zip(classes.names, classes.confusion.sum(axis=1).tolist(), strict=True))
    rows: list[tuple[Cell, ...]] = [
        ("accuracy of the class", classes.accuracy, sum(count.values()))
    ]
    rows += [(f"recall: {name}", value, count[name]) for name, value in classes.recall.items()]
    rows += [
        (f"AUC: {name} against all others", value, sum(count.values()))
        for name, value in classes.one_against_rest.items()
    ]
    rows += [
        (f"AUC: {pair}", value, sum(count[name] for name in pair.split(" vs ")))
        for pair, value in classes.pairs.items()
    ]
    return Table("Which class", ("figure", "value", "films"), tuple(rows), INTERVALS)


def _confusion(evaluation: Evaluation) -> Table:
    classes = evaluation.classes
    if classes is None:
        raise ValueError("the class of no film is known")
    rows = tuple(
        (name, *(int(count) for count in row), classes.recall.get(name))
        for name, row in zip(classes.names, classes.confusion, strict=True)
    )
    return Table(
        "Confusion",
        ("reference", *(f"called {name}" for name in classes.names), "recall"),
        rows,
        "Decided as the device does: first finding or none at the operating point, then the most "
        "probable class on that side.",
    )


def _calibration(evaluation: Evaluation) -> Table:
    reliability = evaluation.reliability
    used = [i for i, films in enumerate(reliability.films) if films]
    rows: list[tuple[Cell, ...]] = [
        (
            f"stated {reliability.stated[i]:.2f}",
            reliability.observed[i],
            reliability.films[i],
        )
        for i in used
    ]
    rows = [
        ("ECE of the finding", reliability.finding, evaluation.test.films),
        ("ECE of the class", reliability.classes, evaluation.test.films),
        *rows,
    ]
    return Table(
        "Score calibration",
        ("", "value, or share of positives", "films"),
        tuple(rows),
        f"Expected calibration error over {len(reliability.films)} bins (Guo et al. 2017); with few "
        "films it and its interval lean high.",
    )


def _row(measures: Measures) -> tuple[Cell, ...]:
    return (
        measures.films,
        measures.patients,
        measures.auc,
        measures.accuracy,
        measures.sensitivity,
        measures.specificity,
    )


_COLUMNS = ("films", "patients", "AUC", "accuracy", "sensitivity", "specificity")


def _subgroups(evaluation: Evaluation) -> Table:
    return Table(
        "Subgroups",
        ("by", "subgroup", *_COLUMNS),
        tuple((name, value, *_row(own)) for name, value, own in evaluation.subgroups),
        "A dash: the subgroup has no films of one kind. Many subgroups are looked at, so one interval in "
        "twenty misses by chance.",
    )


def _shortcut(evaluation: Evaluation) -> Table:
    return Table(
        "Shortcuts: what the model makes of parts of a film",
        ("shown", *_COLUMNS),
        tuple((name, *_row(own)) for name, own in evaluation.shortcut.items()),
        "Border only: two of 224 pixels a side; centre: 60 % of each side; the rest is grey. A model "
        "that reads the border has an AUC above 0.5 on it alone.",
    )


def _robustness(evaluation: Evaluation) -> Table:
    robustness = evaluation.robustness
    if robustness is None:
        raise ValueError("robustness was not measured")
    reference = {own.name: own.alexnet for own in CORRUPTIONS}
    reference["mean of the 13"] = ALEXNET_BALANCED_ERROR
    known = evaluation.metadata.finding == BENCHMARK_FINDING
    rows: list[tuple[Cell, ...]] = [("none", robustness.clean, *([None] * len(SEVERITIES)), None)]
    rows += [
        (name, mean, *robustness.by_severity[name], robustness.auc[name])
        for name, mean in robustness.by_corruption.items()
    ]
    rows.append(("mean of the 13", robustness.mean, *([None] * len(SEVERITIES)), None))
    columns = (
        "corruption",
        "balanced error",
        *(f"severity {severity}" for severity in SEVERITIES),
        "AUC",
    )
    note = (
        f"{robustness.films} films, each corrupted in 13 ways at 5 severities as in PneumoniaMNIST-C "
        "(Di Salvo, Doerrich & Ledig 2024). Balanced error: mean of type I and type II error at the "
        "operating point; AUC: mean over severities."
    )
    if known:
        rows = [(*row, reference.get(str(row[0]))) for row in rows]
        columns = (*columns, "AlexNet")
        note += " AlexNet: the benchmark's own reference, on its own test set."
    return Table("Robustness", columns, tuple(rows), note)


def pictures_of(evaluation: Evaluation) -> list[Picture]:
    """The plots of the report."""
    test = evaluation.test
    reliability = evaluation.reliability
    made = [
        roc_plot(
            {f"AUC {test.auc.value:.3f}": evaluation.roc},
            (test.type_1.value, test.sensitivity.value),
        ),
        reliability_plot(reliability.stated, reliability.observed, reliability.films),
    ]
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
        "Made by": f"edge-xray {__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {datetime.now(timezone.utc).isoformat(timespec='seconds')}",
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
            "labels": dict(evaluation.labels),
            "films_sha256": evaluation.films_sha256,
            "skipped": dict(evaluation.skipped),
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
            {"by": name, "subgroup": value, **_measures(own)}
            for name, value, own in evaluation.subgroups
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
    facts = provenance_of(evaluation, command).items()
    return text + "\n## Provenance\n\n" + "".join(f"- {name}: {fact}\n" for name, fact in facts)


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

    def balanced(measures: Measures) -> Estimate:
        """Mean of sensitivity and specificity; interval from both, which are of other patients."""
        first, second = measures.sensitivity, measures.specificity
        value = (first.value + second.value) / 2
        below = ((first.value - first.low) ** 2 + (second.value - second.low) ** 2) ** 0.5 / 2
        above = ((first.high - first.value) ** 2 + (second.high - second.value) ** 2) ** 0.5 / 2
        return Estimate(value, value - below, value + above)

    test = evaluation.test
    return {
        "films": test.films,
        "patients": test.patients,
        "auc": test.auc,
        "sensitivity": test.sensitivity,
        "specificity": test.specificity,
        "balanced_accuracy": balanced(test),
        "model_sha256": evaluation.model_sha256,
        "films_sha256": evaluation.films_sha256,
    }
