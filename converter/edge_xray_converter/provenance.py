"""Where, when and with what a report was made."""

from __future__ import annotations

import datetime
import os
import platform
from typing import Any

from edge_xray._extras import version_of
from edge_xray.hardware import processor_name

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
        "processor": processor_name() or platform.machine(),
        "cpus": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: number for name in PACKAGES if (number := version_of(name))},
    }
