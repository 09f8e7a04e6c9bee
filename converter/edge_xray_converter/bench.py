"""Latency and memory of a packed model, measured in a process of its own.

A process that has loaded TensorFlow has its threads and its memory, so what a device would need can
only be seen in a fresh one: ``python -m edge_xray_converter.bench MODEL --threads 1`` prints one line
of JSON. It imports nothing but the device's package.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_xray.classifier import GOLDEN_INPUTS, Classifier, golden_input
from edge_xray.errors import ModelError
from edge_xray.hardware import peak_memory

WARM_UP = 5
"""Films scored before the clock starts: caches fill and the runtime packs its weights."""

REPEATS = 100
"""Films timed, so that the 95th percentile has five beyond it."""

TIMEOUT_SECONDS = 300.0

BYTES_PER_MIB = 2**20


@dataclass(frozen=True)
class Timing:
    """What one process measured.

    Attributes:
        threads: of the interpreter.
        median_ms: of one film, prepared pixels in to calibrated probabilities out.
        p95_ms: 95th percentile of the same.
        peak_mib: most memory the process ever held, Python and libraries included.
        start_mib: the same before the model was loaded, so that the difference is the model's.
    """

    threads: int
    median_ms: float
    p95_ms: float
    peak_mib: float
    start_mib: float

    def to_dict(self) -> dict[str, float]:
        """Plain data, JSON-ready."""
        return dict(vars(self))


def measure(model: Path, threads: int, runtime: str | None = None) -> Timing:
    """Measure a model in a fresh process.

    Args:
        model: packed ``.tflite`` file.
        threads: of the interpreter.
        runtime: as for `Classifier`.

    Raises:
        ModelError: the process failed; its last words are in the message.
    """
    command = [sys.executable, "-m", __name__, str(model), "--threads", str(threads)]
    if runtime:
        command += ["--runtime", runtime]
    try:
        done = subprocess.run(  # noqa: S603  our own module
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        words = str(error.stderr or error).strip().splitlines()
        raise ModelError(
            f"model {model}: could not be timed ({words[-1] if words else ''})"
        ) from error
    return Timing(**json.loads(done.stdout))


def _measure_here(model: Path, threads: int, runtime: str | None) -> Timing:
    start_mib = _peak_mib()
    classifier = Classifier(model, threads=threads, runtime=runtime)
    spec = classifier.metadata.input
    films = [golden_input(index, spec) for index in range(GOLDEN_INPUTS)]
    for index in range(WARM_UP):
        classifier.classify(films[index % GOLDEN_INPUTS])
    times = []
    for index in range(REPEATS):
        start = time.perf_counter()
        classifier.classify(films[index % GOLDEN_INPUTS])
        times.append((time.perf_counter() - start) * 1e3)
    median, p95 = np.quantile(times, [0.5, 0.95])
    return Timing(threads, float(median), float(p95), _peak_mib(), start_mib)


def _peak_mib() -> float:
    """Most memory this process ever held, in MiB; 0 where the system does not tell."""
    return (peak_memory() or 0) / BYTES_PER_MIB


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in this process and print the result; what `measure` starts."""
    parser = argparse.ArgumentParser(prog="edge_xray_converter.bench")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runtime")
    options = parser.parse_args(arguments)
    timing = _measure_here(options.model, options.threads, options.runtime)
    sys.stdout.write(json.dumps(timing.to_dict()) + "\n")


if __name__ == "__main__":
    main()
