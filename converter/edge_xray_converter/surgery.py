"""Small exact changes to a float ``.tflite`` graph: pixel scaling taken out or put in, plain names.

TFLite has no tool for these; the schema's own objects make each a dozen lines.
"""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import numpy as np

from edge_xray_converter.flatbuffer import (
    FLATBUFFER_IDENTIFIER,
    builtin_of,
    read_object,
    schema,
    short_name,
)


def take_out_scaling(network: bytes) -> tuple[bytes, float, float]:
    """Remove ``pixel * scale + offset`` from the entry of a float graph.

    Args:
        network: the flatbuffer.

    Returns:
        The graph without it, scale and offset; the same graph, 1 and 0 if it does not begin so, or if
        the scale is not positive: no quantization has such a step.
    """
    model = read_object(network)
    graph = model.subgraphs[0]
    scale, offset = 1.0, 0.0
    removed = []
    entry = int(graph.inputs[0])
    for kind in ("MUL", "ADD"):
        readers = [op for op in graph.operators if entry in list(op.inputs)]
        if len(readers) != 1 or _kind(model, readers[0]) != kind:
            continue
        (other,) = [int(i) for i in readers[0].inputs if int(i) != entry][:1] or [entry]
        value = _scalar(model, graph, other)
        if value is None or _activation(readers[0]) or (kind == "MUL" and not value > 0):
            break
        scale, offset = (value, 0.0) if kind == "MUL" else (scale, value)
        removed.append(readers[0])
        entry = int(readers[0].outputs[0])
    if not removed or entry in [int(i) for i in graph.outputs]:
        return network, 1.0, 0.0
    graph.operators = [op for op in graph.operators if op not in removed]
    _replace_entry(model, graph, entry)
    return packed(model), scale, offset


def put_in_scaling(network: bytes, scale: float, offset: float) -> bytes:
    """Put ``pixel * scale + offset`` at the entry of a float graph.

    Args:
        network: the flatbuffer.
        scale: factor.
        offset: summand.
    """
    model = read_object(network)
    graph, s = model.subgraphs[0], schema()
    entry = int(graph.inputs[0])
    shape = graph.tensors[entry].shape
    pixels = _add_tensor(model, graph, "pixels", shape)
    product = _add_tensor(model, graph, "scaled", shape)
    factor = _add_tensor(model, graph, "scale", [], scale)
    summand = _add_tensor(model, graph, "offset", [], offset)
    multiply = _operator(
        model,
        s.BuiltinOperator.MUL,
        [pixels, factor],
        [product],
        s.BuiltinOptions.MulOptions,
        s.MulOptionsT(),
    )
    add = _operator(
        model,
        s.BuiltinOperator.ADD,
        [product, summand],
        [entry],
        s.BuiltinOptions.AddOptions,
        s.AddOptionsT(),
    )
    graph.operators = [multiply, add, *graph.operators]
    _replace_entry(model, graph, pixels)
    return packed(model)


def append_sigmoid(network: bytes) -> bytes:
    """Put a sigmoid after the only output of a float graph, so that one logit becomes a probability.

    Args:
        network: the flatbuffer.
    """
    model = read_object(network)
    graph, s = model.subgraphs[0], schema()
    logit = int(graph.outputs[0])
    probability = _add_tensor(model, graph, "probability", graph.tensors[logit].shape)
    graph.operators = [
        *graph.operators,
        _operator(model, s.BuiltinOperator.LOGISTIC, [logit], [probability], 0, None),
    ]
    graph.outputs = np.array([probability], np.int32)
    _replace_in_signatures(model, logit, probability)
    return packed(model)


def set_input_range(network: bytes, low: float, high: float) -> bytes:
    """Set the measured range of the input of a float graph.

    Args:
        network: the flatbuffer, with ranges.
        low: least value of the input.
        high: largest.
    """
    model = read_object(network)
    graph = model.subgraphs[0]
    tensor = graph.tensors[int(graph.inputs[0])]
    if tensor.quantization is None:
        tensor.quantization = schema().QuantizationParametersT()
    tensor.quantization.min = np.array([low], np.float32)
    tensor.quantization.max = np.array([high], np.float32)
    return packed(model)


