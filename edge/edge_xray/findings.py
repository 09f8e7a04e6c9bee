"""What a check of the machine found: plain data, and its two ways out, text and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["OK", "WARN", "FAIL"]
"""``WARN`` works and deserves a look; ``FAIL`` must be mended before films are scored."""


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Attributes:
        name: what was looked at, a word or two.
        state: how it is.
        message: what was found, in plain words, with its unit.
        remedy: what to do; empty where nothing is to be done.
        values: the same for programs; plain data.
    """

    name: str
    state: State
    message: str
    remedy: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready: a figure that is no finite number is null, as JSON has no other."""
        values = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self.values.items()
        }
        return {
            "name": self.name,
            "state": self.state,
            "message": self.message,
            "remedy": self.remedy,
            "values": values,
        }


def passed(findings: Iterable[Finding]) -> bool:
    """Whether none of them is a ``FAIL``."""
    return all(finding.state != "FAIL" for finding in findings)


def to_json(findings: Iterable[Finding]) -> str:
    """All findings as an indented JSON object with a final newline."""
    findings = list(findings)
    record = {"passed": passed(findings), "findings": [finding.to_dict() for finding in findings]}
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def to_text(findings: Iterable[Finding]) -> str:
    """One line for each finding, what to do below it; ends with a newline."""
    findings = list(findings)
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<4}  {finding.name:<{width}}  {finding.message}")
        if finding.remedy:
            lines.append(f"{'':<4}  {'':<{width}}  -> {finding.remedy}")
    return "\n".join(lines) + "\n"
