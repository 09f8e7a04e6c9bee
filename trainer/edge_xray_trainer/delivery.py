"""Where a report goes: to standard output in one format, or into a folder in all of them."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_xray.durable import output_errors, write_named
from edge_xray.errors import OutputError, UsageError
from edge_xray_trainer.tables import Table, print_tables

TABLE = "table"


def plain(value: Any) -> Any:
    """A result as plain data, JSON-ready: dataclasses become objects, NaN null, a pair of names a text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {
            " vs ".join(key) if isinstance(key, tuple) else str(key): plain(item)
            for key, item in value.items()
        }
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return value.name
    return value


def as_json(record: Mapping[str, Any]) -> str:
    """Indented JSON with a final newline; never NaN, which JSON does not have."""
    return json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def chosen_formats(
    formats: Sequence[str] | None, known: Sequence[str], output: Path | None
) -> tuple[str, ...]:
    """Which formats to write.

    Args:
        formats: as asked for, perhaps several in one word with commas; None takes the default.
        known: formats that this report has, beside the table.
        output: the folder they go into; None is standard output.

    Returns:
        The table if nothing was asked for and no folder; all formats for a folder.

    Raises:
        UsageError: an unknown format, or several for standard output.
        OutputError: the folder cannot be written to.
    """
    check_folder(output)
    names = [name.strip() for text in formats or () for name in text.split(",") if name.strip()]
    unknown = sorted(set(names) - {TABLE, *known})
    if unknown:
        raise UsageError(f"--format must be of {', '.join((TABLE, *known))}, got {unknown[0]}")
    if output is None and len(set(names)) > 1:
        raise UsageError("several formats need a folder to go into: add --output DIR")
    if names:
        return tuple(dict.fromkeys(names))
    return (TABLE,) if output is None else tuple(known)


def check_folder(output: Path | None) -> None:
    """Refuse a folder that cannot be written to, before hours are spent on what goes into it.

    Args:
        output: the folder, which need not exist yet; None is standard output.

    Raises:
        OutputError: it is a file, is below one, or is not ours to write.
    """
    if output is None:
        return
    with output_errors(output):
        there = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OutputError(f"{there}: is a file, and a folder is needed; choose another --output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{there}: may not be written to; choose another folder with --output")


def deliver(
    formats: Sequence[str],
    output: Path | None,
    tables: Sequence[Table],
    files: Mapping[str, tuple[str, Callable[[], str]]],
    closing: str,
) -> None:
    """Write a report.

    Without a folder the one format goes to standard output. With one, the formats go into it, the
    table to standard error, and the folder's path to standard output.

    Args:
        formats: from `chosen_formats`.
        output: the folder; None is standard output.
        tables: of the report.
        files: ``{format: (file name, function that gives its text)}``.
        closing: a sentence below the table.

    Raises:
        OutputError: the folder cannot be written to.
    """
    if output is None:
        name = formats[0]
        if name == TABLE:
            print_tables(tables, sys.stdout)
            sys.stdout.write(closing + "\n")
        else:
            sys.stdout.write(files[name][1]())
        return
    print_tables(tables, sys.stderr)
    sys.stderr.write(closing + "\n")
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    for name in formats:
        if name != TABLE:
            write_text(output / files[name][0], files[name][1]())
    sys.stdout.write(f"{output}\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; what is no Unicode in a file's name is written as an escape.

    Raises:
        OutputError: it cannot be written; one that was there is as it was.
    """
    write_named(path, text.encode("utf-8", "backslashreplace"))
