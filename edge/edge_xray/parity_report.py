"""What a parity report says of a model: whether its very bytes passed.

Reports are made by ``edge-xray parity``; a release and a kit take no model without one.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, Final

from edge_xray.labelled import file_sha256

PASS: Final = "PASS"  # noqa: S105  a verdict, and no password
"""The verdict of a comparison whose every check held."""

REPORT_SUFFIX: Final = ".parity.json"
"""A model ``NAME.tflite`` has its report beside it as ``NAME.parity.json``."""


def fault_of(model: Path) -> str:
    """What keeps a model from being given to a clinic.

    Args:
        model: a packed ``.tflite`` file.

    Returns:
        One line; empty if the report beside the model says PASS of a candidate with its hash.
    """
    report = model.with_name(model.stem + REPORT_SUFFIX)
    output = report.with_suffix("")
    command = shlex.join([str(model), "--data", "DATA", "--no-films", "-o", str(output)])
    make = f"make it with: edge-xray parity REFERENCE {command}"
    try:
        data = report.read_bytes()
        verdicts = _verdicts(json.loads(data), file_sha256(model))
        remarks_of(data), without_films(data)  # A kit takes these.
    except OSError:
        return f"{model.name}: has no {report.name}; {make}"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return f"{report.name}: is no parity report ({error!r:.200}); {make}"
    if not verdicts:
        return f"{report.name}: is of other bytes than {model.name}; {make}"
    if any(verdict != PASS for verdict in verdicts):
        return f"{report.name}: says {', '.join(verdicts)}; convert {model.name} again"
    return ""


def remarks_of(report: bytes) -> tuple[str, ...]:
    """What a report says that makes its verdict say less, such as of too few films.

    Args:
        report: JSON, as ``edge-xray parity`` wrote it.

    Raises:
        TypeError: they are no list.
    """
    remarks = json.loads(report).get("remarks", [])
    if not isinstance(remarks, list):
        raise TypeError(f"its remarks are {remarks!r}")
    return tuple(map(str, remarks))


def without_films(report: bytes) -> bytes:
    """A report as it may leave the workshop: the films in it have numbers for names.

    Args:
        report: JSON, as ``edge-xray parity`` wrote it.
    """
    record = json.loads(report)
    named = list(record.get("films", {}).get("unread", ()))
    for comparison in record["comparisons"]:
        named += comparison.get("flips", ())
    for number, film in enumerate(named, 1):
        film["film"] = str(number)
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def _verdicts(record: dict[str, Any], sha256: str) -> list[str]:
    """Verdicts on the candidates with that hash."""
    return [
        str(comparison["verdict"])
        for model, comparison in zip(record["models"][1:], record["comparisons"], strict=True)
        if model["sha256"] == sha256
    ]
