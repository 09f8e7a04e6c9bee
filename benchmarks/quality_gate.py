"""What the quality gate refuses: films as they are, films changed a little, and films that nobody should score.

    python benchmarks/quality_gate.py MODEL.tflite --data DATA --split split.json [--part test] [--json FILE]

Each film of the part is changed in every way below and put through the device's own gate, pixels and
features. Films changed a little should pass; those spoilt should not. Prints a table as Markdown, with the
sensitivity and the specificity of the model at its operating point on the films that passed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_xray.classifier import Classifier
from edge_xray.decode import DecodedFilm, decode
from edge_xray.errors import EdgeXrayError, FilmError, UsageError
from edge_xray.gate import Limits, check_film, check_scores
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split, labelled_root
from edge_xray.preprocess import preprocess

Pixels = NDArray[np.uint8]


def grey(values: NDArray[np.floating]) -> Pixels:
    """Rounded and cut to 0..255."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def middle(share: float) -> Callable[[Pixels], Pixels]:
    """The middle of a film: this share of its height and of its width."""

    def cut(film: Pixels) -> Pixels:
        top, left = (int(side * (1 - share) / 2) for side in film.shape)
        return film[top : film.shape[0] - top, left : film.shape[1] - left]

    return cut


def margin(share: float, level: int = 0) -> Callable[[Pixels], Pixels]:
    """A film on a ground of one grey, black, that is larger by this share a side."""

    def lay(film: Pixels) -> Pixels:
        around = [(int(side * share / 2),) * 2 for side in film.shape]
        return np.pad(film, around, constant_values=level)

    return lay


A_LITTLE: Final[dict[str, Callable[[Pixels], Pixels]]] = {
    "as it is": lambda film: film,
    "its middle 95 %": middle(0.95),
    "its middle 90 %": middle(0.9),
    "its middle 85 %": middle(0.85),
    "gamma 0.75": lambda film: grey(255 * (film / 255) ** 0.75),
    "gamma 1.33": lambda film: grey(255 * (film / 255) ** 1.33),
    "contrast 0.8": lambda film: grey((film - 128.0) * 0.8 + 128),
    "contrast 1.25": lambda film: grey((film - 128.0) * 1.25 + 128),
    "25 levels brighter": lambda film: grey(film + 25.0),
    "25 levels darker": lambda film: grey(film - 25.0),
    "mirrored": lambda film: film[:, ::-1],
}
SPOILT: Final[dict[str, Callable[[Pixels], Pixels]]] = {
    "a black margin, 10 % a side more": margin(0.1),
    "a black margin, 20 % a side more": margin(0.2),
    "a white margin, 10 % a side more": margin(0.1, 255),
    "a white margin, 20 % a side more": margin(0.2, 255),
    "half as bright": lambda film: film // 2,
    "its middle 60 %": middle(0.6),
    "its upper 70 %": lambda film: film[: film.shape[0] * 7 // 10],
    "its upper half": lambda film: film[: film.shape[0] // 2],
    "its lower 85 %": lambda film: film[film.shape[0] * 3 // 20 :],
    "its lower 70 %": lambda film: film[film.shape[0] * 3 // 10 :],
    "its lower half": lambda film: film[film.shape[0] // 2 :],
    "its left half": lambda film: film[:, : film.shape[1] // 2],
    "on its side": lambda film: np.rot90(film),
    "upside down": lambda film: film[::-1, ::-1],
    "inverted": lambda film: 255 - film,
}


@dataclass(frozen=True)
class Verdict:
    """What the device makes of a picture.

    Attributes:
        reason: why it is not scored; empty if it is.
        warned: whether its row carries a warning.
        found: whether a scored one has a finding at the model's operating point.
    """

    reason: str
    warned: bool
    found: bool


def verdict(film: Pixels, classifier: Classifier) -> Verdict:
    """Put a picture through the gate and score it."""
    metadata, limits = classifier.metadata, Limits()
    pixels = np.ascontiguousarray(film)
    height, width = pixels.shape[:2]
    report = check_film(DecodedFilm(pixels, "array", width, height), metadata.intended_use, limits)
    found = False
    if report.reason is None:
        scores = classifier.classify(preprocess(pixels, metadata.input))
        report = check_scores(report, scores, metadata, limits)
        found = scores.p_finding >= metadata.operating_point(None).threshold
    return Verdict(report.reason or "", bool(report.warnings), found)


def pixels_of(path: Path, spec: InputSpec) -> Pixels:
    """A film's grey values as the device decodes it.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return decode(path, spec).pixels
    except FilmError as error:
        raise UsageError(f"{path}: {error}") from error


def share(hits: Sequence[bool]) -> str:
    """Percent of hits, or a dash where there is nothing to count."""
    return f"{sum(hits) / len(hits):.1%}" if hits else "–"


def main() -> int:
    """Parse the command line, measure, print the table."""
    parser = argparse.ArgumentParser(description="What the quality gate refuses.")
    parser.add_argument("model", type=Path, help="packed .tflite file")
    parser.add_argument("--data", type=Path, required=True, help="labelled folder")
    parser.add_argument("--split", type=Path, required=True, help="split file")
    parser.add_argument("--part", default="test", help="part of the split; default: %(default)s")
    parser.add_argument("--json", type=Path, help="also write the counts here")
    arguments = parser.parse_args()
    try:
        classifier = Classifier(arguments.model)
        root = labelled_root(arguments.data)
        part = Split.read(arguments.split).part(arguments.part)
        films = [pixels_of(root / film.path, classifier.metadata.input) for film in part]
        metadata = classifier.metadata
        positive = dict(zip(metadata.label_names, metadata.positive, strict=True))
        ill = [positive.get(film.label, False) for film in part]
    except EdgeXrayError as error:
        print(f"quality_gate: {error}", file=sys.stderr)
        return int(error.exit_code)
    record = {}
    print(f"{len(films)} films, {classifier.metadata.name}\n")
    print("| each film | not scored | with a warning | sensitivity | specificity | reasons |")
    print("|---|---|---|---|---|---|")
    for name, change in {**A_LITTLE, **SPOILT}.items():
        seen = [verdict(change(film), classifier) for film in films]
        reasons = Counter(own.reason for own in seen if own.reason)
        warned = sum(own.warned for own in seen if not own.reason)
        passed = [(own.found, sick) for own, sick in zip(seen, ill, strict=True) if not own.reason]
        sensitivity = share([found for found, sick in passed if sick])
        specificity = share([not found for found, sick in passed if not sick])
        record[name] = {
            "films": len(films),
            "warned": warned,
            "reasons": dict(reasons),
            "sensitivity": sensitivity,
            "specificity": specificity,
        }
        most = ", ".join(reason for reason, _ in reasons.most_common(3))
        refused = reasons.total() / len(films)
        print(
            f"| {name} | {refused:.1%} | {warned / len(films):.1%} | {sensitivity} | {specificity} "
            f"| {most} |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
