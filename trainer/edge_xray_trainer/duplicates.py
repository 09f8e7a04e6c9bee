"""Films that are copies of each other: byte for byte, or saved again.

A copy in two parts of a split is a test film that was trained on. Copies are found by the SHA-256 of
the file and by a perceptual hash of the pixels, which a new JPEG quality, size, gamma or contrast
leaves nearly as it was.

The hash and its threshold were chosen on the 5,216 Guangzhou training films (224x224). Of 300 of
them saved again (JPEG quality 90, 50 and 20; half, a quarter and twice the size; gamma 0.8 and 1.3;
contrast times 1.2; blur, noise) the hash of no copy moved by more than 18 of 255 bits; the two most
alike films of different patients are 36 apart, and the 64-bit hash in common use puts such films at
2, which would merge strangers. What it does not find: crops by more than one percent a side,
rotations and films with a marker laid over, whose hashes move as far as those of two patients do.

A blank picture, such as the first slice of a CT series, is a copy of nothing: all blank ones are alike,
byte for byte even, and would weld strangers together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

HASH_SIDE = 32
"""Films are averaged to this many pixels a side before the cosine transform."""

HASH_FREQUENCIES = 16
"""The lowest this many frequencies a direction are kept: 256, of which the mean is left out."""

NEAR_DISTANCE = 26
"""Two films whose hashes differ in at most this many of 255 bits are copies: midway between the 18
of copies saved again and the 36 of the two most alike strangers (see above)."""

_BLOCK = 2048
"""Films compared with all others at a time: 2,048 x 100,000 distances are 0.8 GB."""


def _cosine_matrix() -> NDArray[np.float64]:
    """First rows of the orthonormal DCT-II (Ahmed, Natarajan & Rao 1974), (frequencies, side)."""
    frequency = np.arange(HASH_FREQUENCIES)[:, None]
    place = np.arange(HASH_SIDE)[None, :] + 0.5
    matrix: NDArray[np.float64] = np.cos(np.pi * frequency * place / HASH_SIDE)
    matrix *= np.sqrt(2.0 / HASH_SIDE)
    matrix[0] /= np.sqrt(2.0)
    return matrix


_COSINES = _cosine_matrix()


def film_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Perceptual hash of a film: the signs of its low frequencies against their median.

    The discrete cosine hash of Zauner 2010 ("Implementation and Benchmarking of Perceptual Image
    Hash Functions"), with 255 bits in place of 64: films of one view are so alike that 64 bits merge
    strangers.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) colour, 0..255, any size.

    Returns:
        uint64, (4,). A film of one grey level has the hash 0.
    """
    grey = Image.fromarray(pixels).convert("L")
    small = np.asarray(grey.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX), np.float64)
    # Rounded, so that the last bits of a product, which differ between machines, decide nothing.
    low = np.round(_COSINES @ (small - small.mean()) @ _COSINES.T, 6).ravel()[1:]
    bits = np.packbits(np.concatenate([[False], low > np.median(low)]))
    return bits.view(">u8").astype(np.uint64)


def _signs(hashes: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Hashes as rows of -1 and 1, whose products count equal bits."""
    words = np.ascontiguousarray(hashes.reshape(len(hashes), -1), dtype=">u8")
    bits = np.unpackbits(words.view(np.uint8).reshape(len(hashes), -1), axis=1)
    return bits.astype(np.float32) * 2.0 - 1.0


def near_pairs(
    hashes: NDArray[np.uint64], max_distance: int = NEAR_DISTANCE
) -> Iterator[tuple[int, int, int]]:
    """All pairs of films whose hashes are close, compared one with each.

    Args:
        hashes: uint64, (n, k) or (n,), one row a film, from `film_hash`.
        max_distance: most bits that may differ.

    Yields:
        ``(i, j, distance)`` with ``i < j``, in order.
    """
    if not len(hashes):
        return
    signs = _signs(np.asarray(hashes, np.uint64))
    bits = signs.shape[1]
    for start in range(0, len(signs), _BLOCK):
        products = signs[start : start + _BLOCK] @ signs[start:].T
        rows, columns = np.nonzero(products >= bits - 2 * max_distance)
        for row, column in zip(rows[rows < columns], columns[rows < columns], strict=True):
            distance = round((bits - float(products[row, column])) / 2)
            yield start + int(row), start + int(column), distance


def merged(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Connected components: which group each of ``count`` things is in.

    Args:
        count: how many things.
        pairs: indices of things that belong together.

    Returns:
        Group index of each, numbered 0, 1, … in the order of their first member.
    """
    if not count:
        return []
    first, second = np.array([*pairs], np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    groups: list[int] = connected_components(graph, directed=False)[1].tolist()
    return groups


def inseparable(patients: Sequence[str], copies: Sequence[int]) -> list[int]:
    """Group films that no split may part: those of one patient, and copies of each other.

    Args:
        patients: who each film is of; empty where unknown: nothing but its copies goes with such a film.
        copies: group index of each film, from `duplicate_groups`.

    Returns:
        Group index of each film, numbered 0, 1, … in the order of their first film.
    """
    first: dict[str | int, int] = {}
    return merged(
        len(patients),
        (
            (first.setdefault(key, index), index)
            for index, keys in enumerate(zip(patients, copies, strict=True))
            for key in keys
            if key != ""
        ),
    )


def duplicate_groups(
    sha256: Sequence[str],
    hashes: NDArray[np.uint64],
    blank: Sequence[bool] = (),
) -> list[int]:
    """Group films that are copies of each other, byte for byte or saved again.

    A copy of a copy is in the same group.

    Args:
        sha256: n hexadecimal digests of the files' bytes.
        hashes: uint64, (n, k), rows from `film_hash`; (0, k) to compare bytes only.
        blank: which films show nothing (`edge_xray.quality.is_blank`) and so are copies of none; empty: all show something.

    Returns:
        Group index of each film, numbered 0, 1, … in the order of their first film; as many groups
        as films if no film is a copy; empty for no films.

    Raises:
        ValueError: the two lengths differ.
    """
    if len(hashes) not in (0, len(sha256)):
        raise ValueError(f"expected one hash a film: {len(sha256)} films, {len(hashes)} hashes")
    shown = [index for index in range(len(sha256)) if not (blank and blank[index])]
    first: dict[str, int] = {}
    pairs = [(first.setdefault(sha256[index], index), index) for index in shown]
    if len(hashes):
        pairs += [(shown[i], shown[j]) for i, j, _ in near_pairs(hashes[shown])]
    return merged(len(sha256), pairs)
