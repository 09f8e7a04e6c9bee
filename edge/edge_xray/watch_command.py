"""What ``edge-xray watch`` does: watch, log, and keep the reports up to date."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

from edge_xray.classifier import Classifier
from edge_xray.errors import ExitCode, FileInUseError, UsageError
from edge_xray.metadata import DISCLAIMER
from edge_xray.own_files import DEFAULT_FOLDER
from edge_xray.reports.words import row_line
from edge_xray.results import Row
from edge_xray.results_folder import FORMATS, ResultsFolder
from edge_xray.scan_command import ScanRequest, lacks_patient, run_of, tell_of_key
from edge_xray.walk import full_path
from edge_xray.watch import (
    INTERVAL_SECONDS_LEAST,
    INTERVAL_SECONDS_MOST,
    Heard,
    Watcher,
    run_watch,
)

_NOT_READY: Final = 21
"""``ERROR_NOT_READY`` of Windows: a drive without its card or disc."""


def run_watch_command(
    folder: Path,
    request: ScanRequest,
    say: Callable[[str], None],
    tell: Callable[[str], None],
    interval: float,
) -> ExitCode:
    """Watch a folder as asked, until Ctrl-C or one of `stop_signals`.

    Args:
        folder: what is watched; need not be there yet.
        request: output folder, formats, model and options; its paths are not used.
        say: tells the person at the terminal one line.
        tell: prints one line a film.
        interval: seconds between two looks.

    Returns:
        What the process is to end with.

    Raises:
        EdgeXrayError: the model cannot be used, or results cannot be written.
    """
    kept = [name for name in request.files if name not in FORMATS]
    if kept:
        raise UsageError(f"--format {kept[0]}: watch keeps up {', '.join(FORMATS)} only")
    # So written that it also refuses what is no number.
    if not INTERVAL_SECONDS_LEAST <= interval <= INTERVAL_SECONDS_MOST:
        raise UsageError(
            f"--interval {interval:g}: expected {INTERVAL_SECONDS_LEAST:g} to "
            f"{INTERVAL_SECONDS_MOST:g} seconds"
        )
    _check_folder(folder)
    folder = full_path(folder)
    classifier = Classifier(request.model, runtime=request.runtime)
    output = request.output or Path(DEFAULT_FOLDER)
    options = request.options_for(output)
    run = run_of(classifier, options)

    tell = _until_lost(
        tell,
        sys.stdout,
        lambda why: say(
            f"edge-xray: stdout: cannot be written ({why}); films are still scored, and the list is "
            f"in {output}{os.sep}"
        ),
    )

    key_told = False

    def hear(heard: Heard) -> None:
        nonlocal key_told
        if heard.notice:
            # That the folder is gone is an error, quiet or not: nothing is scored meanwhile.
            say(heard.notice)
        if heard.row is not None and not request.quiet:
            tell(row_line(heard.row, run))
            if not key_told and lacks_patient(heard.row, options):
                key_told = True
                tell_of_key(say)

    with ResultsFolder(output, classifier, options, (folder,)) as results:
        if not request.quiet:
            if results.notice:
                say(results.notice)
            say(f"Watching {folder}; results in {output}{os.sep}. Stop with Ctrl-C.")
            say(DISCLAIMER)

        in_use = False

        def write_reports(rows: list[Row]) -> None:
            nonlocal in_use
            results.flush()
            try:
                results.write_reports(rows, run_of(classifier, options), request.files)
            except FileInUseError as error:
                if not in_use:
                    say(f"edge-xray: {error}; until then the list is not up to date")
                in_use = True
                raise
            in_use = False
            if results.kept and not request.quiet:
                say(results.kept_notice)
                results.kept = None

        return run_watch(
            Watcher(folder, classifier, options, results), write_reports, hear, interval=interval
        )


def _check_folder(folder: Path) -> None:
    """Refuse what can never be watched; what is not there may come.

    Raises:
        UsageError: it is no folder, or cannot be looked at.
    """
    try:
        info = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        if getattr(error, "winerror", None) == _NOT_READY:
            return
        raise UsageError(
            f"{folder}: cannot be looked at ({error.strerror or error}); check the path and its "
            "permissions"
        ) from error
    if not stat.S_ISDIR(info.st_mode):
        raise UsageError(f"{folder}: expected a folder to watch; use `edge-xray scan` for a file")


def _until_lost(
    speak: Callable[[str], None], stream: TextIO | None, lost: Callable[[str], None]
) -> Callable[[str], None]:
    """Speak until nobody can listen any more: then be still for good, for the watch must go on.

    Args:
        speak: says one line on `stream`.
        stream: is turned to nowhere once it failed, or its rest would fail again when the process ends.
        lost: is told once why it failed.
    """
    still = False

    def guarded(text: str) -> None:
        nonlocal still
        if still:
            return
        try:
            speak(text)
        except OSError as error:
            still = True
            with contextlib.suppress(OSError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
                os.close(nowhere)
            lost(error.strerror or str(error))

    return guarded
