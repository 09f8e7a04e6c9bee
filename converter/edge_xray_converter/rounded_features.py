"""The gate's statistics, fitted to what rounding does to a network's features.

Rounding to integers moves each feature by much the same on every film, and scatters it a little. On features
that many films have taught to vary neither counts for much. Where few did, the gate would take every film for a
strange one: not by what it shows, but by its rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_xray.features import FeatureStatistics, feature_score
from edge_xray.metadata import ModelMetadata
from edge_xray_converter.packing import open_network

WORTH_FITTING: Final = 0.05
"""Share by which rounding must move the median score of known films for the statistics to be fitted again."""


Films = Sequence[NDArray[np.uint8]]
"""Prepared films, uint8 (1, H, W, C) each."""


class RoundedGate:
    """What a conversion's gate is to allow for, by films that the float network was asked about."""

    def __init__(
        self, float_network: bytes, metadata: ModelMetadata, learned_from: Films, validation: Films
    ) -> None:
        """Ask the float network.

        Args:
            float_network: its float32 flatbuffer, pixels 0..255 in.
            metadata: of the network.
            learned_from: films that it learned from.
            validation: films that it did not learn from, among which the gate's line lies.
        """
        self._metadata = metadata
        self._films = (learned_from, validation)
        self._float = self._features(float_network) if metadata.features is not None else None

    def _features(self, network: bytes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        classifier = open_network(network, self._metadata)
        known, validation = (
            np.array([classifier.classify(pixels).features for pixels in films], np.float64)
            for films in self._films
        )
        return known, validation

    def metadata_for(self, network: bytes) -> ModelMetadata:
        """The metadata for a conversion of the network.

        Args:
            network: the flatbuffer, not packed.

        Returns:
            That of the network, with other `FeatureStatistics` if rounding moves the median score of the films that
            it learned from by `WORTH_FITTING`. As many validation films are unlike the known ones as are by the network.
        """
        statistics = self._metadata.features
        if statistics is None or self._float is None or not statistics.unlike:
            return self._metadata
        known, validation = self._float
        rounded, rounded_validation = self._features(network)
        before, after = (float(np.median(feature_score(x, statistics))) for x in (known, rounded))
        if abs(after - before) < WORTH_FITTING * before:
            return self._metadata
        fitted = fit_to_rounding(statistics, known, rounded)
        unlike = _same_place(
            statistics.unlike,
            feature_score(validation, statistics),
            feature_score(rounded_validation, fitted),
        )
        foreign = unlike * statistics.foreign / statistics.unlike
        return replace(self._metadata, features=replace(fitted, unlike=unlike, foreign=foreign))


def fit_to_rounding(
    statistics: FeatureStatistics,
    features: NDArray[np.float64],
    rounded: NDArray[np.float64],
) -> FeatureStatistics:
    """Move and widen statistics by what rounding does to known films.

    The mean moves by the mean error, and the variances grow by those of the rest, which is taken to be independent
    of what a film shows. The two thresholds stay.

    Args:
        statistics: of the float network's features.
        features: (n, c) of known films, by the float network.
        rounded: (n, c) of the same films, by the converted one.
    """
    errors = rounded - features
    shift = errors.mean(axis=0)
    scatter = errors - shift
    components = statistics.components.astype(np.float64)
    inside = scatter @ components.T
    outside = scatter - inside @ components
    variances = statistics.variances + (inside**2).mean(axis=0)
    residual = statistics.residual_scale**2 + float((outside**2).sum(axis=1).mean())
    return replace(
        statistics,
        mean=(statistics.mean + shift).astype(np.float32),
        variances=variances.astype(np.float32),
        residual_scale=float(np.sqrt(residual)),
        fitted_on=f"{statistics.fitted_on}; moved and widened by what rounding does to {len(features)} training films",
    )


def _same_place(line: float, before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Where a line among scores lies among others, with as many of them below it."""
    before, after = np.sort(before), np.sort(after)
    if line > before[-1]:
        return float(line * after[-1] / before[-1])
    return float(np.interp(line, before, after))
