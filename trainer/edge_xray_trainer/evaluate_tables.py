"""An evaluation as tables of values: what is said, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from edge_xray.plural import counted
from edge_xray.walk import printable
from edge_xray_trainer.corruptions import ALEXNET_BALANCED_ERROR, CORRUPTIONS, SEVERITIES
from edge_xray_trainer.evaluate import Evaluation
from edge_xray_trainer.figures import Classes, Measures
from edge_xray_trainer.shortcut import border_lines
from edge_xray_trainer.stress import Robustness
from edge_xray_trainer.tables import DECIMALS, NOTHING, Cell, Table

BENCHMARK_FINDING = "pneumonia"
"""The finding of the benchmark whose reference errors are shown beside ours."""

MAX_PAIR_COLUMNS = 3
"""Pairs of classes that the table of subgroups has columns for; the JSON has all."""

CONFUSION_COLUMNS = 8
"""Most classes that the table of confusions has a column each for."""

OTHERS_NAMED = 3
"""Classes that films of one were called instead, named where there are more."""

INTERVALS = (
    "In parentheses: 95 % intervals. Rates: Wilson's for the effective number of films, as films of "
    "one patient resemble each other. Areas: on the logit scale, by the spread over draws of patients. "
    "Calibration errors: basic bootstrap of such draws."
)


def tables_of(evaluation: Evaluation, *, wide: bool = True) -> list[Table]:
    """All tables of the report, the most important first.

    Args:
        evaluation: what was measured.
        wide: with a column a severity; a terminal has no room for them.
    """
    made = [_headline(evaluation), _errors(evaluation), _predictive(evaluation)]
    if evaluation.classes is not None:
        made += [_classes(evaluation.classes), _confusion(evaluation.classes)]
    made.append(_calibration(evaluation))
    if evaluation.subgroups:
        made.append(_subgroups(evaluation))
    if evaluation.shortcut:
        made.append(_shortcut(evaluation))
    if evaluation.robustness is not None:
        known = evaluation.metadata.finding == BENCHMARK_FINDING
        made.append(_robustness(evaluation.robustness, known=known, wide=wide))
    return made


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
        "Films given to a person count on the side of the line on which they lie, and films that the device's gate "
        "would not let through count too. " + INTERVALS
    )
    if evaluation.skipped:
        first = next(iter(evaluation.skipped.items()))
        note += f" {counted(len(evaluation.skipped), 'film')} could not be read, the first: {printable(first[0])}."
    labels, finding = evaluation.metadata.labels, evaluation.metadata.finding
    none = " or ".join(label.name for label in labels if label.triage == "none")
    title = f"{none[:1].upper()}{none[1:]} against {finding}"
    return Table(title, ("figure", "value", "films"), tuple(rows), note)


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
        f"{trained}; {test.films} of these. A gap whose interval (Newcombe's, for different patients) lies above 0: "
        "training films were learnt by heart, or these are harder.",
    )


def _predictive(evaluation: Evaluation) -> Table:
    return Table(
        "What an answer is worth, by how common the finding is",
        ("prevalence", "PPV", "NPV"),
        tuple((f"{100 * share:g}%", ppv, npv) for share, ppv, npv in evaluation.predictive),
        "PPV: positives among films called positive; NPV: negatives among films called negative. "
        "Intervals: logit ones, Mercaldo, Lau & Zhou 2007.",
    )


def _classes(classes: Classes) -> Table:
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
        (f"AUC: {' vs '.join(pair)}", value, sum(count[name] for name in pair))
        for pair, value in classes.pairs.items()
    ]
    return Table("Which class", ("figure", "value", "films"), tuple(rows), INTERVALS)


def _confusion(classes: Classes) -> Table:
    note = (
        "Decided as the device does: first finding or none at the operating point, then the most "
        "probable class on that side."
    )
    names, counts = classes.names, classes.confusion
    if len(names) <= CONFUSION_COLUMNS:
        return Table(
            "Confusion",
            ("reference", *(f"called {name}" for name in names), "recall"),
            tuple(
                (name, *row, classes.recall.get(name))
                for name, row in zip(names, counts.tolist(), strict=True)
            ),
            note,
        )
    return Table(
        "Confusion",
        ("reference", "films", "called so", "recall", "called instead, most often first"),
        tuple(
            (name, sum(row), row[own], classes.recall.get(name), _others(names, row, own))
            for own, (name, row) in enumerate(zip(names, counts.tolist(), strict=True))
        ),
        f"{note} At most {OTHERS_NAMED} other classes are named; all counts are in the JSON report and the picture.",
    )


def _others(names: Sequence[str], row: Sequence[int], own: int) -> str:
    """The classes that films of one class were mistaken for."""
    wrong = [place for place in range(len(names)) if place != own and row[place]]
    wrong.sort(key=lambda place: (-row[place], place))
    return ", ".join(f"{names[place]} {row[place]:,}" for place in wrong[:OTHERS_NAMED]) or NOTHING


def _calibration(evaluation: Evaluation) -> Table:
    reliability, films = evaluation.reliability, evaluation.test.films
    rows: list[tuple[Cell, ...]] = [
        ("ECE of the finding", reliability.finding, films),
        ("by chance alone", round(reliability.finding_by_chance, DECIMALS), films),
        ("ECE of the class", reliability.classes, films),
        ("by chance alone", round(reliability.classes_by_chance, DECIMALS), films),
    ]
    rows += [
        (f"stated {reliability.stated[i]:.2f}", reliability.observed[i], count)
        for i, count in enumerate(reliability.films)
        if count
    ]
    return Table(
        "Score calibration",
        ("figure", "value, or share of positives", "films"),
        tuple(rows),
        f"Expected calibration error over {len(reliability.films)} bins (Guo et al. 2017); with few "
        "films it leans high, and so its interval (basic bootstrap of patients) reaches further down. "
        "By chance alone: its mean if each film were positive with just the probability stated.",
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
    pairs = list(dict.fromkeys(pair for own in evaluation.subgroups for pair in own.pairs))
    if len(pairs) > MAX_PAIR_COLUMNS:
        pairs = []
    return Table(
        "Subgroups",
        ("by", "subgroup", *_COLUMNS, *(f"AUC: {' vs '.join(pair)}" for pair in pairs)),
        tuple(
            (own.by, own.name, *_row(own.measures), *(own.pairs.get(pair) for pair in pairs))
            for own in evaluation.subgroups
        ),
        "A dash: the subgroup has no films of one kind. Many subgroups are looked at, so one interval in "
        "twenty misses by chance.",
    )


def _shortcut(evaluation: Evaluation) -> Table:
    spec = evaluation.metadata.input
    lines = " and ".join(
        dict.fromkeys(f"{border_lines(side)} of {side}" for side in (spec.width, spec.height))
    )
    return Table(
        "Shortcuts: what the model makes of parts of a film",
        ("shown", *_COLUMNS),
        tuple((name, *_row(own)) for name, own in evaluation.shortcut.items()),
        f"Border only: {lines} pixels a side; centre: 60 % of each side; the rest is grey. The further from "
        "0.5 the AUC on the border alone, above or below, the more a model reads there.",
    )


def _robustness(robustness: Robustness, *, known: bool, wide: bool) -> Table:
    """Errors on corrupted films; beside those of the benchmark where its finding is the model's: `known`."""
    reference = {own.name: own.alexnet for own in CORRUPTIONS}
    reference["mean of the 13"] = ALEXNET_BALANCED_ERROR
    severities = SEVERITIES if wide else ()
    blank = [None] * len(severities)
    rows: list[tuple[Cell, ...]] = [("none", robustness.clean, robustness.clean_auc, *blank)]
    rows += [
        (name, mean, robustness.auc[name], *(robustness.by_severity[name] if wide else ()))
        for name, mean in robustness.by_corruption.items()
    ]
    rows.append(("mean of the 13", robustness.mean, None, *blank))
    columns = ("corruption", "balanced error", "AUC", *(f"severity {own}" for own in severities))
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
