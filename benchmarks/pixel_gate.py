"""What films show of what the pixel gate looks at; and its four tables, fitted again.

    python benchmarks/pixel_gate.py DATA [--json FILE]

DATA is a folder of films: for the shipped limits, the official training split of the children's films. For
each measure of `edge_xray.pixel_statistics` it prints where the films lie and how many are beyond the limits of
`edge_xray.quality`, also of films cut, turned or blurred on purpose; then how far tables fitted on these films
are from those that ship.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from rich.console import Console
from rich.progress import track

from edge_xray import quality
from edge_xray.decode import decode
from edge_xray.errors import FilmError
from edge_xray.input_spec import InputSpec
from edge_xray.pixel_statistics import (
    CHEST_TEMPLATE,
    LUNG_BASES,
    LUNG_TOPS,
    THUMB,
    UPRIGHT_QUARTER,
    Layout,
    folded,
    percentiles,
    sharpness,
    standardized,
    thumbnail,
    upright_quarter,
)
from edge_xray.walk import find_films

CUTS: Final = (0.5, 0.6, 0.7)
"""Shares of a film that the lung bases are told from, upper ones, and the lung tops, lower ones."""

RIDGE: Final = 0.03
"""Added to the covariance's diagonal: neighbouring blocks are alike, and their weights would cancel."""

BLUR: Final = 4 / 224
"""Standard deviation of the blur, in widths of a film."""

MEAN_OF: Final = 60
"""Films whose mean is a picture in which little is sharp."""

Side = tuple[str, float]

LIMITS: Final[dict[str, tuple[Side, ...]]] = {
    "range 1 to 99 %": (("<", quality.BLANK_RANGE),),
    "range 5 to 95 %": (("<", quality.LEAST_RANGE),),
    "95th percentile": (("<", quality.DARK_REFUSED), ("<", quality.DARK_DOUBTED)),
    "5th percentile": ((">", quality.BRIGHT_REFUSED), (">", quality.BRIGHT_DOUBTED)),
    "paper-white": ((">", quality.PAPER_SHARE),),
    "sharpness": (("<", quality.SHARP_REFUSED), ("<", quality.SHARP_DOUBTED)),
    "sharpness, blurred": (("<", quality.SHARP_REFUSED),),
    "black margin": ((">", quality.MARGIN_DOUBTED),),
    "foot": (("<", quality.FOOT_REFUSED),),
    "likeness": (("<", quality.LIKENESS_REFUSED), ("<", quality.LIKENESS_DOUBTED)),
    "likeness gained by a quarter turn": ((">", quality.MORE_LIKE_TURNED),),
    "uprightness": (("<", quality.UPRIGHT_REFUSED), ("<", quality.UPRIGHT_DOUBTED)),
    "uprightness, upside down": (("<", quality.UPRIGHT_REFUSED),),
    "bases": (("<", quality.BASES_REFUSED), ("<", quality.BASES_DOUBTED)),
    **{
        f"bases, upper {share:.0%}": (("<", quality.BASES_REFUSED), ("<", quality.BASES_DOUBTED))
        for share in CUTS
    },
    "tops": (("<", quality.TOPS_DOUBTED),),
    **{f"tops, lower {share:.0%}": (("<", quality.TOPS_DOUBTED),) for share in CUTS},
}
"""For each measure, beyond which limits a film is refused, or carries a warning."""


@dataclass(frozen=True)
class Film:
    """What is measured of one film.

    Attributes:
        reason: why the pixel gate refuses it; empty if it does not.
        values: by the names of `LIMITS`.
        coarse: (8, 8), as `Layout.coarse`.
        upper: (cuts, 8, 8), the same of its upper parts.
        lower: (cuts, 8, 8), the same of its lower parts.
        thumb: (THUMB, THUMB).
    """

    reason: str
    values: dict[str, float]
    coarse: NDArray[np.float32]
    upper: NDArray[np.float32]
    lower: NDArray[np.float32]
    thumb: NDArray[np.uint8]


def layout_of(pixels: NDArray[np.uint8]) -> Layout:
    """The layout of a picture, as the gate takes it."""
    thumb = thumbnail(np.ascontiguousarray(pixels))
    (p99,) = percentiles(thumb.histogram(), 99)
    return Layout.of(thumb, p99)


def measure(path: Path) -> Film:
    """Measure one film.

    Raises:
        FilmError: it cannot be read.
    """
    pixels = decode(path, InputSpec(width=224, height=224)).pixels
    height, width = pixels.shape
    thumb = thumbnail(pixels)
    histogram = thumb.histogram()
    p1, p5, p95, p99 = percentiles(histogram, 1, 5, 95, 99)
    layout = Layout.of(thumb, p99)
    upright, *turns = layout.likeness
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(width * BLUR))
    upper = [layout_of(pixels[: round(height * share)]) for share in CUTS]
    lower = [layout_of(pixels[height - round(height * share) :]) for share in CUTS]
    values = {
        "range 1 to 99 %": p99 - p1,
        "range 5 to 95 %": p95 - p5,
        "95th percentile": p95,
        "5th percentile": p5,
        "paper-white": sum(histogram[quality.PAPER_WHITE :]) / THUMB**2,
        "sharpness": sharpness(thumb),
        "sharpness, blurred": sharpness(thumbnail(np.asarray(blurred))),
        "black margin": layout.margin,
        "foot": layout.foot(),
        "likeness": upright,
        "likeness gained by a quarter turn": max(turns[0], turns[2]) - upright,
        "uprightness": layout.uprightness,
        "uprightness, upside down": layout_of(pixels[::-1]).uprightness,
        "bases": layout.bases,
        "tops": layout.tops,
    }
    for share, above, below in zip(CUTS, upper, lower, strict=True):
        values[f"bases, upper {share:.0%}"] = above.bases
        values[f"tops, lower {share:.0%}"] = below.tops
    return Film(
        quality.check_pixels(pixels).reason or "",
        values,
        layout.coarse,
        np.stack([cut.coarse for cut in upper]),
        np.stack([cut.coarse for cut in lower]),
        np.asarray(thumb),
    )


