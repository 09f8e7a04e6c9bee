"""The one front door, ``edge-xray``: parse, call, exit code.

The clinic's commands are in `clinic_commands` and `toolbox`; the workshop's plug in through the entry points
``edge_xray.commands``, so the device imports nothing of theirs. Whatever costs time to import is
imported by the command that needs it, and one of `DAILY_COMMANDS` is built alone.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

from edge_xray import __version__, toolbox
from edge_xray.clinic_commands import info_command, say, scan_command, tell, watch_command
from edge_xray.errors import EdgeXrayError, ExitCode, MissingExtraError, UsageError
from edge_xray.stopping import reader_left, stops_as_interrupt

PROGRAM: Final = "edge-xray"
PLUGIN_GROUP: Final = "edge_xray.commands"

WORKSHOP_EXTRAS: Final = {
    "train": "train",
    "average": "train",
    "split": "train",
    "audit": "train",
    "evaluate": "train",
    "compare": "train",
    "convert": "convert",
    "parity": "convert",
}
"""The workshop's commands and the extra each needs, told where the workshop is not installed."""


_BOXES_FROM: Final = 90
"""Columns from which a command's help is in boxes, as in docs/cli.md: narrower ones cut off the names of options."""

_EMPTY: Final = re.compile(r"(--[a-z-]+=)?")
"""A word of the command line that says nothing, or sets an option to nothing: of a variable that is not set."""


def _quoted(words: Sequence[str]) -> str:
    """A word with a quotation mark in it: Windows takes one behind a backslash for a letter, and reads on."""
    return next((word for word in words if '"' in word), "")


_GONE: Final = (
    "the folder that this was called in is gone; go to another one, or to it again, with cd"
)
"""Said where a stick was put in again, or a folder unpacked anew, under a terminal that was in it."""


def _is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - asked, not used
    except FileNotFoundError:
        return True
    return False


def _version(wanted: bool) -> None:
    if wanted:
        tell(f"{PROGRAM} {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Offline triage of chest films. A screening aid, not a diagnosis: a clinician decides.

    Clinic: score films. Workshop: train a model, convert it for small devices, measure what that
    lost.
    """


DAILY_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "scan": scan_command,
    "watch": watch_command,
    "info": info_command,
}
"""What a clinic calls day by day, and so what must start soon."""


def build_app(command: str = "") -> typer.Typer:
    """The application.

    Args:
        command: what is called. One of `DAILY_COMMANDS` is built alone, for all the others would be a sixth of
            the start of a scan; anything else gets the commands of every installed room.
    """
    boxes = not command or shutil.get_terminal_size().columns >= _BOXES_FROM
    app = typer.Typer(
        name=PROGRAM,
        callback=_root,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown" if boxes else None,
    )
    alone = command in DAILY_COMMANDS
    for name in (command,) if alone else DAILY_COMMANDS:
        app.command(name, rich_help_panel=toolbox.CLINIC_PANEL)(DAILY_COMMANDS[name])
    if not alone:
        toolbox.register(app)
        _add_plugins(app)
    return app


def _add_plugins(app: typer.Typer) -> None:
    # What reads the entry points takes longer to import than typer.
    from importlib.metadata import entry_points

    for plugin in sorted(entry_points(group=PLUGIN_GROUP), key=lambda plugin: plugin.name):
        _add(app, plugin)


def _add(app: typer.Typer, plugin: Any) -> None:
    """Let a plug-in add its commands; one that cannot be imported costs only its own."""
    try:
        plugin.load()(app)
    except Exception as error:
        _BROKEN.append(f"{plugin.name} ({error!r})")


_BROKEN: Final[list[str]] = []
"""Plug-ins that could not be loaded, told when a command is not found."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None takes those of the process.

    Returns:
        The exit code, one of `ExitCode`.
    """
    if sys.stderr is None:  # closed by whoever started us (``2>&-``)
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - open to the end
    if sys.stdout is None:
        sys.stdout = open(os.devnull)  # noqa: PTH123, SIM115 - to be read: what is written is an error
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            # A terminal that has no “…” or “é” shows an escape instead of stopping the scan.
            reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in words if not word.startswith("-")), "")
    app = build_app(command)
    known = any(command == registered.name for registered in app.registered_commands)
    try:
        if command in DAILY_COMMANDS and any(_EMPTY.fullmatch(word) for word in words):
            raise UsageError(
                "an argument is empty, and would be taken for this folder; name the folder that is meant"
            )
        if command in DAILY_COMMANDS and os.name == "nt" and (broken := _quoted(words)):
            raise UsageError(
                f"{broken}: no name has a quotation mark; leave off the backslash at the end of a name in quotes"
            )
        if command in WORKSHOP_EXTRAS and not known:
            raise MissingExtraError(WORKSHOP_EXTRAS[command], f"{PROGRAM} {command}")
        with stops_as_interrupt():
            app(args=words, prog_name=PROGRAM)
    except EdgeXrayError as error:
        say(f"{PROGRAM}: {error}")
        code = int(error.exit_code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        if reader_left(error):
            # No error, and nobody to tell; what is still to be written would fail again when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            what = f"cannot be read or written ({error}); check the disk and its permissions"
            say(f"{PROGRAM}: {_GONE if _is_gone() else what}")
        code = int(ExitCode.OUTPUT)
    except MemoryError as error:
        say(
            f"{PROGRAM}: this takes more memory than there is ({str(error) or 'no word how much'}); close other "
            "programs and run the same command again, or ask for less, such as fewer films at once"
        )
        code = int(ExitCode.USAGE)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
        if isinstance(error.__context__, BrokenPipeError):
            code = int(ExitCode.OUTPUT)  # typer's own is 1, which is a failed check here
    else:
        code = int(ExitCode.OK)
    if code == ExitCode.USAGE and _BROKEN and not known:
        say(f"{PROGRAM}: parts that could not be loaded: {'; '.join(_BROKEN)}")
    return code
