"""An audit as tables of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from edge_xray.walk import printable
from edge_xray_trainer.audit import QUANTITIES, SHARES, Audit, CopyGroup
from edge_xray_trainer.duplicates import NEAR_DISTANCE
from edge_xray_trainer.tables import Cell, Table


def tables_of(audit: Audit) -> list[Table]:
    """All tables of the report."""
    made = [_class_table(audit), _copy_table(audit), _file_table(audit), _mean_table(audit)]
    made.append(_shortcut_table(audit))
    if audit.likeness:
        made.append(_likeness_table(audit))
    if audit.damaged:
        rows = tuple((printable(path), why) for path, why in audit.damaged.items())
        made.append(Table("Files that cannot be read", ("file", "why"), rows))
    return made


def _class_table(audit: Audit) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            label,
            *(facts.films.get(part, 0) for part in audit.parts),
            sum(facts.films.values()),
            facts.patients,
            sum(facts.films.values()) / facts.patients,
            facts.most,
        )
        for label, facts in audit.classes.items()
    )
    return Table(
        "Classes",
        ("class", *audit.parts, "films", "patients", "films a patient", "most of one"),
        rows,
        "A film whose patient is not known counts as a patient of its own.",
    )


def _copy_table(audit: Audit) -> Table:
    def row(name: str, groups: Sequence[CopyGroup]) -> tuple[Cell, ...]:
        return (
            name,
            len(groups),
            sum(len(group.paths) for group in groups),
            sum(len(group.known_patients) > 1 for group in groups),
            sum(len(group.labels) > 1 for group in groups),
            sum(len(group.parts) > 1 for group in groups),
        )

    exact = [group for group in audit.copies if group.exact]
    again = [group for group in audit.copies if not group.exact]
    closest = min((pair.distance for pair in audit.strangers), default=None)
    note = f"Saved again: at most {NEAR_DISTANCE} of 255 bits of the perceptual hash differ."
    if closest is not None:
        note += f" The most alike films of different patients differ in {closest}."
    return Table(
        "Copies",
        (
            "copies",
            "groups",
            "films",
            "of several patients",
            "of several classes",
            "in several parts",
        ),
        (row("byte for byte", exact), row("saved again", again)),
        note,
    )


def _file_table(audit: Audit) -> Table:
    rows: list[tuple[Cell, ...]] = []
    looks = [(film.label, film.look) for film in audit.films if film.look is not None]
    for kind, count in Counter(look.kind for _, look in looks).most_common():
        own = [look for _, look in looks if look.kind == kind]
        sides = [f"{min(values)} to {max(values)}" for values in (
            [look.width for look in own], [look.height for look in own],
        )]  # fmt: skip
        labels = Counter(label for label, look in looks if look.kind == kind)
        by_class = ", ".join(f"{label} {labels[label]}" for label in sorted(labels))
        size = float(np.median([look.size for look in own])) / 1024
        rows.append((kind, count, *sides, size, by_class))
    return Table(
        "Files",
        ("format and mode", "films", "width", "height", "median KiB", "by class"),
        tuple(rows),
        "A mode or size that only one class has is a shortcut.",
    )


def _mean_table(audit: Audit) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (label, *(facts.means[name] for name in SHARES)) for label, facts in audit.classes.items()
    )
    return Table(
        "Brightness and border",
        ("class", *SHARES),
        rows,
        "Means over films, 0 black to 1 white, with 95 % intervals clustered by patient.",
    )


def _shortcut_table(audit: Audit) -> Table:
    names = list(next(iter(audit.quantities.values()), audit.border))
    areas = dict(audit.quantities)
    if audit.border:
        areas["border alone"] = audit.border
    same = [name for name in QUANTITIES if name not in audit.quantities]
    if len(names) <= len(areas):
        head = ("quantity", *names)
        rows = [(name, *(own.get(label) for label in names)) for name, own in areas.items()]
    else:  # many classes: one a row, as many columns fit no screen
        head = ("class", *areas)
        rows = [(label, *(own.get(label) for own in areas.values())) for label in names]
    note = "AUC of telling a class from all others by one number a film; 0.5 tells nothing, "
    note += "below 0.5 the class has the lower numbers. "
    if audit.border:
        note += (
            f"Border alone: gradient boosting on the outermost two of 224 pixels a side, "
            f"{audit.border_folds}-fold cross-validation by patient. "
        )
    if same:
        note += f"The same in all films: {', '.join(same)}."
    return Table(
        "What tells classes apart without looking at the film",
        head,
        tuple(rows),
        note.strip(),
    )


def _likeness_table(audit: Audit) -> Table:
    return Table(
        "Are patients' names right",
        ("pairs of films of", "mean correlation"),
        tuple(audit.likeness.items()),
        "Films at 32x32, copies left out. Films of one patient should be more alike than films of two.",
    )
