"""Films to rows: find, read, decode, check, score, decide. Never prints.

Worker threads score films, each with its own one-thread interpreter; decoding, resizing and
`Interpreter.invoke` release the GIL. At most `FILMS_AHEAD` films a worker are under way, so memory
does not grow with the folder.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_xray.classifier import Classifier
from edge_xray.decision import decide, p_finding
from edge_xray.decode import DecodedFilm, quiet_decoders
from edge_xray.durable import replace_file
from edge_xray.errors import FilmError, OutputError, UsageError, out_of_memory
from edge_xray.film_file import read_film, room_for
from edge_xray.gate import Limits, check_film, check_scores
from edge_xray.hardware import free_memory
from edge_xray.heatmap import finding_evidence, overlay_png, report_picture
from edge_xray.isolate import decode_guarded
from edge_xray.own_files import overlay_name, picture_name, temporary_name
from edge_xray.preprocess import preprocess
from edge_xray.results import PROBABILITY_DIGITS, Prediction, Row, SkippedFilm, shared
from edge_xray.site_key import site_key
from edge_xray.walk import Found, find_films

FILMS_AHEAD: Final = 4
"""Films queued for each worker: enough to keep it busy while rows are written."""

MOST_JOBS: Final = 8
"""Workers taken without being asked for: each holds a decoded film and an interpreter."""

WORKER_BYTES: Final = 200 * 10**6
"""Free memory for each such worker: itself, and a decoder that takes 109 MB for a DICOM film of 7 megapixels."""

NAME_LENGTH: Final = 60
"""Characters of a film's own name in the name of its overlay."""

Known = Callable[[str, str], Row | None]
"""``known(path, sha256)``: the row of an earlier scan, or None. Called from several threads."""


@dataclass(frozen=True)
class ScanOptions:
    """How to scan.

    Attributes:
        operating_point: name; None is the model's default.
        jobs: worker threads; None is `default_jobs`.
        recursive: also folders within folders.
        limits: which limits of the model's intended use are lifted.
        with_identifiers: keep the DICOM patient ID as it is, not as a keyed hash.
        pictures: folder for the report's pictures; None makes none.
        heatmaps: folder for overlay files; None makes none.
    """

    operating_point: str | None = None
    jobs: int | None = None
    recursive: bool = True
    limits: Limits = field(default_factory=Limits)
    with_identifiers: bool = False
    pictures: Path | None = None
    heatmaps: Path | None = None


