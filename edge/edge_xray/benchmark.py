"""How fast this machine is, by stage of a film's way, with memory and, where it is told, energy."""

from __future__ import annotations

import io
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from PIL import Image

from edge_xray import __version__
from edge_xray.classifier import Classifier, golden_input
from edge_xray.decision import decide
from edge_xray.decode import decode
from edge_xray.errors import FilmError, UsageError
from edge_xray.hardware import peak_memory, processor_name, read_text
from edge_xray.input_spec import InputSpec
from edge_xray.plural import counted
from edge_xray.preprocess import preprocess
from edge_xray.progress import Steps, unseen
from edge_xray.walk import find_films

STAGES: Final = ("read", "decode", "prepare", "infer", "write")

DRAWN_SIDES: Final = (1348, 1004)
"""Columns and rows of a drawn film: those of a common film of a clinic."""
DRAWN_NOISE: Final = 19
"""Parts of lungs to one part of noise that make a JPEG of about 190 kB at `DRAWN_QUALITY`, as common."""
DRAWN_QUALITY: Final = 90
DRAWN_FILMS: Final = 2

WARM_UP_FILMS: Final = 3
DEFAULT_FILMS: Final = 200
MOST_FILMS_LISTED: Final = 10_000
MICROJOULE: Final = 1e-6
ENERGY_COUNTERS: Final = "sys/class/powercap/intel-rapl:[0-9]"
"""Packages' energy counters of Intel and AMD machines; a Raspberry Pi tells none."""


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Attributes:
        machine: processor, architecture and cores, in words.
        system: operating system and Python.
        version: of edge-xray.
        model: name and version.
        model_sha256: of the whole model file.
        runtime: name and version.
        threads: of the interpreter; films go one after another.
        films: how many were timed.
        source: which films, in words.
        median_bytes: median size of the files that were timed.
        stages_ms: median milliseconds of each stage of a film.
        film_ms: median milliseconds of a film, all stages.
        films_per_second: all films by all the time they took.
        start_ms: to load and check the model.
        peak_memory_bytes: largest resident memory of the process; None where it is not told.
        joules_per_film: of the processor's package, all it did meanwhile; None where it is not told.
    """

    machine: str
    system: str
    version: str
    model: str
    model_sha256: str
    runtime: str
    threads: int
    films: int
    source: str
    median_bytes: int
    stages_ms: dict[str, float]
    film_ms: float
    films_per_second: float
    start_ms: float
    peak_memory_bytes: int | None
    joules_per_film: float | None

    def to_json(self) -> str:
        """As indented JSON with a final newline."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def to_text(self) -> str:
        """For people; ends with a newline."""
        stages = ", ".join(f"{name} {self.stages_ms[name]:.2f}" for name in STAGES)
        lines = [
            f"{self.films_per_second:.1f} films a second, one after another ({self.film_ms:.2f} ms a film)",
            f"ms by stage: {stages}",
            f"start: {self.start_ms:.0f} ms to load and check the model",
        ]
        if self.peak_memory_bytes is not None:
            lines.append(f"memory: {self.peak_memory_bytes / 2**20:.0f} MiB at most")
        if self.joules_per_film is not None:
            lines.append(f"energy: {self.joules_per_film:.3f} J a film (whole processor)")
        lines += [
            f"films: {self.films}, {self.source}, {self.median_bytes / 1000:.0f} kB each",
            f"model: {self.model} on {self.runtime}, {self.threads} thread(s)",
            f"machine: {self.machine}; {self.system}",
        ]
        return "\n".join(lines) + "\n"

    def to_table_row(self) -> str:
        """One line for the table of machines in docs/devices.md."""
        stages = " | ".join(f"{self.stages_ms[name]:.1f}" for name in STAGES)
        memory = f"{self.peak_memory_bytes / 2**20:.0f}" if self.peak_memory_bytes else "-"
        return (
            f"| {self.machine} | {self.model} | {self.runtime} | {self.films_per_second:.1f} "
            f"| {stages} | {memory} |"
        )


