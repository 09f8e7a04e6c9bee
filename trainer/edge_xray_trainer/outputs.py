"""What a network of this kit answers to many films."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray

from edge_xray.features import FeaturePooling, pool_features
from edge_xray.progress import silent

PREDICT_BATCH = 64


def network_outputs(
    network: keras.Model,
    pixels: NDArray[np.uint8],
    pooling: FeaturePooling = "mean",
    on_film: Callable[[], None] = silent,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run a network of this kit on many films.

    Args:
        network: with the outputs ``evidence`` and ``features``.
        pixels: (n, H, W, C) uint8.
        pooling: of the features.
        on_film: called for each film that was asked about.

    Returns:
        ``(logits (n, classes), features (n, c))``: the evidence averaged over space, and the features pooled.
    """
    logits, features = [], []
    for start in range(0, len(pixels), PREDICT_BATCH):
        answer = network.predict_on_batch(pixels[start : start + PREDICT_BATCH].astype(np.float32))
        logits.append(np.asarray(answer["evidence"], np.float64).mean(axis=(1, 2)))
        features.append(pool_features(np.asarray(answer["features"]), pooling))
        for _ in features[-1]:
            on_film()
    return np.concatenate(logits), np.concatenate(features)