def processors() -> int:
    """How many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_jobs(root: Path = Path("/")) -> int:
    """Workers taken without being asked for: one for each processor and for each `WORKER_BYTES` of free memory.

    Args:
        root: where ``proc`` is; for tests.
    """
    free = free_memory(root)
    fitting = MOST_JOBS if free is None else max(1, free // WORKER_BYTES)
    return min(processors(), MOST_JOBS, fitting)


def scan(
    paths: Iterable[Path],
    classifier: Classifier,
    options: ScanOptions | None = None,
    known: Known | None = None,
) -> Iterator[Row]:
    """Score every film found, in the order found.

    Args:
        paths: files and folders; see `edge_xray.walk.find_films` for what is taken as a film.
        classifier: the model; each worker uses a twin of it.
        options: how to scan.
        known: looks up rows of an earlier scan by path and content, so that no film is scored twice.

    Returns:
        One row a file found, as soon as it and all before it are done.

    Raises:
        ModelError: the model has no such operating point.
        OutputError: a picture or an overlay could not be written.
        UsageError: a key for pseudonyms is named and cannot be used, or no worker can be started.
    """
    options = options or ScanOptions()
    found = find_films(paths, recursive=options.recursive)
    return score_films(found, classifier, options, known)


def score_films(
    films: Iterable[Found],
    classifier: Classifier,
    options: ScanOptions,
    known: Known | None = None,
) -> Iterator[Row]:
    """Score films that were found already; as `scan` but for the finding."""
    classifier.metadata.operating_point(options.operating_point)
    quiet_decoders()
    jobs = options.jobs or default_jobs()
    twins: SimpleQueue[Classifier] = SimpleQueue()
    local = threading.local()

    def start_worker() -> None:
        local.scorer = FilmScorer(twins.get(), options, known)

    def score(found: Found) -> Row:
        scorer: FilmScorer = local.scorer
        return scorer.score(found)

    pending: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(jobs, "edge-xray", start_worker) as pool:
        try:
            for count, found in enumerate(films):
                if count < jobs:
                    # For the worker that this film may start: most looks at a watched folder find none.
                    twins.put(classifier.twin() if count else classifier)
                try:
                    pending.append(pool.submit(score, found))
                except RuntimeError as error:
                    raise UsageError(
                        f"this machine lets no thread more be started ({error}); close other programs, raise "
                        "the limit of processes or tasks, or scan with --jobs 1, then run the same command to go on"
                    ) from error
                while pending and (pending[0].done() or len(pending) >= jobs * FILMS_AHEAD):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            # An interrupted scan finishes the films under way and drops those queued.
            for future in pending:
                future.cancel()


class FilmScorer:
    """Scores one film after another with one classifier; not for two threads at once."""

    def __init__(
        self, classifier: Classifier, options: ScanOptions, known: Known | None = None
    ) -> None:
        """Take the parts that are the same for all films."""
        self._classifier = classifier
        self._options = options
        self._known = known
        self._point = classifier.metadata.operating_point(options.operating_point)

    def score(self, found: Found) -> Row:
        """The row of one file; whatever is wrong with the film becomes a row too.

        Raises:
            OutputError: a picture or an overlay could not be written.
            UsageError: a key for pseudonyms is named and cannot be used.
        """
        if found.reason:
            return SkippedFilm(found.shown, "", found.reason, found.message)
        sha256 = ""
        try:
            with room_for(found.path):
                data, sha256 = read_film(found.path)
                known = self._known(found.shown, sha256) if self._known else None
                return known or self._score(found, sha256, data)
        except FilmError as error:
            return SkippedFilm(found.shown, sha256, error.reason, str(error))
        except MemoryError:
            short = out_of_memory("the film could not be scored")
            return SkippedFilm(found.shown, sha256, short.reason, str(short))

    def _score(self, found: Found, sha256: str, data: bytes) -> Row:
        metadata = self._classifier.metadata
        film = decode_guarded(data, metadata.input)
        limits = self._options.limits
        report = check_film(film, metadata.intended_use, limits)
        scores = None
        if report.reason is None:
            scores = self._classifier.classify(preprocess(film.pixels, metadata.input))
            report = check_scores(report, scores, metadata, limits)
        patient = self._patient(film)
        if scores is None or report.reason is not None:
            return SkippedFilm(
                path=found.shown,
                sha256=sha256,
                reason=report.reason or "",
                message=report.message,
                warnings=shared(report.warnings),
                patient=patient,
                pictured=self._write_picture(sha256, film, None),
            )
        finding = (
            finding_evidence(scores.evidence, metadata) if scores.evidence is not None else None
        )
        decision = decide(scores.probabilities, metadata, self._point)
        shares = np.round(scores.probabilities, PROBABILITY_DIGITS)
        return Prediction(
            path=found.shown,
            sha256=sha256,
            label=decision.label,
            triage=decision.triage,
            # Of the rounded shares, so that the columns of a row add up.
            p_finding=round(p_finding(shares, metadata), PROBABILITY_DIGITS),
            probabilities=tuple(shares.tolist()),
            warnings=shared(report.warnings),
            format=film.format,
            width=film.width,
            height=film.height,
            patient=patient,
            heatmap=self._write_heatmap(found, sha256, film, finding),
            pictured=self._write_picture(sha256, film, finding),
        )

    def _patient(self, film: DecodedFilm) -> str:
        if film.tags is None or not film.tags.patient_id:
            return ""
        if self._options.with_identifiers:
            return film.tags.patient_id
        key = site_key()
        return film.tags.pseudonym(key) if key else ""

    def _write_heatmap(
        self,
        found: Found,
        sha256: str,
        film: DecodedFilm,
        finding: NDArray[np.float32] | None,
    ) -> str:
        folder = self._options.heatmaps
        if folder is None or finding is None:
            return ""
        name = overlay_name(_safe_name(found.path.stem), sha256)
        _write(folder / name, overlay_png(film.pixels, finding))
        return f"{folder.name}/{name}"

    def _write_picture(
        self, sha256: str, film: DecodedFilm, finding: NDArray[np.float32] | None
    ) -> bool:
        folder = self._options.pictures
        if folder is None:
            return False
        _write(folder / picture_name(sha256), report_picture(film.pixels, finding))
        return True


def _safe_name(stem: str) -> str:
    """A film's name as part of a file name: letters, digits, dash and underscore."""
    kept = "".join(
        char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in stem
    )
    return kept[:NAME_LENGTH] or "film"


def _write(path: Path, data: bytes) -> None:
    """Write a picture so that a half-written one never has its name."""
    temporary = path.with_name(temporary_name(path.name, threading.get_ident()))
    try:
        temporary.write_bytes(data)
        replace_file(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose "
            "another folder with -o, then run the same command to go on"
        ) from error
