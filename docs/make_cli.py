"""Write docs/cli.md from the program's own ``--help``, or check that it is up to date.

python docs/make_cli.py [--check]
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

WIDTH: Final = "90"
"""Columns of the help texts in the page."""

# Read by rich and typer when they are imported.
os.environ.update(COLUMNS=WIDTH, TERMINAL_WIDTH=WIDTH, TERM="dumb", NO_COLOR="1")

PAGE: Final = Path(__file__).with_name("cli.md")
HEAD: Final = """# Every command

Written by `make docs` from the program itself; a test compares the two. What the columns of the CSV
and the exit codes mean stands in the [README](../README.md#the-csv).
"""


def command_paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """A command and all commands below it, in the order of the help.

    Args:
        command: a click command or group.
        path: words that call it, without the program's name.
    """
    yield path
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from command_paths(child, (*path, name))


def help_text(path: tuple[str, ...]) -> str:
    """What ``edge-xray … --help`` prints, without spaces at the ends of lines.

    Raises:
        RuntimeError: it does not exit with 0.
    """
    from edge_xray import cli

    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer):
        code = cli.main([*path, "--help"])
    if code != 0:
        raise RuntimeError(f"edge-xray {' '.join(path)} --help: exit {code}")
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n")


def page() -> str:
    """The whole page."""
    import typer

    from edge_xray import cli

    parts = [HEAD]
    for path in command_paths(typer.main.get_command(cli.build_app())):
        parts.append(f"\n## {' '.join(('edge-xray', *path))}\n\n```text\n{help_text(path)}\n```\n")
    return "".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it with ``--check``."""
    text = page()
    if arguments == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            sys.stderr.write("docs/cli.md is not what the program says. Run: make docs\n")
            return 1
        sys.stdout.write("docs/cli.md is what the program says.\n")
        return 0
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
