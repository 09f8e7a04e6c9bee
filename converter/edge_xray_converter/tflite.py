"""Export of a network to a ``.tflite`` flatbuffer, in one of four flavours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray_converter.quantize import measure_ranges, to_integers
from edge_xray_converter.sources import Network

Flavour = Literal["float32", "float16", "dynamic", "int8"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)


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
    core = network.exporter.core()
    ranged = measure_ranges(core, representative, network.scale, network.offset)
    return to_integers(ranged, keep_float)
