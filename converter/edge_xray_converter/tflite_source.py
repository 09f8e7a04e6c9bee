"""Networks from float ``.tflite`` files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_xray.errors import ModelError
from edge_xray.model_file import split_packed
from edge_xray_converter.flatbuffer import Graph, read_graph, read_object
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
from edge_xray_converter.surgery import append_sigmoid, put_in_scaling, take_out_scaling


@dataclass(frozen=True, eq=False)
class FlatbufferExporter:
    """Exports a float flatbuffer as it is, but for its pixel scaling.

    Attributes:
        network: without pixel scaling.
        scale: of a pixel, before it.
        offset: likewise.
    """

    network: bytes
    scale: float
    offset: float

    def core(self) -> bytes:
        """float32, taking pixels already in the network's own range."""
        return self.network

    def whole(self, flavour: FloatFlavour) -> bytes:
        """Taking pixels 0..255, scaled in the graph.

        Raises:
            ModelError: `flavour` is not ``float32``: weights are compressed from the trained model.
        """
        if flavour != "float32":
            raise ModelError(
                f"from a .tflite file float32 and int8 can be made, got {flavour}; convert the model "
                "it was made from"
            )
        if (self.scale, self.offset) == (1.0, 0.0):
            return self.network
        return put_in_scaling(self.network, self.scale, self.offset)


def network_from_tflite(data: bytes, source: str, pixel_range: PixelRange) -> Network:
    """Make a float ``.tflite`` file ready for export.

    Args:
        data: the file, packed or not.
        source: its name, for messages.
        pixel_range: what range the network expects.

    Raises:
        ModelError: it is no ``.tflite``, not float, has several inputs, or is no classifier.
    """
    network, _ = split_packed(data)
    graph = read_graph(network, source)
    if len(graph.inputs) != 1:
        raise ModelError(
            f"model {source}: expected one input, a picture; it has {len(graph.inputs)}"
        )
    if any(tensor.type in ("INT8", "UINT8", "FLOAT16") for tensor in graph.tensors):
        raise ModelError(
            f"model {source}: is quantized already; expected float32, from which int8 can be made"
        )
    shape = picture_shape(graph.tensors[graph.inputs[0]].shape, source)
    core, factor, summand = take_out_scaling(network)
    outputs = _outputs(graph, core, source)
    head = head_of(core, source)
    if EVIDENCE in outputs and head != "logits":
        raise ModelError(
            f"model {source}: its output {outputs[EVIDENCE]} is a {head}, and a map of evidence holds "
            "logits; flatten it to (N, classes) before the file is made, or convert the model it was "
            "made from"
        )
    if SCORES in outputs and head == "logits" and outputs[SCORES][-1] == 1:
        core, head = append_sigmoid(core), "sigmoid"
    scale = pixel_range.scale * factor
    offset = pixel_range.low * factor + summand
    exporter = FlatbufferExporter(core, scale, offset)
    return checked(Network(exporter, *shape, scale, offset, outputs, head), source)


def _outputs(graph: Graph, network: bytes, source: str) -> dict[str, tuple[int, ...]]:
    """The outputs by the names in the signature, or by shape where there is no signature."""
    shapes = {index: graph.tensors[index].shape for index in graph.outputs}
    if len(shapes) == 1:
        (shape,) = shapes.values()
        return {EVIDENCE if len(shape) == 4 else SCORES: shape}
    names: dict[str, int] = {}
    for signature in read_object(network, source).signatureDefs or []:
        names |= {entry.name.decode(): int(entry.tensorIndex) for entry in signature.outputs}
    if len(shapes) == 2 and {EVIDENCE, FEATURES} <= set(names):
        return {name: shapes[names[name]] for name in (EVIDENCE, FEATURES)}
    raise ModelError(
        f"model {source}: expected one output, the classes, or evidence and features; it has "
        f"{[re.sub(r'[^ -~]', '?', graph.tensors[index].name) for index in graph.outputs]}"
    )
