"""What a ``.tflite`` file is made of: tensors and operations, read from the flatbuffer itself.

The schema comes with the LiteRT runtime (`ai_edge_litert.schema_py_generated`), so no TensorFlow is
needed to look into a model.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from edge_xray.errors import ModelError
from edge_xray.model_file import split_packed

FLATBUFFER_IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every TFLite flatbuffer (schema.fbs, ``file_identifier``)."""

INTEGER_TYPES = frozenset({"INT4", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"})


@dataclass(frozen=True)
class Tensor:
    """One tensor of the graph.

    Attributes:
        index: its number in the subgraph, as the interpreter numbers it.
        name: as the converter wrote it.
        type: ``FLOAT32``, ``INT8``, ...
        shape: of the tensor.
        scale: of the affine quantization; empty if not quantized, one value if per tensor.
        zero_point: likewise.
        constant: whether it is stored in the file (a weight).
    """

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    constant: bool


@dataclass(frozen=True)
class Operation:
    """One operation of the graph.

    Attributes:
        index: its place in the order of execution.
        kind: ``CONV_2D``, ``ADD``, ...
        inputs: tensor numbers; -1 stands for an optional input that is left out.
        outputs: tensor numbers.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """The main subgraph of a ``.tflite`` file.

    Attributes:
        tensors: all of them, by number.
        operations: in the order of execution.
        inputs: numbers of the input tensors.
        outputs: numbers of the output tensors.
    """

    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def kinds(self) -> dict[str, int]:
        """How many operations there are of each kind, most frequent first."""
        return dict(Counter(operation.kind for operation in self.operations).most_common())

    def non_integer(self) -> list[Operation]:
        """The operations that read or write anything but integers."""
        return [
            operation
            for operation in self.operations
            if any(
                self.tensors[number].type not in INTEGER_TYPES
                for number in (*operation.inputs, *operation.outputs)
                if number >= 0
            )
        ]

    def name_of(self, operation: Operation) -> str:
        """What the operation is called in messages: its kind and the name of its first output."""
        return f"{operation.kind} {short_name(self.tensors[operation.outputs[0]].name)}"


def short_name(name: str) -> str:
    """The part of a tensor's name that tells the layer; fused layers join theirs with semicolons."""
    parts = [part.rstrip("/") for part in name.split(";")]
    return min((part for part in parts if part), key=len, default=name)


@functools.cache
def schema() -> Any:
    """The generated schema module of whichever runtime is installed.

    Raises:
        ModelError: neither LiteRT nor TensorFlow is installed.
    """
    for name in (
        "ai_edge_litert.schema_py_generated",
        "tensorflow.lite.python.schema_py_generated",
    ):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ModelError(
        "looking into a .tflite file needs ai-edge-litert or tensorflow, found neither. "
        'In the folder of edge-xray, run: pip install ".[convert]"'
    )


@functools.cache
def _names(enumeration: str) -> dict[int, str]:
    members = vars(getattr(schema(), enumeration))
    return {value: name for name, value in members.items() if isinstance(value, int)}


def read_object(data: bytes, source: str = "in memory") -> Any:
    """The flatbuffer as the schema's mutable objects (``ModelT``).

    Args:
        data: the file's bytes, packed or not.
        source: its name, for messages.

    Raises:
        ModelError: it is no TFLite flatbuffer, or cut short.
    """
    network, _ = split_packed(data)
    if network[4:8] != FLATBUFFER_IDENTIFIER:
        raise ModelError(f"model {source}: expected a .tflite file, this is none (no TFL3 mark)")
    try:
        model = schema().ModelT.InitFromObj(schema().Model.GetRootAs(network))
        if not model.subgraphs or not model.operatorCodes:
            raise ValueError("no graph in it")
    except Exception as error:
        # A cut flatbuffer makes the generated reader throw struct.error, IndexError, TypeError, ...
        raise ModelError(
            f"model {source}: the .tflite file is damaged or cut short ({type(error).__name__}); "
            "copy it again"
        ) from error
    return model


def read_graph(data: bytes, source: str = "in memory") -> Graph:
    """Read the main subgraph of a ``.tflite`` file.

    Args:
        data: the file's bytes, packed or not.
        source: its name, for messages.

    Raises:
        ModelError: it is no TFLite flatbuffer, or cut short.
    """
    model = read_object(data, source)
    kinds, types = _names("BuiltinOperator"), _names("TensorType")
    subgraph = model.subgraphs[0]
    tensors = []
    for index, tensor in enumerate(subgraph.tensors):
        quantization = tensor.quantization
        buffer = model.buffers[tensor.buffer]
        tensors.append(
            Tensor(
                index,
                (tensor.name or b"").decode("utf-8", "replace"),
                types.get(tensor.type, str(tensor.type)),
                _values(tensor.shape),
                _values(getattr(quantization, "scale", None)),
                _values(getattr(quantization, "zeroPoint", None)),
                buffer.data is not None and len(buffer.data) > 0,
            )
        )
    operations = []
    for index, operation in enumerate(subgraph.operators):
        code = model.operatorCodes[operation.opcodeIndex]
        builtin = builtin_of(code)
        kind = kinds.get(builtin, str(builtin))
        if kind == "CUSTOM" and code.customCode:
            kind = f"CUSTOM {code.customCode.decode('utf-8', 'replace')}"
        operations.append(
            Operation(
                index,
                kind,
                _values(operation.inputs),
                _values(operation.outputs),
            )
        )
    return Graph(
        tuple(tensors),
        tuple(operations),
        _values(subgraph.inputs),
        _values(subgraph.outputs),
    )


def builtin_of(code: Any) -> int:
    """Number of a kind of operation; files of before 2020 have it in the old field alone, and 0 in the new one."""
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def _values(array: Any) -> tuple[Any, ...]:
    """The numbers of an array of the schema, which is None where a file has none."""
    return () if array is None else tuple(array.tolist())
