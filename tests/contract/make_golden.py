"""Makes the golden films and arrays of this folder again: ``python tests/contract/make_golden.py``.

Only to be run when the contract itself is changed on purpose, for every model that was ever measured
was measured through the old one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from edge_xray.decode import decode
from edge_xray.input_spec import InputSpec
from edge_xray.preprocess import preprocess

FOLDER = Path(__file__).parent / "golden"
ARRAYS = FOLDER / "golden.npz"
WIDTH, HEIGHT = 190, 150
SIDE = 24
SPECS = {
    "grey": InputSpec(SIDE, SIDE),
    "wide": InputSpec(SIDE - 8, SIDE + 8),
    "colour": InputSpec(SIDE, SIDE, 3),
    "bilinear": InputSpec(SIDE, SIDE, 1, "bilinear"),
    "lanczos": InputSpec(SIDE, SIDE, 1, "lanczos"),
    "box": InputSpec(SIDE, SIDE, 1, "box"),
    "hamming": InputSpec(SIDE, SIDE, 1, "hamming"),
}
EXIF_ORIENTATION = 0x0112
ROTATED = 6


def film() -> np.ndarray:
    """A film-like picture from integers alone: uint8, (150, 190)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.int64)
    lungs = np.zeros_like(x)
    for centre in (60, 130):
        lungs += np.maximum(0, 900 - ((x - centre) ** 2 + (y - 70) ** 2 // 3))
    grey = 170 - lungs // 7 + 40 * ((x - 95) ** 2 < 60) + (x * 7 + y * 13) % 11
    return np.clip(grey, 0, 255).astype(np.uint8)


def write_films() -> None:
    """The same film in the ways that clinics keep it."""
    grey = Image.fromarray(film())
    colour = Image.merge(
        "RGB", (grey, grey.point(lambda v: v * 3 // 4), grey.point(lambda v: v // 2))
    )
    grey.save(FOLDER / "grey.png")
    grey.save(FOLDER / "grey.bmp")
    grey.save(FOLDER / "grey.tiff")
    grey.save(FOLDER / "grey.jpeg", quality=90)
    colour.save(FOLDER / "colour.jpeg", quality=90)
    colour.save(FOLDER / "colour.png")
    colour.convert("CMYK").save(FOLDER / "cmyk.jpeg", quality=90)
    grey.quantize(64).save(FOLDER / "palette.png")
    Image.fromarray(film().astype(np.uint16) * 16).save(FOLDER / "twelve_bits.png")
    transparent = colour.convert("RGBA")
    transparent.putalpha(grey)
    transparent.save(FOLDER / "transparent.png")
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATED
    grey.transpose(Image.Transpose.ROTATE_90).save(FOLDER / "turned.jpeg", quality=90, exif=exif)


def prepared(path: Path) -> dict[str, np.ndarray]:
    """One golden film as every input: uint8 arrays by the names in `SPECS`."""
    return {name: preprocess(decode(path, spec).pixels, spec) for name, spec in SPECS.items()}


def main() -> None:
    """Write films and arrays."""
    FOLDER.mkdir(exist_ok=True)
    write_films()
    arrays = {
        f"{path.name}/{name}": array
        for path in sorted(FOLDER.iterdir())
        if path != ARRAYS
        for name, array in prepared(path).items()
    }
    np.savez_compressed(ARRAYS, **arrays)


if __name__ == "__main__":
    main()
