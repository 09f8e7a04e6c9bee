"""What the quality gate makes of pictures that are no chest films: photographs, drawings, slices of volumes.

    python benchmarks/other_pictures.py FOLDER… --model MODEL.tflite [--model …] [--json FILE]

Every picture in the folders is taken in grey, since colour is refused at once, and changed in several ways. Volumes
(NIfTI, NRRD), which need `pip install SimpleITK scipy`, are shown in slices from three sides and seen through.
None of it should be scored, so the folders must hold no chest film from the front.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from ct_pictures import Values, read_volume, shown
from PIL import Image, ImageFilter
from quality_gate import Pixels, margin, verdict

from edge_xray.classifier import Classifier
from edge_xray.errors import EdgeXrayError, UsageError

PICTURES: Final = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
VOLUMES: Final = (".nii", ".nii.gz", ".nrrd")

LEAST_SIDE: Final = 64
"""Pixels a side below which a picture is an icon and left out."""

MOST_SIDE: Final = 1024
SMALL_SIDE: Final = 48
CROPS: Final = 3
SLICES: Final = 24
"""A direction, evenly from end to end."""

WINDOWS: Final = ((1, 99), (5, 95), (0, 99.9))
"""Percentiles of a slice that are shown as black and as white."""

DARK: Final = 0.1
"""Share of a slice's range up to which a row or column is empty."""


def grey_picture(path: Path) -> Pixels | None:
    """A picture in grey, what is see-through on black; None if it is no picture, an icon or all of one grey."""
    try:
        with Image.open(path) as image:
            if min(image.size) < LEAST_SIDE:
                return None
            image.draft("L", (MOST_SIDE, MOST_SIDE))
            ground = Image.new("RGBA", image.size, "black")
            grey = Image.alpha_composite(ground, image.convert("RGBA")).convert("L")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    grey.thumbnail((MOST_SIDE, MOST_SIDE))
    pixels = np.asarray(grey)
    return pixels if min(pixels.shape) > SMALL_SIDE and np.ptp(pixels) else None


def of_a_picture(whole: Pixels, seed: int) -> Iterator[tuple[str, Pixels]]:
    """In which way, and the picture so changed."""
    height, width = whole.shape
    side = min(whole.shape)
    top, left = (height - side) // 2, (width - side) // 2
    square = whole[top : top + side, left : left + side]
    blurred = Image.fromarray(square).resize((224, 224)).filter(ImageFilter.GaussianBlur(3))
    yield "as it is", whole
    yield "square", square
    yield "small", np.asarray(Image.fromarray(whole).resize((SMALL_SIDE, SMALL_SIDE)))
    yield "on a black ground", margin(0.1)(square)
    yield "inverted", 255 - square
    yield "blurred", np.asarray(blurred)
    yield "contrast stretched", shown(square, *np.percentile(square, (1, 99)))
    draw = np.random.default_rng(seed)
    for _ in range(CROPS):
        edge = int(side * draw.uniform(0.25, 0.9))
        row, column = draw.integers(0, (height - edge + 1, width - edge + 1))
        yield "a part", whole[row : row + edge, column : column + edge]


def of_a_volume(path: Path) -> Iterator[tuple[str, Pixels]]:
    """From which side, and a slice or all slices seen through.

    Raises:
        UsageError: it is no volume of numbers.
    """
    volume, spacing = read_volume(path)
    if volume.ndim != 3 or min(volume.shape) < 2:
        raise UsageError(f"{path}: expected a volume, got {volume.shape}")
    for axis, side in enumerate(("across", "from the front", "from the side")):
        rows, columns = (spacing[other] for other in range(3) if other != axis)
        upright = volume if axis == 0 else volume[::-1]
        for place in np.linspace(0.06, 0.94, SLICES):
            plane = to_scale(upright.take(int(place * volume.shape[axis]), axis), rows, columns)
            for turn in range(4 if axis == 0 else 1):
                yield from ((f"slice {side}", film) for film in looks(np.rot90(plane, turn)))
        for through in (upright.mean(axis=axis), upright.max(axis=axis)):
            plane = to_scale(through, rows, columns)
            yield from ((f"through, {side}", film) for film in looks(plane))


def to_scale(plane: Values, rows: float, columns: float) -> Values:
    """With as many pixels a millimetre down as across."""
    from scipy.ndimage import zoom

    least = min(rows, columns)
    return np.asarray(zoom(plane, (rows / least, columns / least), order=1))


def looks(plane: Values) -> Iterator[Pixels]:
    """A slice in each window, inverted, and without its empty edges."""
    if np.ptp(plane) == 0:
        return
    for window in WINDOWS:
        yield shown(plane, *np.percentile(plane, window))
    yield 255 - shown(plane, *np.percentile(plane, WINDOWS[0]))
    lit = plane - plane.min() > DARK * np.ptp(plane)
    inner = plane[lit.any(axis=1)][:, lit.any(axis=0)]
    yield shown(inner, *np.percentile(inner, WINDOWS[0]))


def every_picture(folders: list[Path]) -> Iterator[tuple[str, Path, Pixels]]:
    """Kind, file, pixels; each picture once, however many copies there are."""
    known: set[bytes] = set()
    for number, path in enumerate(sorted(file for folder in folders for file in folder.rglob("*"))):
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix.lower() in PICTURES:
            picture = grey_picture(path)
            if picture is None or (digest := sha256(picture).digest()) in known:
                continue
            known.add(digest)
            yield from (
                (f"picture, {way}", path, film) for way, film in of_a_picture(picture, number)
            )
        elif path.name.lower().endswith(VOLUMES):
            try:
                yield from ((side, path, film) for side, film in of_a_volume(path))
            except UsageError as error:
                print(f"left out: {error}", file=sys.stderr)


def main() -> int:
    """Parse the command line, show the gate every picture, print a table a model."""
    parser = argparse.ArgumentParser(description="What the gate makes of other pictures.")
    parser.add_argument("folders", nargs="+", type=Path, help="of pictures and volumes")
    parser.add_argument("--model", action="append", type=Path, required=True, help="packed .tflite")
    parser.add_argument("--json", type=Path, help="also write the counts here")
    arguments = parser.parse_args()
    try:
        classifiers = [Classifier(model) for model in arguments.model]
    except EdgeXrayError as error:
        print(f"other_pictures: {error}", file=sys.stderr)
        return int(error.exit_code)
    reasons: dict[str, dict[str, Counter[str]]] = {own.metadata.name: {} for own in classifiers}
    for kind, path, film in every_picture(arguments.folders):
        for classifier in classifiers:
            reason = verdict(film, classifier).reason or "scored"
            reasons[classifier.metadata.name].setdefault(kind, Counter())[reason] += 1
            if reason == "scored":
                print(f"{classifier.metadata.name} scores {path}, {kind}", file=sys.stderr)
    for model, kinds in reasons.items():
        print(f"\n{model}\n\n| picture | number | scored | reasons |\n|---|---|---|---|")
        for kind, counts in {**kinds, "all": sum(kinds.values(), Counter[str]())}.items():
            most = ", ".join(f"{word} {n}" for word, n in counts.most_common(4))
            print(f"| {kind} | {counts.total()} | {counts['scored']} | {most} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(reasons, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
