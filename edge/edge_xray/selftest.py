"""Whether this machine answers as the one that packed the model: drawn films, from file to decision.

Nothing is stored but the answers: the films are drawn with integer arithmetic
(`edge_xray.classifier.golden_input`), so every machine draws the same ones.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.calibration import probabilities
from edge_xray.classifier import GOLDEN_INPUTS, Classifier, golden_input
from edge_xray.decision import decide
from edge_xray.decode import decode
from edge_xray.findings import Finding
from edge_xray.input_spec import InputSpec
from edge_xray.metadata import GoldenVectors, ModelMetadata
from edge_xray.preprocess import preprocess

FILM_SIDES: Final = (1200, 904)
"""Columns and rows of the drawn film that decoding and resizing are tried with: a clinic's size."""
TRIED_SPEC: Final = InputSpec(224, 224, 1)
DRAWN: Final = (2, 3)
"""Golden inputs that are drawn large, and how they are mixed: lungs with a focus, three parts, and
noise, one part, which tells one resampling filter from another."""
DRAWN_PARTS: Final = (3, 1)

BLOCKS: Final = 4
EXPECTED: Final = (
    (
        (157.74, 151.50, 151.66, 157.59),
        (139.50, 100.34, 101.47, 138.20),
        (144.05, 124.84, 111.61, 142.90),
        (158.92, 157.32, 157.30, 158.94),
    ),
    (
        (10.59, 16.44, 16.34, 10.80),
        (26.91, 26.32, 27.20, 27.63),
        (24.08, 32.02, 28.41, 24.81),
        (9.23, 10.57, 10.62, 9.22),
    ),
)
"""`block_figures` of the drawn film, prepared; Pillow 10.3 and 13.0 agree to 0.01."""

PNG_TOLERANCE: Final = 0.1
"""Grey levels. PNG is exact and Pillow resizes in integers, so only another filter would show."""
JPEG_TOLERANCE: Final = 1.0
"""Grey levels. libjpeg's versions round differently by one, and JPEG itself moves a block by 0.14;
another filter moves one by 1.3 (lanczos) or 2.1 (bilinear)."""
JPEG_QUALITY: Final = 95


def self_test(
    model: Path | str | None = None,
    *,
    runtime: str | None = None,
    operating_point: str | None = None,
) -> Iterator[Finding]:
    """Run drawn films through decode, preprocess, the network and the decision.

    Args:
        model: as `Classifier` takes it.
        runtime: as `Classifier` takes it.
        operating_point: at which decisions are compared; None: the model's default.

    Yields:
        One finding for each stage, with the largest difference and the tolerance.

    Raises:
        ModelError: the model cannot be loaded, or it has no such operating point.
        UsageError: the runtime is not installed.
    """
    yield check_preparing("PNG", PNG_TOLERANCE)
    yield check_preparing("JPEG", JPEG_TOLERANCE)
    classifier = Classifier(model, runtime=runtime, check=False)
    yield check_path(classifier.metadata)
    golden = classifier.metadata.golden
    if golden is None:
        yield Finding(
            "network",
            "FAIL",
            f"{classifier.metadata.name} carries no golden vectors",
            "its answers on this machine cannot be checked; convert the model again",
        )
        return
    answers = classifier.golden_answers()
    yield check_network(classifier, golden, answers)
    yield check_decisions(classifier.metadata, golden, answers, operating_point)


