"""No model is shipped without a parity report that says PASS and names its very bytes.

``python -m edge_xray_converter.release models`` is what continuous integration runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_xray.errors import ExitCode
from edge_xray.labelled import file_sha256
from edge_xray_converter.record import PASS

REPORT_SUFFIX = ".parity.json"
"""A model ``NAME.tflite`` has its report beside it as ``NAME.parity.json``."""


def missing_reports(folder: Path) -> list[str]:
    """What keeps the models of a folder from being shipped.

    Args:
        folder: with ``.tflite`` files and their reports.

    Returns:
        One line a fault; empty if every model has a PASS report with its hash.
    """
    models = sorted(folder.glob("*.tflite"))
    if not models:
        return [f"{folder}: expected .tflite files, found none"]
    return [fault for model in models if (fault := _fault(model))]


def _fault(model: Path) -> str:
    report = model.with_name(model.stem + REPORT_SUFFIX)
    make = (
        f"make it with: edge-xray parity REFERENCE {model.name} --no-films -o {model.stem}.parity"
    )
    try:
        record = json.loads(report.read_text(encoding="utf-8"))
        verdicts = list(_verdicts(record, file_sha256(model)))
    except OSError:
        return f"{model.name}: has no {report.name}; {make}"
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return f"{report.name}: is no parity report ({error!r}); {make}"
    if not verdicts:
        return f"{report.name}: is of other bytes than {model.name}; {make}"
    if any(verdict != PASS for verdict in verdicts):
        return f"{report.name}: says {', '.join(verdicts)}; convert {model.name} again"
    return ""


def _verdicts(record: dict[str, Any], sha256: str) -> list[str]:
    """Verdicts on the candidates with that hash."""
    return [
        str(comparison["verdict"])
        for model, comparison in zip(record["models"][1:], record["comparisons"], strict=True)
        if model["sha256"] == sha256
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a folder, by default ``models``; faults go to stderr.

    Returns:
        The exit code.
    """
    folder = Path((list(arguments or sys.argv[1:]) or ["models"])[0])
    faults = missing_reports(folder)
    for fault in faults:
        sys.stderr.write(fault + "\n")
    return int(ExitCode.FAILED_CHECK if faults else ExitCode.OK)


if __name__ == "__main__":
    raise SystemExit(main())
