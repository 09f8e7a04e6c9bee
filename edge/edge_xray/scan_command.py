"""What ``edge-xray scan`` does: scan, keep a journal, print and write reports."""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from edge_xray import __version__
from edge_xray.classifier import Classifier
from edge_xray.durable import write_atomically
from edge_xray.errors import ExitCode, OutputError, UsageError
from edge_xray.own_files import DEFAULT_FOLDER, HEATMAPS, PICTURES, picture_name
from edge_xray.plural import counted
from edge_xray.reports import csv, jsonl
from edge_xray.results import Prediction, Row, Run, Tally
from edge_xray.results_folder import FORMATS, ResultsFolder
from edge_xray.scan import ScanOptions, scan
from edge_xray.site_key import named_key, why_no_key
from edge_xray.stopping import reader_left
from edge_xray.walk import with_wildcards, without_repeats

TABLE: Final = "table"
TABLE_FILE: Final = "results.txt"
ALL_FORMATS: Final = (TABLE, *FORMATS)

_INVALID_NAME: Final = 123
"""``ERROR_INVALID_NAME`` of Windows: of a name with a wildcard that nothing fits, among others."""


@dataclass(frozen=True)
class ScanRequest:
    """What the command line asked for.

    Attributes:
        paths: files and folders.
        output: results folder; None is the default one, or none at all if `formats` has any.
        formats: of `ALL_FORMATS`; empty is the table on stdout and all files in the results folder.
        model: file or name; None is the default model.
        runtime: name; None is the first found.
        options: how to scan; its folders are set here.
        heatmaps: whether to write overlays.
        strict: whether a film that is not scored makes the exit code 1.
        quiet: whether only errors are said.
    """

    paths: tuple[Path, ...]
    output: Path | None = None
    formats: tuple[str, ...] = ()
    model: str | None = None
    runtime: str | None = None
    options: ScanOptions = field(default_factory=ScanOptions)
    heatmaps: bool = False
    strict: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        unknown = [name for name in self.formats if name not in ALL_FORMATS]
        if unknown:
            raise UsageError(f"--format {unknown[0]}: expected one of {', '.join(ALL_FORMATS)}")
        if self.output is None and len(self.formats) > 1:
            raise UsageError(
                f"--format {' and '.join(self.formats)}: stdout takes one format; "
                "name a folder for several with --output DIR"
            )
        if self.output is None and self.formats and self.heatmaps:
            raise UsageError("--heatmaps writes files: name a folder for them with --output DIR")

    @property
    def folder(self) -> Path | None:
        """Where results are written; None: nowhere but stdout."""
        if self.output is None and self.formats:
            return None
        return self.output or Path(DEFAULT_FOLDER)

    @property
    def files(self) -> tuple[str, ...]:
        """Formats that are written into the folder."""
        return self.formats or FORMATS

    @property
    def on_stdout(self) -> str | None:
        """Format that goes to stdout: none if a folder was named."""
        if self.output is not None:
            return None
        return self.formats[0] if self.formats else TABLE

    def options_for(self, folder: Path) -> ScanOptions:
        """The options with the places in a results folder filled in."""
        return replace(
            self.options,
            pictures=folder / PICTURES if "html" in self.files else None,
            heatmaps=folder / HEATMAPS if self.heatmaps else None,
        )


def run_scan(request: ScanRequest, say: Callable[[str], None]) -> ExitCode:
    """Scan as asked.

    Args:
        request: what the command line asked for.
        say: tells the person at the terminal one line; errors and talk alike.

    Returns:
        What the process is to end with.

    Raises:
        EdgeXrayError: the model cannot be used, or results cannot be written.
        OSError: whoever read stdout had enough; see `reader_left`.
    """
    named = with_wildcards(request.paths)
    there, missing = _sort_out(without_repeats(named, recursive=request.options.recursive))
    for path in missing:
        say(f"edge-xray: {path}: no such file or folder; check the name, or the drive")
    if not there:
        return ExitCode.USAGE
    talk = (lambda _: None) if request.quiet else say
    classifier = Classifier(request.model, runtime=request.runtime)
    scan_films = _into_folder if request.folder else _to_stdout
    tally = scan_films(replace(request, paths=tuple(there)), classifier, talk)
    if missing:
        return ExitCode.USAGE
    return ExitCode.FAILED_CHECK if request.strict and tally.not_scored else ExitCode.OK


