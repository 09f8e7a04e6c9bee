"""The network's middle features: pooled to a few numbers a film, and how far these lie from known films."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_xray.metadata import FeaturePooling, FeatureStatistics

POOLED_PARTS: dict[FeaturePooling, int] = {"mean": 1, "sixths": 6}
"""How many numbers a channel gives."""


def pool_features(maps: NDArray[np.floating], pooling: FeaturePooling) -> NDArray[np.float64]:
    """Average maps of features over space, whole or by parts of the picture.

    ``sixths`` lays the right half on the left one, mirrored, and averages six parts of it: outer and inner, in three
    rows. In a chest film from the front these are the lungs and what lies between them, from the shoulders to
    the belly; in other pictures they are not. A mirrored film has the same features.

    Args:
        maps: (n, h, w, c).
        pooling: how.

    Returns:
        (n, c) for ``mean``, (n, 6 c) for ``sixths``.
    """
    count, height, width, channels = maps.shape
    if pooling == "mean":
        return np.asarray(maps.mean(axis=(1, 2), dtype=np.float64))
    pooled = _sixths(height, width) @ maps.reshape(count, height * width, channels)
    return np.asarray(pooled.reshape(count, -1), np.float64)


@lru_cache(maxsize=8)
def _sixths(height: int, width: int) -> NDArray[np.float64]:
    """What each position counts in each part, (6, height * width); rows add up to 1."""
    left_outer, left_inner, right_inner, right_outer = _shares(width, 4)
    columns = np.stack([left_outer + right_outer, left_inner + right_inner]) / 2
    rows = _shares(height, 3)
    parts = rows[:, np.newaxis, :, np.newaxis] * columns[np.newaxis, :, np.newaxis, :]
    return parts.reshape(-1, height * width)


def _shares(length: int, parts: int) -> NDArray[np.float64]:
    """What each position counts in each of some equal parts of a line, (parts, length); rows add up to 1."""
    edges = np.linspace(0.0, length, parts + 1)
    positions = np.arange(length)
    from_left = np.maximum(positions, edges[:-1, np.newaxis])
    to_right = np.minimum(positions + 1, edges[1:, np.newaxis])
    return np.asarray(np.maximum(to_right - from_left, 0.0) * parts / length, np.float64)


def feature_score(
    features: NDArray[np.floating], statistics: FeatureStatistics
) -> NDArray[np.float64]:
    """How far films lie from those the model knows, by its middle features.

    The formula is that of `edge_xray.metadata.FeatureStatistics`: root mean square of the whitened
    components, plus what the components leave out, in units of what they leave out of known films.

    Args:
        features: (n, c), each film's features as `pool_features` gives them.
        statistics: fitted on films in range.

    Returns:
        (n,) float64, >= 0; about 2 for a film like those it was fitted on, or 1 where the components
        leave nothing out; NaN for features that are no numbers.
    """
    centred = np.asarray(features, np.float64) - statistics.mean
    components = statistics.components.astype(np.float64)
    projected = centred @ components.T
    inside = np.sqrt(np.mean(projected**2 / statistics.variances, axis=1))
    outside = np.linalg.norm(centred - projected @ components, axis=1) / statistics.residual_scale
    return np.asarray(inside + outside, np.float64)
