"""Where quantization loses: the error of each layer, accumulated or its own."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import ModelError
from edge_xray.model_file import split_packed
from edge_xray.native_output import quiet_native_output
from edge_xray_converter.flatbuffer import Graph, Operation, read_graph, short_name
from edge_xray_converter.quantize import scaled_inputs, to_integers
from edge_xray_converter.tensorflow_start import import_tensorflow

IGNORED_KINDS = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Operations that change how a number is written, not the number."""

VERIFY_KIND = "NumericVerify"
"""TensorFlow's custom operation that compares an operation's result with its float one."""


@dataclass(frozen=True)
class LayerError:
    """How far a layer's output is from that of the float network.

    Attributes:
        name: of the layer's output tensor in the candidate.
        kind: of operation.
        order: place in the order of execution.
        relative: root mean square of the difference over that of the float output; 0 is exact.
    """

    name: str
    kind: str
    order: int
    relative: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {**vars(self), "name": short_name(self.name)}


def accumulated_errors(
    reference: bytes, candidate: bytes, inputs: Iterable[NDArray[np.uint8]]
) -> list[LayerError]:
    """The error that has gathered at each layer, from the input up to there.

    Both graphs are run with all tensors kept, on the runtime's plain kernels. Their layers are matched
    by kind and shape in the order of execution, so layers that only one of them has are left out.

    Args:
        reference: a float model file that takes pixels 0..255.
        candidate: the model file to judge, of the same network.
        inputs: prepared films, uint8 (1, H, W, C).

    Returns:
        One entry a matched layer, in order; none if no layer matches.
    """
    graphs = [read_graph(data) for data in (reference, candidate)]
    pairs = _matched(graphs[0].operations, graphs[0], graphs[1].operations, graphs[1])
    runners = [_interpreter(split_packed(data)[0]) for data in (reference, candidate)]
    squares = np.zeros((len(pairs), 2))
    for pixels in inputs:
        for runner, graph in zip(runners, graphs, strict=True):
            entry = graph.tensors[graph.inputs[0]]
            dtype = np.uint8 if entry.type == "UINT8" else np.float32
            runner.set_tensor(graph.inputs[0], pixels.astype(dtype))
            runner.invoke()
        for row, (first, second) in enumerate(pairs):
            true = _value(runners[0], graphs[0], first.outputs[0])
            found = _value(runners[1], graphs[1], second.outputs[0])
            squares[row] += ((found - true) ** 2).sum(), (true**2).sum()
    relative = np.sqrt(squares[:, 0] / np.maximum(squares[:, 1], np.finfo(np.float64).tiny))
    return [
        LayerError(
            graphs[1].tensors[second.outputs[0]].name, second.kind, second.index, float(value)
        )
        for (_, second), value in zip(pairs, relative, strict=True)
    ]


def own_errors(
    ranged: bytes, inputs: Iterable[NDArray[np.uint8]], scale: float, offset: float
) -> list[LayerError]:
    """The error that each operation adds by itself, given what it gets from the int8 one before it.

    TensorFlow's quantization debugger computes each operation in float beside its int8 form.

    Args:
        ranged: from `edge_xray_converter.quantize.measure_ranges`.
        inputs: prepared films, uint8 (1, H, W, C).
        scale: of a pixel, as the network expects it.
        offset: likewise.

    Returns:
        One entry an operation, the worst first. `LayerError.relative` is the root mean square error
        in steps of the output's quantization; rounding alone gives 0.29.

    Raises:
        ModelError: TensorFlow cannot verify the graph.
    """
    tf = import_tensorflow()
    films = list(inputs)
    verified = to_integers(ranged, verify=True)
    graph = read_graph(verified)
    makers = {number: op for op in graph.operations for number in op.outputs}
    # Each comparison reads the int8 result first and the float one second.
    judged = {
        graph.tensors[op.outputs[0]].name: makers[op.inputs[0]]
        for op in graph.operations
        if op.kind.endswith(VERIFY_KIND)
    }
    # The int8 graph has names of its own; an operation is kept in float by its name in `ranged`.
    source = read_graph(ranged)
    names = {
        second.index: source.tensors[first.outputs[0]].name
        for first, second in _matched(source.operations, source, list(judged.values()), graph)
    }
    try:
        with quiet_native_output():
            debugger = tf.lite.experimental.QuantizationDebugger(
                quant_debug_model_content=verified,
                debug_dataset=lambda: scaled_inputs(films, scale, offset),
            )
            debugger.run()
    except Exception as error:
        raise ModelError(f"TensorFlow cannot verify the int8 network: {error}") from error
    errors = []
    for key, statistics in debugger.layer_statistics.items():
        operation = judged[key]
        if operation.index not in names:
            continue
        step = graph.tensors[operation.outputs[0]].scale[0]
        rms = float(np.sqrt(statistics["mean_squared_error"])) / step
        errors.append(LayerError(names[operation.index], operation.kind, operation.index, rms))
    return sorted(errors, key=lambda error: -error.relative)


def _matched(
    first: Sequence[Operation], first_graph: Graph, second: Sequence[Operation], second_graph: Graph
) -> list[tuple[Operation, Operation]]:
    """Operations of two graphs that stand for one another, by kind and shape in order."""
    kept = [
        [operation for operation in operations if operation.kind not in IGNORED_KINDS]
        for operations in (first, second)
    ]
    keys = [
        [(operation.kind, graph.tensors[operation.outputs[0]].shape) for operation in operations]
        for graph, operations in zip((first_graph, second_graph), kept, strict=True)
    ]
    matcher = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False)
    return [
        (kept[0][block.a + step], kept[1][block.b + step])
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    ]


def _interpreter(network: bytes) -> Any:
    """An interpreter that keeps every tensor, without delegates, from whichever runtime is there."""
    for name in ("ai_edge_litert.interpreter", "tensorflow.lite.python.interpreter"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        with quiet_native_output():
            interpreter = module.Interpreter(
                model_content=network,
                experimental_preserve_all_tensors=True,
                experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            interpreter.allocate_tensors()
        return interpreter
    raise ModelError("layers can be compared with ai-edge-litert or tensorflow only; install one")


def _value(interpreter: Any, graph: Graph, index: int) -> NDArray[np.float64]:
    """A tensor as the numbers it stands for."""
    tensor = graph.tensors[index]
    values = np.asarray(interpreter.get_tensor(index), np.float64)
    if len(tensor.scale) == 1 and tensor.type != "FLOAT32":
        return (values - tensor.zero_point[0]) * tensor.scale[0]
    return values


def worst(errors: Sequence[LayerError], count: int) -> list[LayerError]:
    """The entries with the largest error, worst first."""
    return sorted(errors, key=lambda error: -error.relative)[:count]
