"""How alike the heat maps of two models are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_xray.heatmap import finding_evidence
from edge_xray_converter.runs import Run


def similarity(reference: Run, candidate: Run) -> dict[str, float] | None:
    """Pearson's correlation of the heat maps of two models, film by film.

    Over the places of the map, of what speaks for the finding (`edge_xray.heatmap.finding_evidence`).

    Args:
        reference: the one run.
        candidate: the other, on the same films.

    Returns:
        Median and 5th percentile over the films; None if one of the models has no map or the maps
        are of different sizes.
    """
    values = []
    for first, second in zip(reference.scores, candidate.scores, strict=True):
        if first.evidence is None or second.evidence is None:
            return None
        one = finding_evidence(first.evidence, reference.model.metadata)
        other = finding_evidence(second.evidence, candidate.model.metadata)
        if one.shape != other.shape:
            return None
        values.append(correlation(one, other))
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    return {"median": float(np.median(values)), "p05": float(np.quantile(values, 0.05))}


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's correlation of two arrays of one shape; 0 if one of them is constant, NaN if both are."""
    x, y = (a.astype(np.float64).ravel() - a.mean(dtype=np.float64) for a in (one, other))
    if not x.any() and not y.any():
        return math.nan
    scale = float(np.sqrt((x @ x) * (y @ y)))
    # A map that lost all that the other shows is not left out: it is like nothing.
    return float(x @ y) / scale if scale else 0.0