def drawn_film(kind: Literal["PNG", "JPEG"]) -> bytes:
    """The drawn film as a file of a clinic's size."""
    columns, rows = FILM_SIDES
    spec = InputSpec(rows, columns, 1)
    mixed = sum(
        parts * golden_input(index, spec)[0, :, :, 0].astype(np.int64)
        for index, parts in zip(DRAWN, DRAWN_PARTS, strict=True)
    )
    buffer = io.BytesIO()
    pixels = np.asarray(mixed // sum(DRAWN_PARTS), np.uint8)
    Image.fromarray(pixels).save(buffer, kind, quality=JPEG_QUALITY)
    return buffer.getvalue()


def block_figures(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean and standard deviation of the grey levels of each block of a prepared film.

    Args:
        pixels: uint8, (1, H, W, 1); H and W are multiples of `BLOCKS`.

    Returns:
        float64, (2, `BLOCKS`, `BLOCKS`), in grey levels.
    """
    _, height, width, _ = pixels.shape
    grid = pixels.reshape(BLOCKS, height // BLOCKS, BLOCKS, width // BLOCKS)
    space = (1, 3)
    return np.stack([grid.mean(space, np.float64), grid.std(space, np.float64)])


def check_preparing(kind: Literal["PNG", "JPEG"], tolerance: float) -> Finding:
    """Whether a film of a clinic's size is read and resized as elsewhere.

    Args:
        kind: the file's format.
        tolerance: largest allowed difference of a mean or a standard deviation, in grey levels.
    """
    film = decode(drawn_film(kind), TRIED_SPEC)
    figures = block_figures(preprocess(film.pixels, TRIED_SPEC))
    difference = float(np.abs(figures - np.array(EXPECTED)).max())
    values = {"difference": round(difference, 4), "tolerance": tolerance}
    message = f"largest difference {difference:.2f} grey levels, allowed {tolerance:g}"
    if not difference <= tolerance:
        remedy = "Pillow reads or resizes otherwise here; install the version that the kit names"
        return Finding(f"{kind} film", "FAIL", message, remedy, values)
    return Finding(f"{kind} film", "OK", message, values=values)


def check_path(metadata: ModelMetadata) -> Finding:
    """Whether a film of the network's own size arrives at it untouched, through file and decoder."""
    spec = metadata.input
    worst = 0
    for index in range(GOLDEN_INPUTS):
        pixels = golden_input(index, spec)
        buffer = io.BytesIO()
        Image.fromarray(pixels[0, :, :, 0]).save(buffer, "PNG")
        arrived = preprocess(decode(buffer.getvalue(), spec).pixels, spec)
        worst = max(worst, int(np.abs(arrived.astype(np.int16) - pixels).max()))
    values = {"difference": worst, "tolerance": 0}
    message = f"largest difference {worst} grey levels, allowed 0"
    if worst:
        return Finding("file to input", "FAIL", message, "install the kit again", values)
    return Finding("file to input", "OK", message, values=values)


def check_network(
    classifier: Classifier, golden: GoldenVectors, answers: NDArray[np.float64]
) -> Finding:
    """Whether the network's answers are those it was packed with."""
    expected = np.array(golden.logits, np.float64)
    difference = (
        float(np.abs(answers - expected).max()) if expected.shape == answers.shape else np.inf
    )
    values = {
        "difference": difference,
        "tolerance": golden.tolerance,
        "runtime": classifier.runtime,
        "model_sha256": classifier.sha256,
    }
    message = (
        f"largest difference {difference:.4g} of a logit, allowed {golden.tolerance:.4g} "
        f"({classifier.runtime})"
    )
    if not difference <= golden.tolerance:
        return Finding("network", "FAIL", message, "try another --runtime", values)
    return Finding("network", "OK", message, values=values)


def check_decisions(
    metadata: ModelMetadata,
    golden: GoldenVectors,
    answers: NDArray[np.float64],
    operating_point: str | None,
) -> Finding:
    """Whether the drawn films are decided as where the model was packed."""
    point = metadata.operating_point(operating_point)
    expected = probabilities(
        np.array(golden.logits, np.float64), metadata.calibration, metadata.positive
    )
    actual = probabilities(answers, metadata.calibration, metadata.positive)
    if expected.shape != actual.shape:
        return Finding("decisions", "FAIL", "the golden vectors are of another shape")
    difference = float(np.abs(actual - expected).max())
    pairs = zip(expected, actual, strict=True)
    changed = 0
    for here, there in pairs:
        one, other = decide(here, metadata, point), decide(there, metadata, point)
        changed += (one.label, one.triage) != (other.label, other.triage)
    values = {"changed": changed, "films": len(actual), "difference": difference}
    message = (
        f"{len(actual) - changed} of {len(actual)} the same at {point.name}, largest difference "
        f"{difference:.4f} of a probability"
    )
    if changed:
        return Finding("decisions", "FAIL", message, "try another --runtime", values)
    return Finding("decisions", "OK", message, values=values)