def fisher(ours: NDArray[np.floating], others: list[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Fisher's linear discriminant, scaled so that the median of `ours` is 1.

    Args:
        ours: (n, d).
        others: sets of (m, d), each as important as the next.

    Returns:
        (d,) weights.
    """
    within = np.cov(ours.T) + np.mean([np.cov(other.T) for other in others], axis=0)
    between = ours.mean(axis=0) - np.mean([other.mean(axis=0) for other in others], axis=0)
    weights = np.linalg.solve(within + RIDGE * np.eye(len(within)), between)
    return np.asarray(weights / np.median(ours @ weights), np.float64)


def fit_tables(films: list[Film]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.floating]]]:
    """For each table, what ships and what these films give, to two digits."""
    coarse = np.stack([film.coarse for film in films])
    mean = coarse.mean(axis=0)
    quarters = np.stack([upright_quarter(film).ravel() for film in coarse])
    halves = np.stack([folded(film).ravel() for film in coarse])
    upper, lower = (
        [np.stack([folded(cut).ravel() for cut in same]) for same in zip(*parts, strict=True)]
        for parts in ([film.upper for film in films], [film.lower for film in films])
    )
    fitted = {
        "CHEST_TEMPLATE": (CHEST_TEMPLATE, standardized(mean + mean[:, ::-1])),
        "UPRIGHT_QUARTER": (UPRIGHT_QUARTER, fisher(quarters, [-quarters])),
        "LUNG_BASES": (LUNG_BASES, fisher(halves, upper)),
        "LUNG_TOPS": (LUNG_TOPS, fisher(halves, lower)),
    }
    return {
        name: (ships, np.round(table.reshape(ships.shape), 2))
        for name, (ships, table) in fitted.items()
    }


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="What films show of what the pixel gate looks at.")
    parser.add_argument("data", type=Path, help="folder of films")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    found = [film for film in find_films([arguments.data]) if not film.reason]
    films, unread = [], Counter[str]()
    talk = Console(stderr=True)
    for film in track(found, "Measuring", console=talk, disable=not talk.is_terminal):
        try:
            films.append(measure(film.path))
        except FilmError as error:
            unread[error.reason] += 1
    if len(films) < CHEST_TEMPLATE.size:
        print(
            f"pixel_gate: {arguments.data}: expected at least {CHEST_TEMPLATE.size} readable films, got "
            f"{len(films)}; name a folder with more",
            file=sys.stderr,
        )
        return 2

    record: dict[str, object] = {"films": len(films), "unread": dict(unread)}
    refused = Counter(film.reason for film in films if film.reason)
    record["refused"] = dict(refused)
    print(
        f"{len(films)} films; the pixel gate refuses {refused.total() / len(films):.2%}: {dict(refused)}\n"
    )
    print(
        "| | least | 0.1 % | 0.5 % | 1 % | median | 99 % | 99.5 % | 99.9 % | most | beyond the limits |"
    )
    print("|---|" + "--:|" * 10)
    measures: defaultdict[str, dict[str, object]] = defaultdict(dict)
    for name, limits in LIMITS.items():
        values = np.array([film.values[name] for film in films])
        quantiles = np.quantile(values, (0, 0.001, 0.005, 0.01, 0.5, 0.99, 0.995, 0.999, 1))
        beyond = [
            (side, limit, float((values < limit if side == "<" else values > limit).mean()))
            for side, limit in limits
        ]
        measures[name] = {"quantiles": quantiles.tolist(), "beyond": beyond}
        shares = ", ".join(f"{share:.2%} {side} {limit:g}" for side, limit, share in beyond)
        print(f"| {name} | {' | '.join(f'{value:.3g}' for value in quantiles)} | {shares} |")
    record["measures"] = measures

    spread = films[:: max(1, len(films) // MEAN_OF)][:MEAN_OF]
    mean = np.mean([film.thumb for film in spread], axis=0).astype(np.uint8)
    record["sharpness_of_mean"] = sharpness(Image.fromarray(mean))
    print(f"\nSharpness of the mean of {len(spread)} films: {record['sharpness_of_mean']:.3f}")

    for name, (ships, table) in fit_tables(films).items():
        off = float(np.abs(ships - table).max())
        record[name] = table.tolist()
        print(f"\n{name}: {off:.2f} at most from what ships")
        print(np.array2string((100 * table).round().astype(int), separator=", "))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
