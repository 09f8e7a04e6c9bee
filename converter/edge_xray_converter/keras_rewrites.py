"""Where in a Keras model the two exact rewrites of `edge_xray_converter.sources` fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

HEAD_ACTIVATIONS = (
    keras.activations.softmax,
    keras.activations.sigmoid,
    keras.activations.linear,
)
"""Activations after the last layer that leave its logits known."""


def entry_rescaling(entry: Any, outputs: Iterable[Any]) -> tuple[Any, Any] | None:
    """The `keras.layers.Rescaling` that alone reads the input, if its factors are plain numbers.

    One that turns black into white is left alone: no quantization has a negative step.

    Args:
        entry: the model's symbolic input.
        outputs: its symbolic outputs.

    Returns:
        The layer and its symbolic output; None if the model begins otherwise.
    """
    readers = []
    pending, seen = list(outputs), set()
    # From the outputs back, for a layer may have been called in other models too.
    while pending:
        tensor = pending.pop()
        if tensor is entry or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        layer, inputs = _producer(tensor)
        if any(source is entry for source in inputs):
            readers.append((layer, tensor))
        pending += inputs
    if len(readers) != 1 or not isinstance(readers[0][0], keras.layers.Rescaling):
        return None
    layer = readers[0][0]
    plain = np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0
    return readers[0] if plain and layer.scale > 0 else None


def averaged_dense(scores: Any) -> tuple[Any, Any] | None:
    """The head ``GlobalAveragePooling2D [-> Dropout] -> Dense [-> activation]``, if this is one.

    Several sigmoids are none: they can all be true at once, which a map of evidence cannot say.

    Args:
        scores: the model's symbolic output (N, classes).

    Returns:
        The symbolic map that is averaged, and the dense layer; None for another head.
    """
    layer, inputs = _producer(scores)
    last = getattr(layer, "activation", None)
    if isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)):
        if getattr(layer, "activation", keras.activations.softmax) not in HEAD_ACTIVATIONS:
            return None
        layer, inputs = _producer(inputs[0])
        if getattr(layer, "activation", None) != keras.activations.linear:
            return None
    dense = layer
    if not isinstance(dense, keras.layers.Dense) or dense.activation not in HEAD_ACTIVATIONS:
        return None
    if dense.units > 1 and last == keras.activations.sigmoid:
        return None
    layer, inputs = _producer(inputs[0])
    while isinstance(layer, keras.layers.Dropout):
        layer, inputs = _producer(inputs[0])
    if not isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return None
    if layer.keepdims or layer.data_format != "channels_last":
        return None
    if any(side is None for side in inputs[0].shape[1:]):
        return None
    return inputs[0], dense


def evidence_weights(dense: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias of a 1x1 convolution that does what a dense layer did after the average.

    Args:
        dense: the layer. One sigmoid or logit becomes two classes, the first with logit 0.

    Returns:
        (channels, classes) and (classes,), float32.
    """
    kernel = np.asarray(dense.kernel, np.float32)
    bias = np.zeros(dense.units, np.float32)
    if dense.use_bias:
        bias = np.asarray(dense.bias, np.float32)
    if dense.units == 1:
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)
        bias = np.concatenate([np.zeros_like(bias), bias])
    return kernel, bias


def _producer(tensor: Any) -> tuple[Any, list[Any]]:
    """The layer that made a symbolic tensor, and the tensors it was made from."""
    history = tensor._keras_history
    layer = history.operation
    return layer, list(layer._inbound_nodes[history.node_index].input_tensors)
