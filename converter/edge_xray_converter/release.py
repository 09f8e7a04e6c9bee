"""No model is shipped without a parity report that says PASS and names its very bytes.

``python -m edge_xray_converter.release models`` is what continuous integration runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edge_xray.errors import ExitCode
from edge_xray.parity_report import REPORT_SUFFIX, fault_of, remarks_of


def missing_reports(folder: Path) -> list[str]:
    """What keeps the models of a folder from being shipped.

    Args:
        folder: with ``.tflite`` files and their reports.

    Returns:
        One line a fault; empty if every model has a PASS report with its hash, on enough films, by the usual limits
        and against another file.
    """
    models = sorted(folder.glob("*.tflite"))
    if not models:
        return [f"{folder}: expected .tflite files, found none"]
    return [fault for model in models for fault in _faults(model)]


def _faults(model: Path) -> list[str]:
    if fault := fault_of(model):
        return [fault]
    report = model.with_name(model.stem + REPORT_SUFFIX)
    return [
        f"{report.name}: says PASS with a doubt. {remark}"
        for remark in remarks_of(report.read_bytes())
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
