# ruff: noqa: T201 - a script that answers on stdout
"""Kill a scan at every write, sync and rename it makes, go on, and compare with one left alone.

Run by ``test_survival.py`` in a process of its own, which forks: each scan is a child that the kernel
kills, and the model is loaded once.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edge_xray.scan_command as command
from edge_xray.classifier import Classifier
from edge_xray.scan import ScanOptions

WAYS = ("before", "torn", "after")
"""When the kill comes: before the call, in the middle of its data, after it."""


@dataclass
class Killer:
    """Counts the calls that change the disk; kills the process at one of them."""

    at: int
    way: str
    count: int = 0

    def __post_init__(self) -> None:
        self.calls: list[str] = []
        self._guard = threading.Lock()
        # Python 3.10's paths keep functions of os in a class of their own.
        kept = getattr(pathlib, "_NormalAccessor", None)
        for name in ("write", "fsync", "replace", "ftruncate", "mkdir", "unlink"):
            real = getattr(os, name)
            call = self._wrap(real, torn=name == "write")
            setattr(os, name, call)
            if getattr(kept, name, None) is real:
                setattr(kept, name, staticmethod(call))
        real_bytes = Path.write_bytes
        counted = self._wrap(real_bytes, torn=True)
        Path.write_bytes = lambda path, data: counted(path, data)  # type: ignore[method-assign]

    def _wrap(self, real: Callable[..., Any], *, torn: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            with self._guard:
                self.count += 1
                self.calls.append(f"{real.__name__} {arguments[0]}")
                mine = self.count == self.at
            if mine and self.way == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if mine and self.way == "torn" and torn:
                target, data = arguments
                real(target, bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if mine:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call


def scan_in_child(
    films: Path, output: Path, killer: tuple[int, str] | None
) -> tuple[int, list[str]]:
    """Scan in a forked child; returns its wait status and the calls it made."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            counter = Killer(*(killer or (0, "")))
            request = command.ScanRequest(
                (films,), output, options=ScanOptions(jobs=1), heatmaps=True, quiet=True
            )
            status = int(command.run_scan(request, lambda text: None))
            os.close(read)
            with os.fdopen(write, "w") as stream:
                json.dump(counter.calls, stream)
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as stream:
        calls = stream.read()
    return os.waitpid(child, 0)[1], json.loads(calls or "[]")


def keys(output: Path) -> list[str]:
    """Films in the journal whose lines are whole, in order."""
    try:
        lines = (output / "journal.jsonl").read_text().split("\n")[1:-1]
    except OSError:
        return []
    return [json.loads(line[9:])["key"] for line in lines]


def main(model: str, films: str, work: str) -> None:
    """Sweep; prints what was found as JSON."""
    loaded = Classifier(model)
    command.Classifier = lambda *_, **__: loaded  # type: ignore[assignment, misc]
    source, output = Path(films), Path(work) / "out"
    reference = Path(work) / "reference"
    status, calls = scan_in_child(source, reference, None)
    assert status == 0, status
    expected = (reference / "results.csv").read_bytes()
    found: dict[str, Any] = {"points": 0, "killed": 0, "lost": [], "doubled": [], "different": []}
    for at, call in enumerate(calls, 1):
        # A picture is written like every other: one way each, in turn.
        picture = "pictures" in call or "heatmaps" in call
        for way in WAYS[at % 3 :][:1] if picture else WAYS:
            shutil.rmtree(output, ignore_errors=True)
            status, _ = scan_in_child(source, output, (at, way))
            found["points"] += 1
            found["killed"] += os.WIFSIGNALED(status)
            kept = keys(output)
            status, _ = scan_in_child(source, output, None)
            after = keys(output)
            if status or not set(kept) <= set(after) or len(set(after)) != len(keys(reference)):
                found["lost"].append((at, way, status))
            if len(after) != len(set(after)):
                found["doubled"].append((at, way))
            leftovers = {path.name for path in output.rglob("*")} - {
                path.name for path in reference.rglob("*")
            }
            if (output / "results.csv").read_bytes() != expected or leftovers:
                found["different"].append((at, way, sorted(leftovers)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
