"""Films into memory: the device's own decode and preprocessing, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.decode import decode
from edge_xray.errors import FilmError, UsageError
from edge_xray.gate import Limits, check_film
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import LabelledFilm, Split, SplitFilm
from edge_xray.metadata import IntendedUse
from edge_xray.preprocess import preprocess
from edge_xray.progress import silent
from edge_xray.quality import COLOUR_REFUSED
from edge_xray_trainer.progress import Progress, counter

REFUSED_SHARE = 0.02
"""Share of films that the device would not score from which it is said; of the Guangzhou films it is 0.003."""

LOADER_THREADS = 4
"""Decoding releases the GIL, so a few threads keep two cores busy."""


@dataclass(frozen=True, eq=False)
class FilmSet:
    """Prepared films with their labels.

    Attributes:
        films: what they are, in order.
        pixels: (n, H, W, C) uint8, 0..255.
        labels: (n,) int, index into `names`.
        names: class names.
        in_colour: how many of the films are in colour, whatever the network sees of it.
        refused: of each film that the device would not score by its tags or pixels, path and reason.
    """

    films: tuple[SplitFilm, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    in_colour: int = 0
    refused: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many films."""
        return len(self.films)

    @property
    def one_hot(self) -> NDArray[np.float32]:
        """(n, classes) float32 targets."""
        targets: NDArray[np.float32] = np.eye(len(self.names), dtype=np.float32)[self.labels]
        return targets

    @property
    def groups(self) -> NDArray[np.str_]:
        """(n,) the group of each film, for intervals clustered by patient."""
        return np.array([film.cluster for film in self.films])


@dataclass(frozen=True, eq=False)
class PreparedFilm:
    """A film as a network takes it.

    Attributes:
        pixels: (H, W, C) uint8, 0..255.
        colour: mean spread of the three colours of the file, in levels.
        refusal: why the device would not score it, by its tags or pixels; empty if it would.
    """

    pixels: NDArray[np.uint8]
    colour: float
    refusal: str


def prepare_films(
    root: Path,
    films: Sequence[LabelledFilm] | Sequence[SplitFilm],
    spec: InputSpec,
    *,
    use: IntendedUse | None = None,
    on_film: Callable[[], None] = silent,
) -> Iterator[PreparedFilm | FilmError]:
    """Decode and prepare films as the device does, in order.

    Args:
        root: the labelled folder.
        films: which films.
        spec: the network's input.
        use: which films the model is for; None: any.
        on_film: called after each film, for progress.

    Yields:
        The film, or the error of one that cannot be read.
    """

    def prepare(film: LabelledFilm | SplitFilm) -> PreparedFilm | FilmError:
        try:
            decoded = decode(root / film.path, spec)
            refusal = check_film(decoded, use, Limits()).message if use else ""
            return PreparedFilm(preprocess(decoded.pixels, spec)[0], decoded.colour, refusal)
        except FilmError as error:
            return error

    with ThreadPoolExecutor(LOADER_THREADS) as pool:
        for result in pool.map(prepare, films):
            on_film()
            yield result


def load_films(
    root: Path,
    films: Sequence[SplitFilm],
    spec: InputSpec,
    names: Sequence[str],
    *,
    use: IntendedUse | None = None,
    on_film: Callable[[], None] = silent,
) -> FilmSet:
    """Load films whole; one that cannot be read stops the work.

    Args:
        root: the labelled folder.
        films: which films.
        spec: the network's input.
        names: class names, in the order of the network's outputs.
        use: which films the model is for; None: any.
        on_film: called after each film, for progress.

    Raises:
        UsageError: a film is damaged; names the first and how many there are.
    """
    pixels = np.empty((len(films), spec.height, spec.width, spec.channels), np.uint8)
    damaged: list[str] = []
    refused: list[str] = []
    in_colour = 0
    for index, result in enumerate(prepare_films(root, films, spec, use=use, on_film=on_film)):
        if isinstance(result, FilmError):
            damaged.append(f"{films[index].path}: {result}")
        else:
            pixels[index] = result.pixels
            in_colour += result.colour >= COLOUR_REFUSED
            if result.refusal:
                refused.append(f"{films[index].path}: {result.refusal}")
    refuse_damaged(damaged, len(films))
    index_of = {name: index for index, name in enumerate(names)}
    labels = np.array([index_of[film.label] for film in films], np.int64)
    return FilmSet(tuple(films), pixels, labels, tuple(names), in_colour, tuple(refused))


def refuse_damaged(damaged: Sequence[str], films: int) -> None:
    """Refuse films some of which cannot be read.

    Args:
        damaged: these, each with the reason.
        films: how many there are in all.

    Raises:
        UsageError: there are any; names the first and how many.
    """
    if damaged:
        raise UsageError(
            f"{len(damaged)} of {films} films cannot be read, the first: {damaged[0]}. "
            "Mend or remove them; `edge-xray audit` lists them all"
        )


def load_parts(
    root: Path,
    split: Split,
    spec: InputSpec,
    names: Sequence[str],
    progress: Progress,
    *,
    use: IntendedUse | None = None,
) -> dict[str, FilmSet]:
    """Load the films that a run learns from: the parts ``train`` and ``validation`` of its split.

    Args:
        root: the labelled folder.
        split: of it.
        spec: the network's input.
        names: class names, in the order of the network's outputs.
        progress: told of each film read.
        use: which films the model is for; None: any.

    Raises:
        UsageError: as of `load_films`.
    """
    return {
        part: load_films(
            root,
            split.part(part),
            spec,
            names,
            use=use,
            on_film=counter(progress, f"Loading {part} films", len(split.part(part))),
        )
        for part in ("train", "validation")
    }
