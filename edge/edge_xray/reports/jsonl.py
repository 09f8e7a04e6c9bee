"""JSON Lines: one object a file found, by the schema in ``schema/results.schema.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from edge_xray.results import Prediction, Row, Run

SCHEMA_VERSION: Final = 1
"""Raised when a reader of the older schema would misread a line; fields may be added without."""

SCHEMA_FILE: Final = Path(__file__).with_name("schema") / "results.schema.json"


def to_object(row: Row, run: Run) -> dict[str, Any]:
    """A row as plain data with everything needed to read it alone."""
    shared = {
        "model": run.metadata.name,
        "model_version": run.metadata.version,
        "model_sha256": run.model_sha256,
        "operating_point": run.point.name,
        "threshold": run.point.threshold,
        "runtime": run.runtime,
        "edge_xray_version": run.version,
    }
    first: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "path": row.path,
        "sha256": row.sha256 or None,
    }
    patient = row.patient or None
    warnings = list(row.warnings)
    if not isinstance(row, Prediction):
        return {
            **first,
            "status": "not_scored",
            "reason": row.reason,
            "message": row.message,
            "warnings": warnings,
            "patient": patient,
            **shared,
        }
    return {
        **first,
        "status": "scored",
        "label": row.label,
        "triage": row.triage,
        "finding": run.metadata.finding,
        "p_finding": row.p_finding,
        "probabilities": dict(zip(run.metadata.label_names, row.probabilities, strict=True)),
        "warnings": warnings,
        "format": row.format,
        "width": row.width,
        "height": row.height,
        "patient": patient,
        "heatmap": row.heatmap or None,
        **shared,
    }


def render(rows: Iterable[Row], run: Run) -> Iterator[str]:
    """The lines of the file, each ending with a line feed.

    Args:
        rows: in the order they are to stand.
        run: model and operating point.
    """
    for row in rows:
        yield json.dumps(to_object(row, run), ensure_ascii=False, allow_nan=False) + "\n"
