"""How many JPEGs with a piece of other data are told, and how many whole ones are taken for damaged.

    python benchmarks/damaged_jpegs.py FOLDER [--places N]

In each JPEG of the folder a piece of 512 bytes of the coded data, a sector of a disk, is changed in every way below, at
places evenly from start to end. Prints a table as Markdown, whole films first. Those that are refused, or too small for a
piece, are not changed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from edge_xray.decode import decode
from edge_xray.errors import FilmError
from edge_xray.input_spec import InputSpec

PIECE: Final = 512
SPEC: Final = InputSpec(224, 224)

SCAN: Final = b"\xff\xda"
HEADER: Final = 20
"""Bytes behind the mark of the scan that may still be its header."""

END: Final = 1500
"""Bytes at the end that no piece begins in."""

TEXT: Final = (b"Patients of the ward, to be copied out by hand\r\n" * 11)[:PIECE]


def changed(jpeg: bytes, other: bytes, at: int, elsewhere: int) -> Iterator[tuple[str, bytes]]:
    """In which way, and the file so changed.

    Args:
        jpeg: the file.
        other: another film's.
        at: where the piece begins.
        elsewhere: where another piece of the file begins.
    """
    before, behind = jpeg[:at], jpeg[at + PIECE :]
    yield "lost", before + behind
    yield "zeros", before + bytes(PIECE) + behind
    yield "text", before + TEXT + behind
    yield "another film's", before + other[at : at + PIECE] + behind
    yield "another film's, put in", before + other[at : at + PIECE] + jpeg[at:]
    yield "its own, twice", before + jpeg[at : at + PIECE] + jpeg[at:]
    yield "its own from elsewhere", before + jpeg[elsewhere : elsewhere + PIECE] + behind


def main() -> int:
    """Parse the command line, change every film in every way, print the table."""
    parser = argparse.ArgumentParser(description="How many damaged JPEGs are told.")
    parser.add_argument("folder", type=Path, help="of JPEGs, in folders or not")
    parser.add_argument(
        "--places", type=int, default=20, help="a film; 0: whole films only; default: 20"
    )
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.rglob("*.jp*g"))
    if not paths:
        parser.error(f"{arguments.folder}: expected JPEGs in it, found none")
    counts: Counter[tuple[str, bool]] = Counter()
    whole = []
    with TemporaryDirectory() as folder:
        film = Path(folder) / "film.jpeg"

        def refused(data: bytes) -> bool:
            film.write_bytes(data)
            try:
                decode(film, SPEC)
            except FilmError:
                return True
            return False

        for path in paths:
            data = path.read_bytes()
            counts["none", is_refused := refused(data)] += 1
            if not is_refused and len(data) > data.find(SCAN) + HEADER + PIECE + END:
                whole.append(data)
        draw = np.random.default_rng(0)
        for jpeg, other in zip(whole, [*whole[1:], *whole[:1]], strict=True):
            first, last = jpeg.index(SCAN) + HEADER, len(jpeg) - END
            places = np.linspace(first, last, arguments.places).astype(int)
            for at, elsewhere in zip(places, draw.permutation(places), strict=True):
                for way, data in changed(jpeg, other, int(at), int(elsewhere)):
                    if data != jpeg:
                        counts[way, refused(data)] += 1
    print("| piece | files | refused |\n|---|---|---|")
    for way in dict.fromkeys(name for name, _ in counts):
        print(f"| {way} | {counts[way, False] + counts[way, True]} | {counts[way, True]} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
