"""The network's middle features: pooled to a few numbers a film, and how far these lie from known films."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_xray._compat import Self
from edge_xray.errors import ModelError
from edge_xray.metadata_fields import (
    check_at_least_0,
    check_fields,
    read_fields,
    shown,
    wrong,
)

FeaturePooling = Literal["mean", "sixths"]
"""How maps of features become a few numbers a film, see `pool_features`."""

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


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What the middle features of films in range look like, for the device's quality gate.

    A film's features are pooled over space to ``x`` (c,), whitened by a principal component
    analysis to ``z = components @ (x - mean) / sqrt(variances)``, and scored
    ``sqrt(sum(z**2) / k) + residual / residual_scale``, where ``residual`` is the length of what the
    k components leave out of ``x - mean``.

    Attributes:
        mean: (c,) float32.
        components: (k, c) float32, orthonormal rows.
        variances: (k,) float32, > 0.
        residual_scale: root mean square of the residual on the films it was fitted on, > 0.
        unlike: score above which a film is unlike those the model knows.
        foreign: score above which it is taken for no chest film at all; >= ``unlike``.
        films: how many films it was fitted on.
        fitted_on: which, in words, with the quantiles that gave the two scores.
        pooling: how features are pooled, see `pool_features`.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variances: NDArray[np.float32]
    residual_scale: float
    unlike: float
    foreign: float
    films: int = 0
    fitted_on: str = ""
    pooling: FeaturePooling = "mean"

    def __post_init__(self) -> None:
        """Refuse arrays that do not go together, and what no film could be scored with."""
        check_fields(self)
        check_at_least_0(self, "films")
        shape = self.components.shape
        if len(shape) != 2 or not self.components.size:
            raise ModelError(
                f"feature statistics: components must be (k, c), k and c 1 or more, got {shape}"
            )
        if self.mean.shape != shape[1:] or self.variances.shape != shape[:1]:
            raise ModelError(
                f"feature statistics: components {shape} do not fit mean "
                f"{self.mean.shape} and variances {self.variances.shape}"
            )
        for name in ("mean", "components", "variances"):
            if not bool(np.isfinite(getattr(self, name)).all()):
                raise wrong(self, name, "finite numbers")
        if not (self.residual_scale > 0 and bool(np.all(self.variances > 0))):
            raise ModelError("feature statistics: variances and residual_scale must be positive")
        if not 0 <= self.unlike <= self.foreign:
            raise ModelError(
                f"feature statistics: expected 0 <= unlike <= foreign, got {self.unlike}, {self.foreign}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready; arrays as base64 of little-endian float32."""
        return {
            "mean": _pack(self.mean),
            "components": _pack(self.components),
            "variances": _pack(self.variances),
            "residual_scale": self.residual_scale,
            "unlike": self.unlike,
            "foreign": self.foreign,
            "films": self.films,
            "fitted_on": self.fitted_on,
            "pooling": self.pooling,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        values = read_fields(record, cls)
        for name in ("mean", "components", "variances"):
            values[name] = _unpack(values[name], name)
        return cls(**values)


def _pack(array: NDArray[np.float32]) -> dict[str, Any]:
    data = np.ascontiguousarray(array, dtype="<f4")
    return {"shape": list(data.shape), "float32": base64.b64encode(data.tobytes()).decode("ascii")}


def _unpack(record: object, name: str) -> NDArray[np.float32]:
    if isinstance(record, Mapping):
        shape, text = record.get("shape"), record.get("float32")
        sides: list[Any] = shape if isinstance(shape, list) and len(shape) in (1, 2) else [None]
        if isinstance(text, str) and all(type(side) is int and side > 0 for side in sides):
            with suppress(ValueError):
                data = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
                if data.size == math.prod(sides):
                    return data.reshape(sides).astype(np.float32)
    raise ModelError(
        f"feature statistics: {name} must be an object of a shape and as many numbers (float32, in base64), "
        f"got {shown(record)}"
    )


def feature_score(
    features: NDArray[np.floating], statistics: FeatureStatistics
) -> NDArray[np.float64]:
    """How far films lie from those the model knows, by its middle features.

    The formula is that of `FeatureStatistics`: root mean square of the whitened
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
