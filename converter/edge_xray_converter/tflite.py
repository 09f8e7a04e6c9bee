"""Export of a network to a ``.tflite`` flatbuffer, in one of four flavours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray_converter.layers import LayerError, own_errors
from edge_xray_converter.quantize import measure_ranges, to_integers
from edge_xray_converter.rounding import round_weights
from edge_xray_converter.sources import Network
from edge_xray_converter.surgery import simple_names

Flavour = Literal["float32", "float16", "dynamic", "int8"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)

RANKING_FILMS = 16
"""Representative films that layers are ranked on; the order settles after a handful."""


@dataclass(frozen=True, eq=False)
class Ranged:
    """A float network with the range of every tensor, from which int8 networks are made.

    Attributes:
        flatbuffer: from `edge_xray_converter.quantize.measure_ranges`.
        inputs: the representative films, uint8 (1, H, W, C).
        network: what it was made from.
    """

    flatbuffer: bytes
    inputs: tuple[NDArray[np.uint8], ...]
    network: Network

    def integers(self, keep_float: Sequence[str] = ()) -> bytes:
        """The int8 flatbuffer, with the named operations left in float."""
        return to_integers(round_weights(self.flatbuffer, keep_float), keep_float)

    def ranking(self) -> list[LayerError]:
        """All operations by the error each adds with plain rounding, the worst first."""
        films = self.inputs[:: max(1, len(self.inputs) // RANKING_FILMS)]
        return own_errors(self.flatbuffer, films, self.network.scale, self.network.offset)


def measured(network: Network, representative: Iterable[NDArray[np.uint8]]) -> Ranged:
    """Measure the ranges of a network on representative films.

    Args:
        network: what to quantize.
        representative: inputs, uint8 (1, H, W, C).
    """
    inputs = tuple(representative)
    core = simple_names(network.exporter.core())
    return Ranged(measure_ranges(core, inputs, network.scale, network.offset), inputs, network)


def export(
    network: Network,
    flavour: Flavour,
    representative: Iterable[NDArray[np.uint8]] | None = None,
    keep_float: Sequence[str] = (),
) -> bytes:
    """Convert a network to TFLite, static batch 1, pixels 0..255 in.

    ``float32``, ``float16`` (weights) and ``dynamic`` (int8 weights, float arithmetic) take float32
    pixels and scale them in the graph. ``int8`` takes uint8 pixels: the scaling is in the quantization
    of the input, so the first convolution reads the pixels themselves.

    Args:
        network: what to export.
        flavour: one of `FLAVOURS`.
        representative: for ``int8``: inputs uint8 (1, H, W, C) that the ranges are measured on.
        keep_float: for ``int8``: names of output tensors of operations that stay in float.

    Returns:
        The flatbuffer, not packed. Operations that TFLite has no integer kernel for stay in float;
        `edge_xray_converter.flatbuffer.Graph.non_integer` lists them.

    Raises:
        ModelError: TensorFlow cannot convert the network.
        UsageError: ``int8`` has no representative films.
    """
    if flavour != "int8":
        return network.exporter.whole(flavour)
    if representative is None:
        raise UsageError("int8 is fitted to training films; name their folder with --data")
    return measured(network, representative).integers(keep_float)
