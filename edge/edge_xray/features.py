"""The network's middle features: pooled to a few numbers a film, and how far these lie from known films."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import ModelError
from edge_xray.metadata import FeaturePooling, FeatureStatistics

POOLED_PARTS: dict[FeaturePooling, int] = {"mean": 1, "quarters": 4}
"""How many numbers a channel gives."""


def pool_features(maps: NDArray[np.floating], pooling: FeaturePooling) -> NDArray[np.float64]:
    """Average maps of features over space, whole or by parts of the picture.

    ``quarters`` lays the right half on the left one, mirrored, and averages four parts of it: outer and
    inner above, outer and inner below. In a chest film from the front these are the lungs and what lies
    between them, in one from the side they are not; and a mirrored film has the same features.

    Args:
        maps: (n, h, w, c).
        pooling: how.

    Returns:
        (n, c) for ``mean``, (n, 4 c) for ``quarters``.

    Raises:
        ModelError: the maps are too small for quarters.
    """
    count, height, width, channels = maps.shape
    if pooling == "mean":
        return np.asarray(maps.mean(axis=(1, 2), dtype=np.float64))
    if height < 2 or width < 3:
        raise ModelError(
            f"maps of features of {height}x{width} positions have no quarters; expected 2x3 or more: "
            "convert the model again"
        )
    pooled = _quarters(height, width) @ maps.reshape(count, height * width, channels)
    return pooled.reshape(count, -1)


@lru_cache(maxsize=8)
def _quarters(height: int, width: int) -> NDArray[np.float64]:
    """What each position counts in each part, (4, height * width); rows add up to 1."""
    columns = np.arange(width)
    folded = np.minimum(columns, columns[::-1])
    # The middle column of an odd width lies on itself.
    counted = np.where(columns == columns[::-1], 1.0, 0.5)
    inner = folded >= (width + 1) // 2 // 2
    lower = np.arange(height) >= height // 2
    parts = [
        np.outer(rows, across * counted).ravel()
        for rows in (~lower, lower)
        for across in (~inner, inner)
    ]
    return np.stack([part / part.sum() for part in parts])


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
