"""Files that a command writes; one that cannot be written is one line and exit 3."""

from __future__ import annotations

from pathlib import Path

from edge_xray.durable import output_errors, write_named
from edge_xray.errors import OutputError


def check_name(output: Path) -> None:
    """Refuse an output that names no file, before any work is done for it.

    Raises:
        OutputError: it is ``.``, ``..`` or ``/``.
    """
    if output.name in ("", ".."):
        raise OutputError(f"{output}: is a folder; name a file in it with -o")


def write_output(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, with the folders above it.

    Raises:
        OutputError: it cannot be written; one that was there is as it was.
    """
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_named(path, data)
