"""Whether this machine can be trusted with films: one finding for each thing that went wrong before."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from statistics import median
from typing import Final

from edge_xray._extras import version_of
from edge_xray.classifier import Classifier, golden_input
from edge_xray.errors import EdgeXrayError
from edge_xray.findings import Finding
from edge_xray.hardware import (
    MIB,
    check_cards,
    check_file_systems,
    check_heat,
    check_memory,
    check_throttling,
)

RELEASED: Final = date(2026, 11, 1)
"""No clock that is right can show an earlier day than the month this version was made in."""

FREE_DISK_LOW: Final = 500 * MIB
"""Below this some days' results, with their pictures, may not fit."""
FREE_DISK_NONE: Final = 50 * MIB

WRITE_TEST_BYTES: Final = 8 * MIB
WRITE_SLOW: Final = 2_000_000
"""Bytes a second that even the slowest speed class of SD cards (class 2) promises."""
SYNC_TESTS: Final = 5
SYNC_SLOW_MS: Final = 250.0
"""Milliseconds to force one record to the disk; the journal does it once for a group of films."""

INFER_TESTS: Final = 5


def examine(
    *,
    output: Path,
    model: Path | str | None = None,
    runtime: str | None = None,
    root: Path = Path("/"),
    today: date | None = None,
) -> Iterator[Finding]:
    """Look at everything, most basic first.

    Args:
        output: folder that results will be written to; if missing, what exists above it is tried.
        model: as `Classifier` takes it.
        runtime: as `Classifier` takes it.
        root: where ``proc`` and ``sys`` are; for tests.
        today: the clock's day; for tests.

    Yields:
        One finding for each check, as it is made.
    """
    yield check_python()
    yield check_packages()
    yield check_clock(today or datetime.now().astimezone().date())
    yield check_model(model, runtime)
    yield check_memory(root)
    folder = existing_parent(output)
    yield check_disk(folder)
    yield check_writing(folder)
    yield from check_cards(root)
    yield from check_file_systems(root)
    yield check_heat(root)
    throttling = check_throttling()
    if throttling is not None:
        yield throttling


def check_python() -> Finding:
    """Python's version, the machine's architecture and the C library."""
    bits = struct.calcsize("P") * 8
    libc = " ".join(part for part in platform.libc_ver() if part)
    message = f"Python {platform.python_version()}, {platform.machine()}, {bits} bits" + (
        f", {libc}" if libc else ""
    )
    values = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "bits": bits,
        "libc": libc,
        "system": platform.platform(),
    }
    return Finding("python", "OK", message, values=values)


def check_packages() -> Finding:
    """Versions of what the device kit stands on, and whether DICOM can be read."""
    versions = {name: version_of(name) for name in ("edge-xray", "numpy", "pillow", "pydicom")}
    message = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    if not versions["pydicom"]:
        return Finding(
            "packages",
            "WARN",
            f"{message}; no pydicom",
            'DICOM files will not be scored; for them: pip install ".[dicom]" in the folder of edge-xray, or a kit, which has it',
            versions,
        )
    return Finding("packages", "OK", message, values=versions)


def check_clock(today: date) -> Finding:
    """Whether the clock shows a day that can be: a Pi without a battery begins in 1970."""
    values = {"today": today.isoformat(), "earliest": RELEASED.isoformat()}
    if today < RELEASED:
        how = "in the settings of Windows" if os.name == "nt" else "sudo date -s '2026-11-30 08:00'"
        return Finding(
            "clock",
            "WARN",
            f"the clock says {today.isoformat()}",
            f"set it ({how}), or reports carry a wrong day",
            values,
        )
    return Finding("clock", "OK", today.isoformat(), values=values)


def check_model(model: Path | str | None, runtime: str | None) -> Finding:
    """Hashes, golden vectors, runtime, and how much of the network the delegate took."""
    try:
        classifier = Classifier(model, runtime=runtime, check=False)
        difference = classifier.check_golden()
    except EdgeXrayError as error:
        return Finding("model", "FAIL", str(error), "nothing can be scored before this is mended")
    golden = classifier.metadata.golden
    pixels = golden_input(0, classifier.metadata.input)
    times = []
    for _ in range(INFER_TESTS):
        start = time.perf_counter()
        classifier.classify(pixels)
        times.append((time.perf_counter() - start) * 1e3)
    name = f"{classifier.metadata.name} {classifier.metadata.version}"
    pieces = classifier.delegated_pieces()
    values = {
        "name": name,
        "sha256": classifier.sha256,
        "runtime": classifier.runtime,
        "infer_ms": round(median(times), 2),
        "delegated_pieces": pieces,
        "golden_difference": difference,
        "golden_tolerance": golden.tolerance if golden else None,
    }
    message = f"{name} on {classifier.runtime}, {median(times):.1f} ms a film"
    if pieces is not None:
        message += f", {_delegation(pieces, classifier.metadata.delegate)}"
    if golden is None:
        return Finding(
            "model",
            "WARN",
            f"{message}; it carries no golden vectors",
            "its answers on this machine cannot be checked; convert it again",
            values,
        )
    message += f"; golden vectors within {difference:.2g} (allowed {golden.tolerance:.2g})"
    return Finding("model", "OK", message, values=values)


def _delegation(pieces: int, wanted: bool) -> str:
    if not wanted:
        return "in the built-in kernels, as it asks"
    return "delegated" if pieces else "not delegated, so slower"


def existing_parent(folder: Path) -> Path:
    """What is there by that name, or else by the nearest above it; it may be a file or a dead link."""
    folder = folder.absolute()
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def check_disk(folder: Path) -> Finding:
    """Free space where results go."""
    if not os.path.isdir(folder):  # noqa: PTH112 - never raises
        return Finding(
            "disk", "FAIL", f"{folder} is no folder", "choose another folder with -o, or remove it"
        )
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(
            "disk", "FAIL", f"{folder}: {error.strerror}", "choose another folder with -o"
        )
    values = {"folder": str(folder), "free_bytes": free}
    message = f"{free // MIB} MiB free at {folder}"
    if free < FREE_DISK_NONE:
        return Finding("disk", "FAIL", message, "delete old results or films", values)
    if free < FREE_DISK_LOW:
        return Finding("disk", "WARN", message, "delete old results or films soon", values)
    return Finding("disk", "OK", message, values=values)


def check_writing(folder: Path) -> Finding:
    """How fast the disk takes results: 8 MiB at once, and small records one by one."""
    path = folder / f".edge-xray-doctor-{os.getpid()}"
    try:
        try:
            with path.open("wb", buffering=0) as stream:
                start = time.perf_counter()
                stream.write(os.urandom(WRITE_TEST_BYTES))
                os.fsync(stream.fileno())
                speed = WRITE_TEST_BYTES / (time.perf_counter() - start)
                syncs = []
                for _ in range(SYNC_TESTS):
                    start = time.perf_counter()
                    stream.write(b"x" * 256)
                    os.fsync(stream.fileno())
                    syncs.append((time.perf_counter() - start) * 1e3)
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        return Finding(
            "writing",
            "FAIL",
            f"{folder} cannot be written ({error.strerror})",
            "choose another folder with -o, or mend its permissions",
        )
    values = {"bytes_per_second": round(speed), "sync_ms": round(median(syncs), 2)}
    message = f"{speed / 1e6:.1f} MB/s, {median(syncs):.1f} ms to force a record to the disk"
    if speed < WRITE_SLOW or median(syncs) > SYNC_SLOW_MS:
        return Finding(
            "writing", "WARN", message, "slow: a worn or poor SD card? replace it", values
        )
    return Finding("writing", "OK", message, values=values)
