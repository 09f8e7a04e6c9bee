"""Networks from Keras files and SavedModels, as TensorFlow functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_xray.errors import ModelError
from edge_xray.native_output import quiet_native_output
from edge_xray_converter.sources import (
    EVIDENCE,
    FEATURES,
    SCORES,
    FloatFlavour,
    Network,
    PixelRange,
    checked,
    head_of,
    picture_shape,
)
from edge_xray_converter.tensorflow_start import error_line, import_tensorflow

GRAPH_NAME = "network"
"""Part of every tensor's name; Keras' own names count up, and equal input should give equal bytes."""

SHORT_FLOATS = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
"""Types and policies of Keras with 16-bit floats."""

Call = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class FunctionExporter:
    """Exports a function on scaled pixels with TensorFlow's converter.

    Attributes:
        call: float32 (1, H, W, C) in the network's own range, to the named outputs.
        variables: what `call` reads; they must outlive it.
        shape: height, width and channels.
        scale: of a pixel, before `call`.
        offset: likewise.
    """

    call: Call
    variables: tuple[Any, ...]
    shape: tuple[int, int, int]
    scale: float
    offset: float

    def core(self) -> bytes:
        """float32, taking pixels already in the network's own range."""
        return self._core

    @functools.cached_property
    def _core(self) -> bytes:
        return self._export(self.call, "float32")

    def whole(self, flavour: FloatFlavour) -> bytes:
        """Taking pixels 0..255, scaled in the graph."""

        def scaled(pixels: Any) -> dict[str, Any]:
            return self.call(pixels * np.float32(self.scale) + np.float32(self.offset))

        return self._export(scaled, flavour)

    def _export(self, call: Call, flavour: FloatFlavour) -> bytes:
        tf = import_tensorflow()
        module = tf.Module()
        module.values = list(self.variables)
        signature = [tf.TensorSpec((1, *self.shape), tf.float32, "pixels")]
        module.serve = tf.function(call, input_signature=signature, autograph=False)
        try:
            with quiet_native_output():
                converter = tf.lite.TFLiteConverter.from_concrete_functions(
                    [module.serve.get_concrete_function()], module
                )
                if flavour != "float32":
                    converter.optimizations = [tf.lite.Optimize.DEFAULT]
                if flavour == "float16":
                    converter.target_spec.supported_types = [tf.float16]
                return bytes(converter.convert())
        except Exception as error:
            raise ModelError(
                f"TensorFlow cannot convert the network to {flavour}: {error_line(error, -1)}"
            ) from error


def network_from_keras_file(path: Path, pixel_range: PixelRange) -> Network:
    """Read a ``.keras`` or ``.h5`` file.

    Raises:
        ModelError: Keras cannot load it, or it is no classifier of pictures.
    """
    import_tensorflow()
    import keras

    try:
        with quiet_native_output():
            model = keras.saving.load_model(path, compile=False)
    except Exception as error:
        raise ModelError(
            f"model {path}: Keras cannot load it ({error_line(error, 0)}); expected a .keras file"
        ) from error
    return network_from_keras(model, str(path), pixel_range)


def in_float32(model: Any, source: str) -> Any:
    """A Keras model that reckons in 32 bits, whatever it was trained in.

    TFLite has no kernels for the 16-bit floats of ``mixed_float16``; the weights are kept in 32 bits anyway.

    Args:
        model: a `keras.Model`.
        source: its name, for messages.

    Returns:
        The model itself if no layer reckons in 16 bits, else the same layers and weights built again.

    Raises:
        ModelError: the model cannot be built again from its own description.
    """
    if not any(layer.compute_dtype in SHORT_FLOATS for layer in model._flatten_layers()):
        return model
    try:
        with quiet_native_output():
            again = type(model).from_config(_with_float32(model.get_config()))
            again.set_weights(model.get_weights())
    except Exception as error:
        raise ModelError(
            f"model {source}: reckons in 16 bits, which TFLite cannot, and cannot be built again in 32 "
            f"({error_line(error, 0)}); save it with the policy float32"
        ) from error
    return again