def simple_names(network: bytes) -> bytes:
    """Give every tensor a name of one part, the layer's, each name once.

    TensorFlow joins the names of fused layers with semicolons; its quantizer then cannot be told to
    leave such a layer alone, and reports are hard to read.

    Args:
        network: the flatbuffer.
    """
    model = read_object(network)
    graph = model.subgraphs[0]
    kept = {int(index) for index in (*graph.inputs, *graph.outputs)}
    taken = {graph.tensors[index].name for index in kept}
    # Results before weights, so that a layer's result gets the layer's name as it is.
    results = [int(index) for operation in graph.operators for index in operation.outputs]
    for index in dict.fromkeys([*results, *range(len(graph.tensors))]):
        if index in kept:
            continue
        tensor = graph.tensors[index]
        name = short_name((tensor.name or b"").decode("utf-8", "replace")) or "tensor"
        candidates = (name if turn == 0 else f"{name}.{turn}" for turn in itertools.count())
        tensor.name = next(text.encode() for text in candidates if text.encode() not in taken)
        taken.add(tensor.name)
    return packed(model)


def _kind(model: Any, operation: Any) -> str:
    builtin = schema().BuiltinOperator
    known = {builtin.MUL: "MUL", builtin.ADD: "ADD"}
    return known.get(builtin_of(model.operatorCodes[operation.opcodeIndex]), "")


def _activation(operation: Any) -> bool:
    return bool(getattr(operation.builtinOptions, "fusedActivationFunction", 0))


def _scalar(model: Any, graph: Any, index: int) -> float | None:
    """The value of a constant float32 tensor with one element; None for any other tensor."""
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    if tensor.type != schema().TensorType.FLOAT32 or data is None or len(data) != 4:
        return None
    return float(np.frombuffer(bytes(data), "<f4")[0])


def _add_tensor(model: Any, graph: Any, name: str, shape: Any, value: float | None = None) -> int:
    s = schema()
    tensor = s.TensorT()
    tensor.name, tensor.type = name.encode(), s.TensorType.FLOAT32
    tensor.shape = np.array(shape, np.int32)
    tensor.hasRank = True
    buffer = s.BufferT()
    if value is not None:
        buffer.data = np.frombuffer(np.float32(value).tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(
    model: Any, builtin: int, inputs: list[int], outputs: list[int], options_type: int, options: Any
) -> Any:
    s = schema()
    codes = model.operatorCodes
    index = next((i for i, code in enumerate(codes) if builtin_of(code) == builtin), None)
    if index is None:
        code = s.OperatorCodeT()
        # Kinds above 126 do not fit the old field; these three do.
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        codes.append(code)
        index = len(codes) - 1
    operation = s.OperatorT()
    operation.opcodeIndex = index
    operation.inputs, operation.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    operation.builtinOptionsType, operation.builtinOptions = options_type, options
    return operation


def _replace_entry(model: Any, graph: Any, entry: int) -> None:
    _replace_in_signatures(model, int(graph.inputs[0]), entry)
    graph.inputs = np.array([entry], np.int32)


def _replace_in_signatures(model: Any, old: int, new: int) -> None:
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            if entry.tensorIndex == old:
                entry.tensorIndex = new


def _drop_unused_kinds(model: Any) -> None:
    """Forget kinds of operation that no operation is of: the quantizer refuses a model with such."""
    operations = [operation for graph in model.subgraphs for operation in graph.operators]
    used = sorted({operation.opcodeIndex for operation in operations})
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    for operation in operations:
        operation.opcodeIndex = used.index(operation.opcodeIndex)


def packed(model: Any) -> bytes:
    """The bytes of a flatbuffer read with `edge_xray_converter.flatbuffer.read_object`."""
    _drop_unused_kinds(model)
    flatbuffers = importlib.import_module("flatbuffers")
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=FLATBUFFER_IDENTIFIER)
    return bytes(builder.Output())