def _sort_out(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Paths that are there and paths that are missing; a broken link counts as missing."""
    there: list[Path] = []
    missing: list[Path] = []
    for path in paths:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
        except OSError as error:
            # One that cannot be looked at gets a row, which says why; a name no disk can have does not.
            impossible = error.errno == errno.ENAMETOOLONG or (
                getattr(error, "winerror", None) == _INVALID_NAME
            )
            (missing if impossible else there).append(path)
        else:
            there.append(path)
    return there, missing


def _into_folder(
    request: ScanRequest, classifier: Classifier, talk: Callable[[str], None]
) -> Tally:
    folder = request.folder
    assert folder is not None  # noqa: S101 - the caller's branch
    options = request.options_for(folder)
    rows: list[Row] = []
    tally, resumed = Tally(), 0
    with ResultsFolder(folder, classifier, options, request.paths) as results:
        if results.notice:
            talk(results.notice)
        try:
            for row in _with_progress(
                request, options, scan(request.paths, classifier, options, results.known)
            ):
                resumed += not results.add(row) and isinstance(row, Prediction)
                rows.append(row)
                tally.add(row)
        except KeyboardInterrupt:
            results.flush()
            talk(
                f"Interrupted: {counted(len(rows), 'film', 'is', 'are')} done and kept in {folder}; "
                "run the same command to go on."
            )
            raise
        results.flush()
        rows.sort(key=lambda row: row.urgency)
        run = run_of(classifier, options)
        written = results.write_reports(rows, run, request.files)
        if TABLE in request.files:
            written.append(_write_table(folder, rows, tally, run))
    if request.on_stdout == TABLE:
        from edge_xray.reports.console import TABLE_ROWS, print_table

        _guard_stdout(lambda: print_table(rows, tally, run, sys.stdout, TABLE_ROWS))
    else:
        talk(f"{tally}.")
    if not rows:
        talk("No films were found.")
    if any(lacks_patient(row, options) for row in rows):
        tell_of_key(talk)
    if resumed:
        talk(f"{resumed} of them {'was' if resumed == 1 else 'were'} scored by an earlier scan.")
    if results.kept:
        talk(results.kept_notice)
    if "html" in request.files:
        talk(f"To read or print: {written[0]}")
    talk(f"Results: {folder}{os.sep}")
    return tally


def _to_stdout(request: ScanRequest, classifier: Classifier, talk: Callable[[str], None]) -> Tally:
    form = request.on_stdout
    tally, lacking = Tally(), False
    if not request.options.with_identifiers:
        named_key()  # refused before a film is scored
    run = run_of(classifier, request.options)
    with ExitStack() as stack:
        options = request.options
        if form == "html":
            folder = stack.enter_context(_temporary_folder())
            options = replace(options, pictures=Path(folder))
        films = _with_progress(request, options, scan(request.paths, classifier, options))

        def counted() -> Iterator[Row]:
            nonlocal lacking
            for row in films:
                tally.add(row)
                lacking = lacking or lacks_patient(row, options)
                yield row

        if form == "jsonl":
            # Rows leave as they come, so that a pipe can work while films are scored.
            _print(jsonl.render(counted(), run))
        else:
            rows = sorted(counted(), key=lambda row: row.urgency)
            run = run_of(classifier, options)
            if form == "csv":
                _print(csv.render(rows, run))
            elif form == "html":
                from edge_xray.reports import html

                pictures = options.pictures or Path()

                def picture(row: Row) -> bytes:
                    return (
                        (pictures / picture_name(row.sha256)).read_bytes() if row.pictured else b""
                    )

                _print(html.render(rows, run, picture, tally))
            else:
                from edge_xray.reports.console import print_table

                _guard_stdout(lambda: print_table(rows, tally, run, sys.stdout))
    talk(f"{tally}.")
    if lacking:
        tell_of_key(talk)
    return tally


def lacks_patient(row: Row, options: ScanOptions) -> bool:
    """Whether a film of a kind that names its patient has no pseudonym."""
    dicom = isinstance(row, Prediction) and row.format == "DICOM"
    return dicom and not row.patient and not options.with_identifiers


def tell_of_key(talk: Callable[[str], None]) -> None:
    """Tell why a film has no pseudonym, unless that is because it names no patient."""
    why = why_no_key()
    if why:
        talk(f"No pseudonyms of patients are made: {why}.")


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="edge-xray-")
    except OSError as error:
        raise OutputError(
            f"no folder for temporary files can be written ({error.strerror or error}); name a "
            "folder for the results with --output DIR"
        ) from error


def run_of(classifier: Classifier, options: ScanOptions) -> Run:
    """What the rows of this scan have in common, now."""
    return Run(
        metadata=classifier.metadata,
        model_sha256=classifier.sha256,
        point=classifier.metadata.operating_point(options.operating_point),
        runtime=classifier.runtime,
        version=__version__,
        finished=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        lifted=options.limits.lifted,
    )


def _with_progress(
    request: ScanRequest, options: ScanOptions, rows: Iterator[Row]
) -> Iterator[Row]:
    """Show progress while rows go by, on a terminal only."""
    if request.quiet or not sys.stderr.isatty():
        yield from rows
        return
    from edge_xray.reports.console import ScanProgress

    with ScanProgress(sys.stderr, request.paths, recursive=options.recursive) as progress:
        for row in rows:
            yield row
            progress.advance()


def _write_table(folder: Path, rows: list[Row], tally: Tally, run: Run) -> Path:
    from edge_xray.reports.console import print_table

    text = io.StringIO()
    print_table(rows, tally, run, text, plain=True)
    write_atomically(folder / TABLE_FILE, text.getvalue().encode("utf-8"))
    return folder / TABLE_FILE


def _print(chunks: Iterable[str]) -> None:
    """Data to stdout as UTF-8, whatever the terminal's own encoding."""

    def write() -> None:
        stream = sys.stdout.buffer
        for chunk in chunks:
            stream.write(chunk.encode("utf-8"))
            stream.flush()

    _guard_stdout(write)


def _guard_stdout(write: Callable[[], None]) -> None:
    try:
        write()
        sys.stdout.flush()
    except OSError as error:
        if reader_left(error):
            raise
        raise OutputError(
            f"stdout: cannot be written ({error.strerror or error}); free some space, or name a "
            "folder with --output DIR"
        ) from error
