"""The parity report as Markdown for the model card, and as JSON. Pure: a report in, text out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edge_xray.labelled import films_and_patients
from edge_xray.metadata import DISCLAIMER

FIGURE_TITLES = {
    "accuracy": "Accuracy, finding or none",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "class_accuracy": "Accuracy of the label",
    "auc": "AUC, finding against none",
    "pair_auc": "AUC, between the two findings",
    "calibration_error": "Calibration error (ECE)",
}
"""What each figure of `edge_xray_converter.paired.Figures` is called, in the order of the table."""

PERCENT_FIGURES = frozenset({"accuracy", "sensitivity", "specificity", "class_accuracy"})
"""Shown as percentages; the others as shares of 1."""

LEAST_P = 0.001
"""A smaller p is not told."""

NO_VALUE = "–"

TEST = "McNemar's test, by patient"
"""What gives the p of right and wrong decisions."""


def to_json(record: Mapping[str, Any]) -> str:
    """The report as indented JSON with a final newline."""
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(record: Mapping[str, Any]) -> str:
    """The report's summary as Markdown.

    Args:
        record: of a `edge_xray_converter.parity.Parity`.
    """
    films = record["films"]
    counts = ", ".join(f"{count} {label}" for label, count in films["per_label"].items())
    models = record["models"]
    whose = films_and_patients(films["count"], films["patients"], films["patients_unknown"])
    lines = [
        f"# Parity: {record['verdict']}",
        "",
        f"{models[0]['title']} (reference) against "
        f"{' and '.join(model['title'] for model in models[1:])}, on the same {whose} "
        f"({counts}), through the code the clinic runs. {DISCLAIMER}",
        "",
        *(line for remark in record["remarks"] for line in (f"**{remark}**", "")),
        *_figures_table(record),
        "",
    ]
    for comparison in record["comparisons"]:
        lines += [*_comparison_lines(comparison, films["count"]), ""]
    lines += [*_files_table(models), "", *_provenance_lines(record)]
    return "\n".join(lines) + "\n"


def _figures_table(record: Mapping[str, Any]) -> list[str]:
    models, comparisons = record["models"], record["comparisons"]
    header = [_cell(model["title"]) for model in models]
    header += [f"{_cell(comparison['candidate'])} − reference" for comparison in comparisons]
    rows = [f"| figure | {' | '.join(header)} |", "|---|" + "---|" * len(header)]
    rows += [f"| {' | '.join(cells)} |" for cells in figure_rows(record)]
    threshold = models[0]["operating_point"]
    rows += [
        "",
        f"At the operating point `{threshold['name']}` ({threshold['threshold']:.3f}). "
        f"{intervals(record)}",
    ]
    return rows


def _cell(name: str) -> str:
    """The name of a file in a table, which a bar would part."""
    return name.replace("|", "\\|")


def figure_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """The table of figures: title, each model, each difference; rows that no model has left out."""
    rows = []
    for name, title in FIGURE_TITLES.items():
        cells = [_interval(name, model["figures"][name]) for model in record["models"]]
        cells += [
            _interval(name, item["differences"][name], signed=True)
            for item in record["comparisons"]
        ]
        if any(cell != NO_VALUE for cell in cells):
            rows.append([title, *cells])
    return rows


def intervals(record: Mapping[str, Any]) -> str:
    """How the intervals are made, in words."""
    return (
        "Intervals of 95 %, by patient: of percentages Wilson's, of their differences Bonett and Price's, "
        f"of all else from {record['bootstrap']['resamples']} draws of patients (areas on the logit scale), "
        f"the same draws for all models; {NO_VALUE} where no draw changes a difference, or the models have other labels."
    )


def _interval(name: str, estimate: Mapping[str, float | None], *, signed: bool = False) -> str:
    """A figure with its interval as text; a difference has signs, and its percentages are points."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None or not math.isfinite(value):
        return NO_VALUE
    factor, digits, unit = 1.0, 4, ""
    if name in PERCENT_FIGURES:
        factor, digits, unit = 100.0, 2, " pts" if signed else " %"
    sign = "+" if signed else ""

    def text(number: float) -> str:
        return f"{number * factor + 0.0:{sign}.{digits}f}"

    interval = NO_VALUE if low is None or high is None else f"{text(low)} to {text(high)}"
    return f"{text(value)}{unit} ({interval})"