def run_benchmark(
    folder: Path | None = None,
    *,
    model: Path | str | None = None,
    runtime: str | None = None,
    threads: int = 1,
    films: int = DEFAULT_FILMS,
    root: Path = Path("/"),
    progress: Steps = unseen,
) -> Benchmark:
    """Time films one after another, stage by stage.

    Args:
        folder: films to time, the first by name, taken again from there when there are too few; files that are no
            films are left out. None: drawn films of a clinic's size.
        model: as `Classifier` takes it.
        runtime: as `Classifier` takes it.
        threads: of the interpreter.
        films: how many to time, at least 1.
        root: where ``proc`` and ``sys`` are; for tests.
        progress: shows how far it is, between films, which it must not slow.

    Raises:
        UsageError: the folder has no film that can be read.
    """
    start = time.perf_counter()
    classifier = Classifier(model, threads=threads, runtime=runtime)
    start_ms = (time.perf_counter() - start) * 1e3
    with tempfile.TemporaryDirectory(prefix="edge-xray-benchmark-") as scratch:
        paths = _drawn_films(Path(scratch)) if folder is None else _films(folder, classifier, films)
        source = "drawn" if folder is None else f"{counted(len(paths), 'file')} of the folder given"
        output = Path(scratch) / "rows.csv"
        for path in itertools.islice(itertools.cycle(paths), WARM_UP_FILMS):
            _time_film(path, classifier, output)
        timed = []
        with progress("Timing films", films) as done:
            energy = _energy(root)
            for path in itertools.islice(itertools.cycle(paths), max(1, films)):
                timed.append(_time_film(path, classifier, output))
                done()
            spent = _energy_since(energy, _energy(root))
        times = np.array(timed)
        sizes = [path.stat().st_size for path in paths]
    return Benchmark(
        machine=machine_name(root),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        version=__version__,
        model=f"{classifier.metadata.name} {classifier.metadata.version}",
        model_sha256=classifier.sha256,
        runtime=classifier.runtime,
        threads=threads,
        films=len(times),
        source=source,
        median_bytes=int(median(sizes)),
        stages_ms=dict(zip(STAGES, np.median(times * 1e3, axis=0).round(4).tolist(), strict=True)),
        film_ms=float(np.median(times.sum(axis=1) * 1e3).round(4)),
        films_per_second=round(len(times) / float(times.sum()), 3),
        start_ms=round(start_ms, 2),
        peak_memory_bytes=peak_memory(),
        joules_per_film=None if spent is None else round(spent / len(times), 4),
    )


def _time_film(path: Path, classifier: Classifier, output: Path) -> tuple[float, ...]:
    """Seconds of each stage for one film."""
    spec = classifier.metadata.input
    marks = [time.perf_counter()]
    data = path.read_bytes()
    marks.append(time.perf_counter())
    film = decode(data, spec)
    marks.append(time.perf_counter())
    pixels = preprocess(film.pixels, spec)
    marks.append(time.perf_counter())
    scores = classifier.classify(pixels)
    marks.append(time.perf_counter())
    point = classifier.metadata.operating_point()
    decision = decide(scores.probabilities, classifier.metadata, point)
    with output.open("a", encoding="utf-8") as stream:
        stream.write(f"{path.name},{decision.label},{decision.triage},{decision.p_finding:.6f}\n")
    marks.append(time.perf_counter())
    return tuple(after - before for before, after in itertools.pairwise(marks))


def _drawn_films(folder: Path) -> list[Path]:
    columns, rows = DRAWN_SIDES
    spec = InputSpec(rows, columns, 1)
    noise = golden_input(3, spec)[0, :, :, 0].astype(np.int64)
    paths = []
    for index in range(1, 1 + DRAWN_FILMS):
        lungs = golden_input(index, spec)[0, :, :, 0].astype(np.int64)
        pixels = ((DRAWN_NOISE * lungs + noise) // (DRAWN_NOISE + 1)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=DRAWN_QUALITY)
        paths.append(folder / f"drawn-{index}.jpeg")
        paths[-1].write_bytes(buffer.getvalue())
    return paths


def _films(folder: Path, classifier: Classifier, most: int) -> list[Path]:
    """The first files below a folder that decode; read once here, so that none is timed cold."""
    found: list[Path] = []
    listed = itertools.islice(find_films([folder]), MOST_FILMS_LISTED)
    for path in sorted(film.path for film in listed if not film.reason):
        if len(found) == most:
            break
        with suppress(FilmError):
            decode(path, classifier.metadata.input)
            found.append(path)
    if not found:
        raise UsageError(f"{folder}: expected films to time, found none that can be read")
    return found


def machine_name(root: Path = Path("/")) -> str:
    """The board or processor, its architecture and its cores, in words."""
    name = processor_name(root) or "unknown processor"
    return f"{name}, {platform.machine()}, {os.cpu_count() or 1} cores"


def _energy(root: Path) -> list[tuple[int, int]]:
    """(microjoules, the value at which the counter wraps) of each package that can be read."""
    counters = []
    for package in sorted(root.glob(ENERGY_COUNTERS)):
        now, wrap = (
            read_text(package / "energy_uj").strip(),
            read_text(package / "max_energy_range_uj").strip(),
        )
        if now.isdigit() and wrap.isdigit():
            counters.append((int(now), int(wrap)))
    return counters


def _energy_since(
    before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]]
) -> float | None:
    """Joules between two readings; None where nothing is told."""
    if not before or len(before) != len(after):
        return None
    spent = [
        (end - start) % (wrap + 1) for (start, wrap), (end, _) in zip(before, after, strict=True)
    ]
    return sum(spent) * MICROJOULE
