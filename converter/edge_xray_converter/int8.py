"""From a float network to int8 ones: the ranges of its tensors are measured once, and serve every try."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_xray_converter.layers import LayerError, own_errors
from edge_xray_converter.quantize import measure_ranges, to_integers
from edge_xray_converter.rounding import round_weights
from edge_xray_converter.sources import Network
from edge_xray_converter.surgery import simple_names

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
