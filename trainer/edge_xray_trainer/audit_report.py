"""An audit as JSON, Markdown and HTML; plain data in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_xray.metadata import DISCLAIMER
from edge_xray_trainer.audit import QUANTITIES, Audit
from edge_xray_trainer.audit_films import pixels_of
from edge_xray_trainer.audit_findings import findings_of
from edge_xray_trainer.audit_tables import tables_of
from edge_xray_trainer.delivery import as_json
from edge_xray_trainer.pages import render_page, thumbnail
from edge_xray_trainer.plots import Picture, bars_plot, densities_plot
from edge_xray_trainer.provenance import made_by, provenance_section
from edge_xray_trainer.tables import markdown

SCHEMA_VERSION = 1

SHOWN_COPIES = 6
"""Groups of copies whose films the HTML report shows."""

SHOWN_FILMS = 4
"""Films shown of one such group."""


def summary_of(audit: Audit) -> str:
    """One sentence: how many films of how many patients."""
    patients = len({film.patient for film in audit.films if film.patient})
    return (
        f"{len(audit.films)} files in {len(audit.classes)} classes, {patients} named patients, "
        f"parts: {', '.join(audit.parts)}."
    )


def pictures_of(audit: Audit) -> list[Picture]:
    """The plots of the report."""
    made = []
    for name in ("brightness", "brightness of the border"):
        values = {
            label: np.array(
                [
                    QUANTITIES[name](film.look)
                    for film in audit.films
                    if film.look is not None and film.label == label
                ]
            )
            for label in audit.classes
        }
        kept = {label: own for label, own in values.items() if len(own)}
        made.append(densities_plot(f"{name.capitalize()} of the films, by class.", kept, name))
    if audit.border:
        made.append(
            bars_plot(
                "How well the border alone tells each class from all others (chance is 0.5).",
                list(audit.border),
                list(audit.border.values()),
                "AUC of the border alone",
                reference=[0.5] * len(audit.border),
                reference_name="chance",
            )
        )
    return made


@dataclass(frozen=True)
class Example:
    """Films shown side by side.

    Attributes:
        text: what they are.
        pictures: of each film.
    """

    text: str
    pictures: tuple[Picture, ...]


def examples_of(audit: Audit) -> list[Example]:
    """Copies and the most alike films of different patients, for a person to look at."""

    def shown(paths: Sequence[str]) -> tuple[Picture, ...]:
        kept = paths[:SHOWN_FILMS]
        return tuple(Picture(thumbnail(pixels_of(audit.root, path)), path) for path in kept)

    # Copies that cross a line are worth a look before those that do not.
    groups = sorted(
        audit.copies,
        key=lambda own: (-len(own.parts), -len(own.labels), -len(own.known_patients), own.exact),
    )
    made = []
    for group in groups[:SHOWN_COPIES]:
        kind = "byte for byte" if group.exact else "saved again"
        made.append(Example(f"Copies, {kind}, {len(group.paths)} films.", shown(group.paths)))
    for pair in audit.strangers:
        text = f"Different patients, most alike: {pair.distance} of 255 bits differ."
        made.append(Example(text, shown((pair.first, pair.second))))
    return made


def provenance_of(command: str) -> dict[str, str]:
    """How the report was made."""
    return {"Command": command, "Made by": made_by()}


def to_json(audit: Audit, command: str) -> str:
    """The audit as JSON."""
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "leaks": audit.leaks,
        "findings": findings_of(audit),
        "films": len(audit.films),
        "parts": audit.parts,
        "classes": audit.classes,
        "unknown_patients": audit.unknown_patients,
        "damaged": audit.damaged,
        "blank": audit.blank,
        "changed": audit.changed,
        "patients_in_several_parts": audit.split_patients,
        "patients_of_several_classes": audit.mixed_patients,
        "copies": audit.copies,
        "closest_strangers": audit.strangers,
        "auc_of_quantities": audit.quantities,
        "auc_of_the_border_alone": audit.border,
        "border_folds": audit.border_folds,
        "likeness": audit.likeness,
        "files": Counter(film.look.kind for film in audit.films if film.look is not None),
        "sides": _sides(audit),
        "provenance": provenance_of(command),
    }
    return as_json(record)


def _sides(audit: Audit) -> dict[str, dict[str, float]]:
    sides = np.array([(f.look.width, f.look.height) for f in audit.films if f.look is not None])
    return {
        name: {"least": int(own.min()), "median": float(np.median(own)), "most": int(own.max())}
        for name, own in zip(("width", "height"), sides.T, strict=True)
    }


def to_markdown(audit: Audit, command: str) -> str:
    """The audit as Markdown."""
    text = f"# Audit of {audit.root.resolve().name}\n\n{DISCLAIMER}\n\n{summary_of(audit)}\n\n"
    text += "".join(f"- {finding.kind}: {finding.text}\n" for finding in findings_of(audit)) + "\n"
    text += "\n".join(markdown(table) for table in tables_of(audit))
    return text + provenance_section(provenance_of(command))


def to_html(audit: Audit, command: str, *, films: bool) -> str:
    """The audit as one self-contained page.

    Args:
        audit: what was found.
        command: that made it.
        films: whether to show patients' films.
    """
    return render_page(
        "audit.html",
        title=f"Audit of {audit.root.resolve().name}",
        summary=summary_of(audit),
        findings=findings_of(audit),
        tables=tables_of(audit),
        pictures=pictures_of(audit),
        examples=examples_of(audit) if films else [],
        provenance=provenance_of(command),
    )
