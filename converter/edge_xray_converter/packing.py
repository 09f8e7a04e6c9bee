"""Packing: a network, its metadata, and the answers it gave when it was packed, in one file."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.classifier import Classifier
from edge_xray.errors import ModelError
from edge_xray.metadata import GoldenVectors, ModelMetadata
from edge_xray.model_file import pack_model
from edge_xray_converter.flatbuffer import read_graph

FLOAT_TOLERANCE = 2e-3
"""Golden tolerance of float models, relative to the largest golden logit (or 1): float32 sums in
another order differ by 1e-6 a layer, float16 weights widened elsewhere by up to 1e-3."""

DYNAMIC_TOLERANCE = 0.1
"""The same for int8 weights with float arithmetic, which round each layer's input anew."""

INTEGER_STEPS = 5
"""Golden tolerance of int8 models in steps of the output. Kernels round ties and scale in their own
ways: between ai-edge-litert 2.3 and tflite-runtime 2.14 `lite0` was seen to differ by 1.9 steps."""

PROBABILITY_TOLERANCE = 12.0
"""The same where an int8 output is a probability: one step near 0 or 1 is worth 11 in its logit."""


def pack(network: bytes, metadata: ModelMetadata) -> bytes:
    """Pack a network with its metadata and golden answers, which the device's own classifier gives.

    Args:
        network: the flatbuffer.
        metadata: the record; its golden answers and hash are set here.

    Returns:
        The packed model file.

    Raises:
        ModelError: the network's tensors contradict the metadata, or it gives no numbers.
    """
    logits = golden_logits(network, metadata)
    golden = GoldenVectors(
        tuple(tuple(float(value) for value in row) for row in logits),
        _tolerance(network, metadata, float(np.abs(logits).max())),
    )
    return pack_model(network, replace(metadata, golden=golden))


def golden_logits(network: bytes, metadata: ModelMetadata) -> NDArray[np.float64]:
    """What a network says of the golden inputs: (`edge_xray.classifier.GOLDEN_INPUTS`, classes).

    Args:
        network: the flatbuffer.
        metadata: its record.

    Raises:
        ModelError: the network's tensors contradict the metadata, or it gives no numbers.
    """
    logits = open_network(network, metadata).golden_answers()
    if not np.isfinite(logits).all():
        raise ModelError(
            f"model {metadata.name}: gives no numbers for the drawn pictures that a conversion is tried with: its "
            "weights or its arithmetic broke down; train it again, or name another model"
        )
    return logits


def open_network(network: bytes, metadata: ModelMetadata) -> Classifier:
    """The device's classifier of a network that is in no file yet, without golden answers.

    Args:
        network: the flatbuffer.
        metadata: its record.

    Raises:
        ModelError: the network's tensors contradict the metadata.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(pack_model(network, replace(metadata, golden=None)))
        return Classifier(path, check=False)


def _tolerance(network: bytes, metadata: ModelMetadata, largest: float) -> float:
    """How far a logit may be off on another machine."""
    graph = read_graph(network)
    rank = 4 if metadata.evidence_map else 2
    outputs = [graph.tensors[number] for number in graph.outputs]
    scores = next(
        (t for t in outputs if len(t.shape) == rank and t.shape[-1] <= len(metadata.labels)),
        outputs[0],
    )
    if scores.scale and scores.type != "FLOAT32":
        probability = not metadata.evidence_map and metadata.output != "logits"
        return PROBABILITY_TOLERANCE if probability else INTEGER_STEPS * scores.scale[0]
    relative = DYNAMIC_TOLERANCE if metadata.quantization == "dynamic" else FLOAT_TOLERANCE
    return relative * max(1.0, largest)
