"""Make JPEGs as a clinic has them.

    python benchmarks/clinic_films.py OUT COUNT COLUMNS ROWS SOURCE…

Each is a source film enlarged to the size, with grain like a detector's, so that its file has the size that
files of such films have.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

GRAIN: Final = 4.2
"""Standard deviation of the grain, in grey levels: 1,348 x 1,004 pixels then give about 190 kB."""
QUALITY: Final = 85


def make_films(folder: Path, sources: list[Path], sides: tuple[int, int], count: int) -> None:
    """Write JPEGs of one size; the same arguments give the same films.

    Args:
        folder: where to; made.
        sources: films to enlarge, taken in turn.
        sides: columns and rows.
        count: how many.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(count):
        with Image.open(sources[index % len(sources)]) as image:
            grey = image.convert("L").resize(sides, Image.Resampling.BICUBIC)
        grain = generator.normal(0, GRAIN, (sides[1], sides[0]))
        pixels = np.clip(np.asarray(grey) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"film-{index:05d}.jpeg", quality=QUALITY)


def main() -> int:
    """Write the films; 2 if that cannot be done."""
    parser = argparse.ArgumentParser(description="Make JPEGs as a clinic has them.")
    parser.add_argument("out", type=Path, help="folder for them; made, and must not be there yet")
    parser.add_argument("count", type=int, help="how many")
    parser.add_argument("columns", type=int)
    parser.add_argument("rows", type=int)
    parser.add_argument("sources", type=Path, nargs="+", metavar="source", help="film to enlarge")
    asked = parser.parse_args()
    if min(asked.count, asked.columns, asked.rows) < 1:
        parser.error("count, columns and rows must be 1 or more")
    try:
        make_films(asked.out, asked.sources, (asked.columns, asked.rows), asked.count)
    except OSError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
