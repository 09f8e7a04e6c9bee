"""How a report was made: by which command, with what, where and when."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import typer

from edge_xray import __version__


def made_by() -> str:
    """The program, the machine and the time."""
    return (
        f"edge-xray {__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {datetime.now(timezone.utc).isoformat(timespec='seconds')}"
    )


def provenance_section(facts: Mapping[str, str]) -> str:
    """The end of a report in Markdown."""
    return "\n## Provenance\n\n" + "".join(f"- {name}: {fact}\n" for name, fact in facts.items())


def command_line(context: typer.Context) -> str:
    """The command as it was given, paths by their last part: a report says nothing of a machine.

    Args:
        context: of the command; options that were not given are left out.
    """
    words = [context.command_path]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        value = context.params.get(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or value is None:
            continue
        flags = [] if parameter.param_type_name == "argument" else [_flag(parameter, value)]
        for item in value if isinstance(value, list | tuple) else [value]:
            words += [*flags] if isinstance(item, bool) else [*flags, _word(item)]
    return " ".join(words)


def _flag(parameter: Any, value: object) -> str:
    options = parameter.secondary_opts if value is False else parameter.opts
    return str(max(options, key=len))


def _word(value: object) -> str:
    text = str(value)
    if isinstance(value, Path) or "/" in text:
        # Two parts tell runs apart; more would tell where somebody keeps their data.
        text = "/".join(Path(text).parts[-2:]).lstrip("/")
    return shlex.quote(text)