def check_row(check: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, measured loss and limit of a check as text: areas as shares of 1, all else as percentages."""

    def text(value: float) -> str:
        return f"{value + 0.0:.4f}" if "AUC" in check["name"] else f"{100 * value + 0.0:.2f} %"

    return check["name"], text(check["measured"]), text(check["limit"])


def p_text(p: float) -> str:
    """A p with its sign of equality; never 0, which no test gives."""
    return f"= {p:.3f}" if p >= LEAST_P else f"< {LEAST_P}"


def failures(record: Mapping[str, Any]) -> list[str]:
    """What was not kept, a line each."""
    lines = []
    for comparison in record["comparisons"]:
        for check in comparison["checks"]:
            if not check["passed"]:
                name, measured, limit = check_row(check)
                lines.append(f"{comparison['candidate']}: {name} {measured}, allowed {limit}")
    return lines


def _comparison_lines(comparison: Mapping[str, Any], films: int) -> list[str]:
    lines = [
        f"## {comparison['candidate']}: {comparison['verdict']}",
        "",
        "| check | measured | allowed | |",
        "|---|---|---|---|",
    ]
    for check in comparison["checks"]:
        mark = "kept" if check["passed"] else "**not kept**"
        lines.append(f"| {' | '.join(check_row(check))} | {mark} |")
    similarity = comparison["heat_map_similarity"]
    lines += [
        "",
        f"- {comparison['label_flips']} of {films} films get another label (agreement "
        f"{100 * comparison['agreement']:.2f} %), {comparison['finding_flips']} of them between "
        f"finding and none; {comparison['triage_changes']} get another triage word.",
        f"- Only the reference is right on {comparison['only_reference_right']} films, only the "
        f"candidate on {comparison['only_candidate_right']}: exact p "
        f"{p_text(comparison['mcnemar_p'])} ({TEST}).",
        f"- The probability of a finding moves by {comparison['mean_shift']:.4f} on average and "
        f"{comparison['largest_shift']:.3f} at most.",
    ]
    if similarity is not None:
        lines.append(
            f"- Heat maps correlate {similarity['median']:.3f} (median film), "
            f"{similarity['p05']:.3f} (5th percentile)."
        )
    return lines


def _files_table(models: list[Mapping[str, Any]]) -> list[str]:
    rows = [
        "| file | kind | MB | operations | not integer | 1 thread, ms | all threads, ms | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        timings = model["timings"]
        times = [
            f"{t['median_ms']:.2f} (p95 {t['p95_ms']:.2f})" for t in (timings[:1] + timings[-1:])
        ]
        memory = f"{timings[0]['peak_mib']:.0f}" if timings else NO_VALUE
        rows.append(
            f"| {_cell(model['title'])} | {model['quantization']} | {model['size_bytes'] / 1e6:.2f} | "
            f"{sum(model['operations'].values())} | {len(model['non_integer_operations'])} | "
            f"{' | '.join(times or [NO_VALUE, NO_VALUE])} | {memory} |"
        )
    return rows


def _provenance_lines(record: Mapping[str, Any]) -> list[str]:
    origin = record["provenance"]
    packages = ", ".join(f"{name} {number}" for name, number in origin["packages"].items())
    lines = [
        f"{origin['date']}, {origin['processor']} ({origin['cpus']} CPUs), {origin['system']}, "
        f"Python {origin['python']}; {packages}.",
        "",
    ]
    for model in record["models"]:
        lines.append(f"- `{model['title']}` SHA-256 `{model['source_sha256'] or model['sha256']}`")
    if origin["command"]:
        lines += ["", f"    {origin['command']}"]
    return lines
