"""What the quality gate makes of pictures from chest CTs: films of adults from all sides, and slices.

    python benchmarks/ct_pictures.py VOLUME… --model MODEL.tflite [--model …] [--pictures DIR] [--json FILE]

Needs `pip install SimpleITK scipy`. A volume is any file it reads, in Hounsfield units. From each come projections
(a parallel beam, water at 0.02 per millimetre, shown linearly, as a logarithm and with harder edges of the
window) and slices, in the windows of lung and of soft tissue. None is a child's film from the front, so none
should be scored. A projection of a CT is softer than an X-ray film: what is found here about views
carries over, what is found about adults does so less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from quality_gate import verdict
from scipy.ndimage import rotate, zoom

from edge_xray.classifier import Classifier
from edge_xray.errors import EdgeXrayError, UsageError

Values = NDArray[np.floating]

ANGLES: Final = {
    "from the front": (-10, -4, 0, 4, 10),
    "from half the side": (-60, -35, -20, 20, 35, 60),
    "from the side": (75, 83, 90, 97, 105, 263, 270, 277),
}
"""Degrees from the front that the beam comes from."""

WINDOWS: Final = {"lung": (-1000.0, 400.0), "soft tissue": (-160.0, 240.0)}
"""Hounsfield units shown as black and as white."""

SLICES: Final = 12
WATER: Final = 0.02
"""Attenuation of water per millimetre, about that at 70 keV."""

BODY_SHARE: Final = 0.06
BODY_EXTENT: Final = 0.15
"""A row or column belongs to the body if this share of it has more than that share of the most attenuation."""


def read_volume(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """A CT in Hounsfield units, (z, y, x) with the head last, and the spacing of its axes in millimetres.

    Raises:
        UsageError: SimpleITK cannot read it as a volume, or is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise UsageError("CT volumes are read by SimpleITK: pip install SimpleITK") from error
    try:
        image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UsageError(f"{path}: expected a CT volume that SimpleITK reads ({reason})") from error
    spacing = image.GetSpacing()[::-1]
    values = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    return np.maximum(values, -1000), (spacing[0], spacing[1], spacing[2])


def shown(values: Values, low: float, high: float) -> NDArray[np.uint8]:
    """Grey levels, black at and below `low`, white at and above `high`."""
    return (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def body(film: Values) -> Values:
    """The film without the air around the body."""
    lit = film > BODY_SHARE * film.max()
    rows = np.flatnonzero(lit.mean(axis=1) > BODY_EXTENT)
    columns = np.flatnonzero(lit.mean(axis=0) > BODY_EXTENT)
    return film[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def pictures(path: Path) -> Iterator[tuple[str, str, NDArray[np.uint8]]]:
    """Kind, name and grey levels of every picture made of a volume."""
    volume, (along_z, along_y, along_x) = read_volume(path)
    stretch = (along_z / along_x, 1.0)
    attenuation = (volume + 1000) / 1000 * WATER
    for kind, angles in ANGLES.items():
        for angle in angles:
            turned = rotate(attenuation, angle, axes=(1, 2), reshape=False, order=1)
            film = body(zoom(turned.sum(axis=1)[::-1] * along_y, stretch, order=1))
            yield kind, f"{angle} linear", shown(film, *np.percentile(film, (1, 99.5)))
            dense = np.log1p(film)
            yield kind, f"{angle} log", shown(dense, *np.percentile(dense, (1, 99.5)))
            yield kind, f"{angle} hard", shown(film**0.7, *np.percentile(film**0.7, (5, 98)))
    depth, height, width = volume.shape
    for share in np.linspace(0.12, 0.88, SLICES):
        z, y, x = int(share * depth), int(share * height), int(share * width)
        front = zoom(volume[::-1, y], stretch, order=1)
        side = zoom(volume[::-1, :, x], stretch, order=1)
        for name, (low, high) in WINDOWS.items():
            yield "slice across", f"{z} {name}", shown(volume[z], low, high)
            yield "slice seen from the front", f"{y} {name}", shown(front, low, high)
            yield "slice seen from the side", f"{x} {name}", shown(side, low, high)


def count_reasons(
    volumes: list[Path], models: list[Path], folder: Path | None
) -> dict[str, dict[str, Counter[str]]]:
    """Model to kind of picture to how many were scored, or were not for which reason.

    Args:
        volumes: CTs.
        models: packed .tflite files.
        folder: where pictures are written as well; None for nowhere.

    Raises:
        EdgeXrayError: a volume cannot be read, or a model not be used.
    """
    classifiers = [Classifier(model) for model in models]
    reasons: dict[str, dict[str, Counter[str]]] = {own.metadata.name: {} for own in classifiers}
    for path in volumes:
        for kind, name, picture in pictures(path):
            if folder is not None:
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(
                    folder / kind / f"{path.name.split('.')[0]} {name}.png"
                )
            for classifier in classifiers:
                counts = reasons[classifier.metadata.name].setdefault(kind, Counter())
                counts[verdict(picture, classifier).reason or "scored"] += 1
    return reasons


def main() -> int:
    """Parse the command line, make the pictures, print a table a model."""
    parser = argparse.ArgumentParser(description="What the gate makes of pictures from chest CTs.")
    parser.add_argument("volumes", nargs="+", type=Path, help="CTs, in any format SimpleITK reads")
    parser.add_argument("--model", action="append", type=Path, required=True, help="packed .tflite")
    parser.add_argument("--pictures", type=Path, help="also write the pictures here, to look at")
    parser.add_argument("--json", type=Path, help="also write the counts here")
    arguments = parser.parse_args()
    try:
        reasons = count_reasons(arguments.volumes, arguments.model, arguments.pictures)
    except EdgeXrayError as error:
        print(f"ct_pictures: {error}", file=sys.stderr)
        return int(error.exit_code)
    for model, kinds in reasons.items():
        print(f"\n{model}\n\n| picture | number | not scored | reasons |\n|---|---|---|---|")
        for kind, counts in kinds.items():
            refused = 1 - counts["scored"] / counts.total()
            most = ", ".join(f"{word} {n}" for word, n in counts.most_common(4))
            print(f"| {kind} | {counts.total()} | {refused:.1%} | {most} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(reasons, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
