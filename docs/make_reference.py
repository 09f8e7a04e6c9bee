"""Write docs/cli.md and docs/reasons.md from the program itself, or check that they are up to date.

python docs/make_reference.py [--check]
"""

from __future__ import annotations

import argparse
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

FOLDER: Final = Path(__file__).parent
CLI_HEAD: Final = """# Every command

Written by `make docs` from the program itself; a test compares the two. What the columns of the CSV
and the exit codes mean stands in the [README](../README.md#the-csv).
"""
REASONS_HEAD: Final = """# Every reason why a film is not scored

Written by `make docs` from the program itself; a test compares the two. The words stand in the column
`reason` and stay what they are; the column `message` says the same for people, with what to do. What a
clinic does about them: [clinic.md](clinic.md).
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


def cli_page() -> str:
    """All help texts."""
    import typer

    from edge_xray import cli

    parts = [CLI_HEAD]
    for path in command_paths(typer.main.get_command(cli.build_app())):
        parts.append(f"\n## {' '.join(('edge-xray', *path))}\n\n```text\n{help_text(path)}\n```\n")
    return "".join(parts)


def reasons_page() -> str:
    """All reasons, by what gives them."""
    from edge_xray.decode import REASONS
    from edge_xray.film_file import REASONS as FILE_REASONS
    from edge_xray.gate import MODEL_REASONS
    from edge_xray.intended_use import INTENDED_USE_REASONS
    from edge_xray.quality import QUALITY_REASONS
    from edge_xray.walk import REASONS as WALK_REASONS

    parts = [REASONS_HEAD]
    for title, reasons in (
        ("The file", REASONS | FILE_REASONS | WALK_REASONS),
        ("What the file says of the film", INTENDED_USE_REASONS),
        ("The picture", QUALITY_REASONS),
        ("The model's answer", MODEL_REASONS),
    ):
        parts.append(f"\n## {title}\n\n| reason | what it means |\n|---|---|\n")
        parts += [f"| `{reason}` | {meaning} |\n" for reason, meaning in sorted(reasons.items())]
    return "".join(parts)


def main() -> int:
    """Parse the command line and write the pages, or compare them."""
    parser = argparse.ArgumentParser(description="Write docs/cli.md and docs/reasons.md.")
    parser.add_argument("--check", action="store_true", help="write nothing: exit 1 if they differ")
    check = parser.parse_args().check
    stale = []
    for name, text in (("cli.md", cli_page()), ("reasons.md", reasons_page())):
        path = FOLDER / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(f"docs/{name}")
    if stale:
        sys.stderr.write(f"not what the program says: {', '.join(stale)}. Run: make docs\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
