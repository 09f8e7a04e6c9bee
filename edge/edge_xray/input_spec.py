"""What a network takes in: the one part of a model's metadata that decoding and preparing a film need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_xray._compat import Self
from edge_xray.errors import ModelError
from edge_xray.metadata_fields import check_fields, read_fields


@dataclass(frozen=True)
class InputSpec:
    """How a film becomes the network's input.

    Attributes:
        height: rows of the input, in pixels.
        width: columns of the input, in pixels.
        channels: 1 for grey, 3 for RGB (a grey film gives three equal channels).
        resample: Pillow's name of the antialiased filter, the one the training films were made with.
    """

    height: int
    width: int
    channels: int = 1
    resample: Literal["bicubic", "bilinear", "lanczos", "box", "hamming"] = "bicubic"

    def __post_init__(self) -> None:
        """Refuse a shape that no network of this kit can have."""
        check_fields(self)
        if not (8 <= self.height <= 4096 and 8 <= self.width <= 4096):
            raise ModelError(
                f"model input must be 8 to 4096 pixels a side, got {self.height}x{self.width}"
            )
        if self.channels not in (1, 3):
            raise ModelError(f"model input must have 1 or 3 channels, got {self.channels}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(1, height, width, channels)``."""
        return (1, self.height, self.width, self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "resample": self.resample,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**read_fields(record, cls))
