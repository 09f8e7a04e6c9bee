"""Where, when and with what a report was made."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "edge-xray",
    "ai-edge-litert",
    "tflite-runtime",
    "tensorflow",
    "keras",
    "numpy",
    "pillow",
)
"""Distributions whose versions can change a figure."""


def provenance(command: str) -> dict[str, Any]:
    """Date, machine and versions; JSON-ready.

    Args:
        command: the command line; empty if there was none.
    """
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": platform.machine(),
        "processor": processor_name(),
        "cpus": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: number for name in PACKAGES if (number := version_of(name))},
    }


def version_of(distribution: str) -> str:
    """Its version; empty if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def processor_name() -> str:
    """What the processor, or on a board the board, calls itself; at least its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()
