"""Which operations of a model a delegate (such as XNNPACK) runs on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from edge_xray._runtimes import choose_runtime
from edge_xray.model_file import split_packed
from edge_xray_converter.flatbuffer import Graph, read_graph

DELEGATE_KIND = "DELEGATE"


@dataclass(frozen=True)
class Delegation:
    """What a delegate took over.

    Attributes:
        partitions: how many pieces of the graph; each costs a change of hands.
        delegated: how many operations are in them.
        left: the others, by kind and name.
    """

    partitions: int
    delegated: int
    left: tuple[str, ...]


def delegation(
    data: bytes, runtime: str | None = None, *, delegate: bool = True
) -> Delegation | None:
    """Find out what is delegated, by loading the model.

    Args:
        data: the model file.
        runtime: as for `edge_xray.classifier.Classifier`.
        delegate: whether the model allows it.

    Returns:
        None where the runtime does not tell.
    """
    network, _ = split_packed(data)
    graph = read_graph(network)
    interpreter = choose_runtime(runtime).load(network, 1, delegate=delegate)
    # The only way to see the plan; it is not public, so its absence is an answer too.
    details = getattr(interpreter, "_get_ops_details", None)
    if details is None:
        return None
    pieces = [
        (set(map(int, node["inputs"])), list(map(int, node["outputs"])))
        for node in details()
        if DELEGATE_KIND in node["op_name"].upper()
    ]
    covered: set[int] = set()
    for inputs, outputs in pieces:
        covered |= _between(graph, inputs, outputs)
    return Delegation(
        len(pieces),
        len(covered),
        tuple(graph.name_of(op) for op in graph.operations if op.index not in covered),
    )


def _between(graph: Graph, inputs: set[int], outputs: list[int]) -> set[int]:
    """Numbers of the operations that lead from some tensors to others."""
    makers = {tensor: operation for operation in graph.operations for tensor in operation.outputs}
    found: set[int] = set()
    pending = list(outputs)
    while pending:
        operation = makers.get(pending.pop())
        if operation is None or operation.index in found:
            continue
        found.add(operation.index)
        pending += [tensor for tensor in operation.inputs if tensor not in inputs]
    return found
