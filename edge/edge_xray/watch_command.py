"""What ``edge-xray watch`` does: watch, log, and keep the reports up to date."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edge_xray.classifier import Classifier
from edge_xray.errors import ExitCode, UsageError
from edge_xray.reports.words import row_line
from edge_xray.results import Row
from edge_xray.results_folder import DEFAULT_FOLDER, FORMATS, ResultsFolder
from edge_xray.scan_command import ScanRequest, run_of
from edge_xray.watch import Heard, Watcher, run_watch


def run_watch_command(
    folder: Path,
    request: ScanRequest,
    say: Callable[[str], None],
    tell: Callable[[str], None],
    interval: float,
) -> ExitCode:
    """Watch a folder as asked, until SIGTERM or Ctrl-C.

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
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder to watch; use `edge-xray scan` for a file")
    classifier = Classifier(request.model, runtime=request.runtime)
    output = request.output or Path(DEFAULT_FOLDER)
    options = request.options_for(output)
    run = run_of(classifier, options)

    def hear(heard: Heard) -> None:
        if request.quiet:
            return
        if heard.notice:
            say(heard.notice)
        if heard.row is not None:
            tell(row_line(heard.row, run))

    with ResultsFolder(output, classifier, options, (folder,)) as results:
        if not request.quiet:
            if results.notice:
                say(results.notice)
            say(f"Watching {folder}; results in {output}{os.sep}. Stop with Ctrl-C.")

        def write_reports(rows: list[Row]) -> None:
            results.flush()
            results.write_reports(rows, run_of(classifier, options), request.files)

        return run_watch(
            Watcher(folder, classifier, options, results), write_reports, hear, interval=interval
        )
