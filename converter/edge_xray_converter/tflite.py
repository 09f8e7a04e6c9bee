"""Export of a network to a ``.tflite`` flatbuffer, in one of four flavours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import ModelError
from edge_xray_converter._quiet import import_tensorflow, quiet
from edge_xray_converter.sources import PIXEL_MAX, Network

Flavour = Literal["float32", "float16", "dynamic", "int8"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)


def export(
    network: Network,
    flavour: Flavour,
    representative: Iterable[NDArray[np.uint8]] | None = None,
) -> bytes:
    """Convert a network to TFLite, static batch 1, pixels 0..255 in.

    ``float32``, ``float16`` (weights) and ``dynamic`` (int8 weights, float arithmetic) take float32
    pixels and scale them in the graph. ``int8`` takes uint8 pixels: the scaling is in the quantization
    of the input, so the first convolution reads the pixels themselves.

    Args:
        network: what to export.
        flavour: one of `FLAVOURS`.
        representative: for ``int8``: inputs uint8 (1, H, W, C) that the ranges are measured on.

    Returns:
        The flatbuffer, not packed. Operations that TFLite has no integer kernel for stay in float;
        `edge_xray_converter.flatbuffer.Graph.non_integer` lists them.

    Raises:
        ModelError: TensorFlow cannot convert the network, or ``int8`` has no representative films.
    """
    tf = import_tensorflow()
    if flavour == "int8" and representative is None:
        raise ModelError("int8 needs representative films; name a folder of films with --data")

    def with_scaling(pixels: Any) -> dict[str, Any]:
        return network.call(network.scaled(pixels))

    module = tf.Module()
    module.values = list(network.variables)
    module.serve = tf.function(
        network.call if flavour == "int8" else with_scaling,
        input_signature=[
            tf.TensorSpec(
                (1, network.height, network.width, network.channels), tf.float32, "pixels"
            )
        ],
        autograph=False,
    )
    try:
        with quiet():
            converter = tf.lite.TFLiteConverter.from_concrete_functions(
                [module.serve.get_concrete_function()], module
            )
            _configure(tf, converter, flavour)
            if representative is not None and flavour == "int8":
                inputs = list(representative)
                converter.representative_dataset = lambda: _scaled(network, inputs)
            return bytes(converter.convert())
    except Exception as error:
        raise ModelError(
            f"TensorFlow cannot convert the network to {flavour}: {str(error).strip().splitlines()[-1]}"
        ) from error


def _configure(tf: Any, converter: Any, flavour: Flavour) -> None:
    if flavour != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if flavour == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if flavour == "int8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.int8


def _scaled(
    network: Network, inputs: Iterable[NDArray[np.uint8]]
) -> Iterator[list[NDArray[np.float32]]]:
    """The representative inputs in the network's range, black and white among them.

    One corner pixel of the first input is set black and one white, so that the measured range of the
    input is that of a pixel, 0..255 to the last digit, and the step of its quantization one grey level.
    """
    for index, pixels in enumerate(inputs):
        values = pixels.astype(np.float32)
        if index == 0:
            values[0, 0, 0], values[0, 0, 1] = 0.0, PIXEL_MAX
        yield [values * np.float32(network.scale) + np.float32(network.offset)]
