"""Full-integer quantization of a float ``.tflite``: ranges measured, then every number an integer.

TensorFlow's post-training quantizer in its two steps, which its `TFLiteConverter` runs one after the
other: measuring the ranges costs seconds and is done once, rewriting the graph costs a tenth of a
second and can be tried many times (`edge_xray_converter.keep_float`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import ModelError
from edge_xray.native_output import quiet_native_output
from edge_xray_converter.sources import PIXEL_MAX
from edge_xray_converter.surgery import set_input_range
from edge_xray_converter.tensorflow_start import error_line, import_tensorflow


def measure_ranges(
    network: bytes, inputs: Iterable[NDArray[np.uint8]], scale: float, offset: float
) -> bytes:
    """Run a float graph over representative films and note the range of every tensor in it.

    Args:
        network: float32 flatbuffer that takes ``pixel * scale + offset``.
        inputs: representative films as inputs, uint8 (1, H, W, C).
        scale: see `network`.
        offset: see `network`.

    Returns:
        The flatbuffer with ranges, for `to_integers`. The input's is that of a pixel, 0..255 to the
        last digit, whether or not the films have black and white: its step is one grey level.

    Raises:
        ModelError: TensorFlow cannot run the graph.
    """
    import_tensorflow()
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    films = list(inputs)
    try:
        with quiet_native_output():
            calibrator = Calibrator(network)
            ranged = bytes(calibrator.calibrate(lambda: scaled_inputs(films, scale, offset)))
    except Exception as error:
        raise ModelError(f"TensorFlow cannot run the network: {error_line(error, -1)}") from error
    return set_input_range(ranged, offset, PIXEL_MAX * scale + offset)


def to_integers(ranged: bytes, keep_float: Sequence[str] = (), *, verify: bool = False) -> bytes:
    """Rewrite a graph with ranges to int8, uint8 in and int8 out.

    Args:
        ranged: from `measure_ranges`.
        keep_float: names of the output tensors of operations that shall stay in float.
        verify: add operations that compare each result with the float one, for
            `edge_xray_converter.layers.own_errors`.

    Returns:
        The flatbuffer. Operations that TFLite has no integer kernel for stay in float;
        `edge_xray_converter.flatbuffer.Graph.non_integer` lists them.

    Raises:
        ModelError: TensorFlow cannot quantize the graph.
    """
    tf = import_tensorflow()
    from tensorflow.lite.python.convert import mlir_quantize

    try:
        with quiet_native_output():
            return bytes(
                mlir_quantize(
                    ranged,
                    input_data_type=tf.float32 if verify else tf.uint8,
                    output_data_type=tf.float32 if verify else tf.int8,
                    enable_numeric_verify=verify,
                    denylisted_nodes=list(keep_float) or None,
                )
            )
    except Exception as error:
        raise ModelError(
            f"TensorFlow cannot quantize the network: {error_line(error, -1)}"
        ) from error


def scaled_inputs(
    inputs: Iterable[NDArray[np.uint8]], scale: float, offset: float
) -> Iterator[list[NDArray[np.float32]]]:
    """Films in the network's own range.

    Args:
        inputs: uint8, (1, H, W, C).
        scale: factor of a pixel.
        offset: summand after it.
    """
    for pixels in inputs:
        yield [pixels.astype(np.float32) * np.float32(scale) + np.float32(offset)]
