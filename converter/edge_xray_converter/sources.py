"""A trained network from wherever it comes, as one TensorFlow function the converter can export.

Two rewrites are made on the way, both exact in float and both there for the sake of int8:

* a `Rescaling` of the pixels at the network's entry is taken out of the graph and given back as
  `Network.scale` and `Network.offset`: the int8 export puts it into the quantization of its input, so
  a pixel enters without any rounding;
* a head ``GlobalAveragePooling2D -> Dense`` is turned into ``1x1 convolution -> mean``, which is the
  same sum in another order. The network then gives a map of evidence, and many int8 values are
  averaged where there was one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_xray.errors import ModelError
from edge_xray_converter._quiet import import_tensorflow, quiet

EVIDENCE = "evidence"
FEATURES = "features"
SCORES = "scores"
"""Names of the exported outputs; `SCORES` stands alone, for a network without an evidence map."""

Head = Literal["logits", "softmax", "sigmoid"]

PIXEL_MAX = 255.0


@dataclass(frozen=True)
class PixelRange:
    """The range that a network expects its pixels in.

    Attributes:
        low: what a black pixel (0) becomes.
        high: what a white pixel (255) becomes.
    """

    low: float = 0.0
    high: float = PIXEL_MAX

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ModelError(
                f"expected an input range LOW..HIGH such as -1..1, got {self.low}..{self.high}"
            )

    @property
    def scale(self) -> float:
        """Factor of a pixel 0..255."""
        return (self.high - self.low) / PIXEL_MAX

    @classmethod
    def parse(cls, text: str) -> PixelRange:
        """Read ``0..1``, ``-1..1`` or ``0..255``.

        Raises:
            ModelError: it is none such.
        """
        low, dots, high = text.partition("..")
        try:
            if not dots:
                raise ValueError
            return cls(float(low), float(high))
        except ValueError as error:
            raise ModelError(
                f"expected an input range like 0..255 or -1..1, got {text!r}"
            ) from error


@dataclass(frozen=True, eq=False)
class Network:
    """A float network ready for export.

    Attributes:
        call: scaled pixels, a float32 tensor (1, H, W, C), to the named outputs.
        variables: what `call` reads; they must outlive it.
        height: rows of the input.
        width: columns of the input.
        channels: 1 or 3.
        scale: the network's own pixel value is ``pixel * scale + offset``.
        offset: see `scale`.
        outputs: shape of each output, batch 1 included.
        head: what the output is, where it is no evidence map.
        rewrites: what was rewritten on the way, in words.
    """

    call: Callable[[Any], dict[str, Any]]
    variables: tuple[Any, ...]
    height: int
    width: int
    channels: int
    scale: float
    offset: float
    outputs: Mapping[str, tuple[int, ...]]
    head: Head
    rewrites: tuple[str, ...] = ()

    @property
    def evidence_map(self) -> bool:
        """Whether the network gives a map whose mean is the logits."""
        return EVIDENCE in self.outputs

    @property
    def classes(self) -> int:
        """How many classes it tells apart; one sigmoid tells two."""
        units = self.outputs[EVIDENCE if self.evidence_map else SCORES][-1]
        return 2 if units == 1 else units

    def scaled(self, pixels: Any) -> Any:
        """Pixels 0..255 in the range that `call` expects."""
        return pixels * np.float32(self.scale) + np.float32(self.offset)


def load_network(path: Path, pixel_range: PixelRange | None = None) -> Network:
    """Read a ``.keras`` (or ``.h5``) file or a SavedModel folder.

    Args:
        path: the model.
        pixel_range: what range the network expects; None: 0..255, as this kit's networks do.

    Returns:
        The network, with the two rewrites of this module made where they fit.

    Raises:
        ModelError: no such file, not loadable, or not a classifier of pictures with one input.
    """
    if not path.exists():
        raise ModelError(f"model {path}: no such file; name a .keras file, SavedModel or .tflite")
    pixel_range = pixel_range or PixelRange()
    if path.is_dir():
        return _load_saved_model(path, pixel_range)
    return _load_keras(path, pixel_range)


def _load_keras(path: Path, pixel_range: PixelRange) -> Network:
    import_tensorflow()
    import keras

    try:
        with quiet():
            model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ModelError(
            f"model {path}: Keras cannot load it ({_first_line(error)}); expected a .keras file"
        ) from error
    return network_from_keras(model, str(path), pixel_range)


def network_from_keras(
    model: Any, source: str = "in memory", pixel_range: PixelRange | None = None
) -> Network:
    """Make a Keras model ready for export.

    Args:
        model: `keras.Model` with one picture as input. Outputs ``evidence`` and ``features``, or
            one output (N, classes) or (N, 1).
        source: its name, for messages.
        pixel_range: what range the model expects; None: 0..255.

    Raises:
        ModelError: it has several inputs, another kind of input, or outputs that are no classes.
    """
    import keras

    tf = import_tensorflow()
    pixel_range = pixel_range or PixelRange()
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs)
    inputs = list(getattr(model, "inputs", None) or [])
    if len(inputs) != 1:
        raise ModelError(f"model {source}: expected one input, a picture; it has {len(inputs)}")
    height, width, channels = _picture_shape(tuple(inputs[0].shape), source)
    rewrites: list[str] = []
    start, scale, offset = inputs[0], pixel_range.scale, pixel_range.low
    rescaling = _entry_rescaling(model)
    if rescaling is not None:
        start = rescaling.output
        scale, offset = (
            scale * float(rescaling.scale),
            offset * float(rescaling.scale) + float(rescaling.offset),
        )
        rewrites.append("pixel scaling moved into the input's quantization")

    named = _named_outputs(model.output, source)
    head = _keras_head(named)
    averaged = _averaged_dense(named[SCORES]) if SCORES in named else None
    if averaged is not None:
        body, dense = averaged
        core = keras.Model(start, body)
        kernel, bias = _evidence_kernel(dense)
        rewrites.append("average and dense layer exchanged, which gives an evidence map")

        def call(pixels: Any) -> dict[str, Any]:
            maps = tf.nn.conv2d(core(pixels, training=False), kernel[None, None], 1, "VALID")
            return {EVIDENCE: maps + bias}

        head = "logits"
    else:
        core = keras.Model(start, named)

        def call(pixels: Any) -> dict[str, Any]:
            return dict(core(pixels, training=False))

    return _finished(
        call,
        tuple(variable.value for variable in core.variables),
        (height, width, channels),
        (scale, offset),
        head,
        tuple(rewrites),
        source,
    )


def _load_saved_model(path: Path, pixel_range: PixelRange) -> Network:
    tf = import_tensorflow()
    try:
        with quiet():
            loaded = tf.saved_model.load(str(path))
            signature = loaded.signatures["serving_default"]
    except Exception as error:
        raise ModelError(
            f"model {path}: TensorFlow cannot load it ({_first_line(error)}); expected a SavedModel "
            "folder with a serving_default signature"
        ) from error
    arguments = signature.structured_input_signature[1]
    if len(arguments) != 1:
        raise ModelError(f"model {path}: expected one input, a picture; it has {len(arguments)}")
    (name, spec), *_ = arguments.items()
    shape = _picture_shape(tuple(spec.shape), str(path))
    keys = sorted(signature.structured_outputs)
    known = set(keys) & {EVIDENCE, FEATURES}
    if EVIDENCE not in known and len(keys) != 1:
        raise ModelError(f"model {path}: expected one output, the classes; it has {keys}")

    def call(pixels: Any) -> dict[str, Any]:
        outputs = signature(**{name: pixels})
        return (
            {key: outputs[key] for key in known}
            if EVIDENCE in known
            else {SCORES: outputs[keys[0]]}
        )

    return _finished(
        call,
        tuple(signature.variables),
        shape,
        (pixel_range.scale, pixel_range.low),
        "logits",
        (),
        str(path),
    )


def _finished(
    call: Callable[[Any], dict[str, Any]],
    variables: tuple[Any, ...],
    shape: tuple[int, int, int],
    scaling: tuple[float, float],
    head: Head,
    rewrites: tuple[str, ...],
    source: str,
) -> Network:
    """Trace the function once to learn its outputs, and check them."""
    tf = import_tensorflow()
    try:
        traced = tf.function(call, autograph=False).get_concrete_function(
            tf.TensorSpec((1, *shape), tf.float32)
        )
    except Exception as error:
        raise ModelError(
            f"model {source}: cannot be run on one picture of {shape} ({_first_line(error)})"
        ) from error
    outputs = {name: tuple(output.shape) for name, output in traced.structured_outputs.items()}
    if SCORES in outputs:
        kinds = {operation.type for operation in _producers(traced.structured_outputs[SCORES])}
        head = "softmax" if "Softmax" in kinds else "sigmoid" if "Sigmoid" in kinds else head
        if head == "logits" and outputs[SCORES][-1] == 1:
            # One logit against nothing is two logits, the other of them 0.
            inner = call

            def call(pixels: Any) -> dict[str, Any]:
                logit = inner(pixels)[SCORES]
                return {SCORES: tf.concat([tf.zeros_like(logit), logit], axis=-1)}

            outputs[SCORES] = (1, 2)
    network = Network(call, variables, *shape, *scaling, outputs, head, rewrites)
    _check_outputs(network, source)
    return network


def _producers(tensor: Any) -> list[Any]:
    """The operation that computes a tensor, seen through operations that only pass it on."""
    found: list[Any] = []
    pending = [tensor.op]
    while pending:
        operation = pending.pop()
        if operation.type in ("Identity", "Reshape", "IdentityN"):
            pending.extend(tensor.op for tensor in operation.inputs[:1])
        else:
            found.append(operation)
            inner = operation.type in ("StatefulPartitionedCall", "PartitionedCall")
            if inner:
                function = operation.graph._get_function(operation.get_attr("f").name)
                if function is not None:
                    graph = function.graph if hasattr(function, "graph") else None
                    outputs = list(graph.outputs) if graph is not None else []
                    if len(outputs) == 1:
                        pending.append(outputs[0].op)
    return found


def _check_outputs(network: Network, source: str) -> None:
    shape = network.outputs[EVIDENCE if network.evidence_map else SCORES]
    if None in shape or len(shape) != (4 if network.evidence_map else 2) or network.classes > 20:
        raise ModelError(
            f"model {source}: expected an output of 1 to 20 classes, (1, classes) or an evidence map "
            f"(1, h, w, classes); got {shape}"
        )
    if not network.evidence_map and network.head == "sigmoid" and shape[-1] != 1:
        raise ModelError(
            f"model {source}: its {shape[-1]} sigmoid outputs can all be true at once; expected one "
            "sigmoid, or a softmax over the classes"
        )


def _picture_shape(shape: tuple[int | None, ...], source: str) -> tuple[int, int, int]:
    if len(shape) != 4 or any(side is None for side in shape[1:]) or shape[3] not in (1, 3):
        raise ModelError(
            f"model {source}: expected pictures (N, height, width, 1 or 3) of a fixed size as input, "
            f"got {shape}"
        )
    return int(shape[1] or 0), int(shape[2] or 0), int(shape[3] or 0)


def _named_outputs(output: Any, source: str) -> dict[str, Any]:
    if isinstance(output, Mapping):
        if EVIDENCE in output:
            return {key: output[key] for key in (EVIDENCE, FEATURES) if key in output}
        output = list(output.values())
    if isinstance(output, (list, tuple)):
        if len(output) != 1:
            raise ModelError(
                f"model {source}: expected one output, the classes; it has {len(output)}"
            )
        output = output[0]
    return {SCORES: output}


def _producer(tensor: Any) -> tuple[Any, list[Any]]:
    """The Keras layer that made a symbolic tensor, and the tensors it was made from."""
    history = tensor._keras_history
    layer = history.operation
    return layer, list(layer._inbound_nodes[history.node_index].input_tensors)


def _entry_rescaling(model: Any) -> Any | None:
    """The `Rescaling` layer that alone reads the input, if its factors are plain numbers."""
    import keras

    entry = model.inputs[0]
    readers = {
        id(operation): operation
        for operation in getattr(model, "operations", [])
        for node in operation._inbound_nodes
        if any(tensor is entry for tensor in node.input_tensors)
    }
    if len(readers) != 1:
        return None
    (layer,) = readers.values()
    plain = isinstance(layer, keras.layers.Rescaling) and np.ndim(layer.scale) == 0
    return layer if plain and np.ndim(layer.offset) == 0 else None


def _averaged_dense(scores: Any) -> tuple[Any, Any] | None:
    """The map before ``GlobalAveragePooling2D`` and the `Dense` layer after it, if that is the head."""
    import keras

    activations = (keras.layers.Softmax, keras.layers.Activation)
    layer, inputs = _producer(scores)
    if isinstance(layer, activations):
        if getattr(layer, "activation", keras.activations.softmax) not in _HEAD_ACTIVATIONS():
            return None
        layer, inputs = _producer(inputs[0])
        if isinstance(layer, keras.layers.Dense) and layer.activation != keras.activations.linear:
            return None
    dense = layer
    if not isinstance(dense, keras.layers.Dense) or dense.activation not in _HEAD_ACTIVATIONS():
        return None
    layer, inputs = _producer(inputs[0])
    while isinstance(layer, keras.layers.Dropout):
        layer, inputs = _producer(inputs[0])
    if not isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return None
    if layer.keepdims or layer.data_format != "channels_last":
        return None
    return inputs[0], dense


def _HEAD_ACTIVATIONS() -> tuple[Any, ...]:  # noqa: N802
    import keras

    return (keras.activations.softmax, keras.activations.sigmoid, keras.activations.linear)


def _evidence_kernel(dense: Any) -> tuple[Any, Any]:
    """Weights (channels, classes) and bias (classes,) of the dense layer, one sigmoid made two classes."""
    kernel = np.asarray(dense.kernel, np.float32)
    bias = (
        np.asarray(dense.bias, np.float32) if dense.use_bias else np.zeros(dense.units, np.float32)
    )
    if dense.units == 1:
        kernel = np.concatenate([np.zeros_like(kernel), kernel], axis=1)
        bias = np.concatenate([np.zeros_like(bias), bias])
    return kernel, bias


def _keras_head(named: Mapping[str, Any]) -> Head:
    import keras

    if SCORES not in named:
        return "logits"
    layer, _ = _producer(named[SCORES])
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Softmax) or activation == keras.activations.softmax:
        return "softmax"
    return "sigmoid" if activation == keras.activations.sigmoid else "logits"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