def _with_float32(config: Any) -> Any:
    """A layer's description with every 16-bit float replaced."""
    if isinstance(config, Mapping):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {**config["config"], "name": "float32"}}
        return {
            key: "float32" if key == "dtype" and value in SHORT_FLOATS else _with_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(_with_float32(value) for value in config)
    return config


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

    from edge_xray_converter.keras_rewrites import (
        averaged_dense,
        entry_rescaling,
        evidence_weights,
    )

    tf = import_tensorflow()
    pixel_range = pixel_range or PixelRange()
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs)
    model = in_float32(model, source)
    inputs = list(getattr(model, "inputs", None) or [])
    if len(inputs) != 1:
        raise ModelError(f"model {source}: expected one input, a picture; it has {len(inputs)}")
    shape = picture_shape(tuple(inputs[0].shape), source)
    named = _named_outputs(model.output, source)
    start, scale, offset = inputs[0], pixel_range.scale, pixel_range.low
    rescaling = entry_rescaling(inputs[0], named.values())
    if rescaling is not None:
        layer, start = rescaling
        factor, summand = float(layer.scale), float(layer.offset)
        scale, offset = scale * factor, offset * factor + summand
    found = averaged_dense(named[SCORES]) if SCORES in named else None
    # An average of the pixels themselves leaves nothing to run before it.
    if found is None or found[0] is start:
        core = keras.Model(start, named, name=GRAPH_NAME)

        def call(pixels: Any) -> dict[str, Any]:
            return dict(core(pixels, training=False))

    else:
        body, dense = found
        core = keras.Model(start, body, name=GRAPH_NAME)
        kernel, bias = evidence_weights(dense)

        def call(pixels: Any) -> dict[str, Any]:
            body = core(pixels, training=False)
            return {EVIDENCE: tf.nn.conv2d(body, kernel[None, None], 1, "VALID") + bias}

    variables = tuple(variable.value for variable in core.variables)
    return _network(call, variables, shape, (scale, offset), source)


def network_from_saved_model(path: Path, pixel_range: PixelRange) -> Network:
    """Read a SavedModel folder by its ``serving_default`` signature.

    Raises:
        ModelError: TensorFlow cannot load it, or it is no classifier of pictures.
    """
    tf = import_tensorflow()
    try:
        with quiet_native_output():
            loaded = tf.saved_model.load(str(path))
            signature = loaded.signatures["serving_default"]
    except Exception as error:
        raise ModelError(
            f"model {path}: TensorFlow cannot load it ({error_line(error, 0)}); expected a SavedModel "
            "folder with a serving_default signature"
        ) from error
    arguments = signature.structured_input_signature[1]
    if len(arguments) != 1:
        raise ModelError(f"model {path}: expected one input, a picture; it has {len(arguments)}")
    ((name, spec),) = arguments.items()
    shape = picture_shape(tuple(spec.shape), str(path))
    keys = sorted(signature.structured_outputs)
    known = [key for key in (EVIDENCE, FEATURES) if key in keys] if EVIDENCE in keys else []
    if not known and len(keys) != 1:
        raise ModelError(f"model {path}: expected one output, the classes; it has {keys}")

    def call(pixels: Any) -> dict[str, Any]:
        outputs = signature(**{name: pixels})
        return {key: outputs[key] for key in known} or {SCORES: outputs[keys[0]]}

    # The function holds the variables; the loaded object must live as long as it does.
    call.loaded = loaded  # type: ignore[attr-defined]
    scaling = (pixel_range.scale, pixel_range.low)
    return _network(call, tuple(signature.variables), shape, scaling, str(path))


def _network(
    call: Call,
    variables: tuple[Any, ...],
    shape: tuple[int, int, int],
    scaling: tuple[float, float],
    source: str,
) -> Network:
    """Export once, to learn of outputs and head; one logit becomes one sigmoid."""
    tf = import_tensorflow()
    try:
        with quiet_native_output():
            traced = tf.function(call, autograph=False).get_concrete_function(
                tf.TensorSpec((1, *shape), tf.float32)
            )
    except Exception as error:
        raise ModelError(
            f"model {source}: cannot be run on one picture of {shape} ({error_line(error, 0)})"
        ) from error
    outputs = {name: tuple(out.shape) for name, out in traced.structured_outputs.items()}
    exporter = FunctionExporter(call, variables, shape, *scaling)
    head = head_of(exporter.core(), source) if SCORES in outputs else "logits"
    if SCORES in outputs and head == "logits" and outputs[SCORES][-1] == 1:

        def with_sigmoid(pixels: Any) -> dict[str, Any]:
            return {SCORES: tf.sigmoid(call(pixels)[SCORES])}

        exporter, head = FunctionExporter(with_sigmoid, variables, shape, *scaling), "sigmoid"
    return checked(Network(exporter, *shape, *scaling, outputs, head), source)


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
