"""Packing: a network, its metadata, and the answers it gave when it was packed, in one file."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_xray.classifier import GOLDEN_INPUTS, Classifier, golden_input
from edge_xray.metadata import GoldenVectors, ModelMetadata, pack_model

FLOAT_TOLERANCE = 2e-3
"""Golden tolerance of float models, relative to the largest golden logit (or 1): float32 sums in
another order differ by 1e-6 a layer, float16 weights widened elsewhere by up to 1e-3."""

INTEGER_TOLERANCE = 0.1
"""The same for models with integer arithmetic: kernels may round ties either way, one step a layer.
Between ai-edge-litert and tflite-runtime `lite0` differs by less than a tenth of this."""


def pack(network: bytes, metadata: ModelMetadata) -> bytes:
    """Pack a network with its metadata and golden answers, which the device's own classifier gives.

    Args:
        network: the flatbuffer.
        metadata: the record; its golden answers and hash are set here.

    Returns:
        The packed model file.

    Raises:
        ModelError: the network's tensors contradict the metadata.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(pack_model(network, replace(metadata, golden=None)))
        classifier = Classifier(path, check=False)
        logits = np.array(
            [
                classifier.classify(golden_input(index, metadata.input)).logits
                for index in range(GOLDEN_INPUTS)
            ]
        )
    relative = (
        INTEGER_TOLERANCE if metadata.quantization in ("int8", "dynamic") else FLOAT_TOLERANCE
    )
    tolerance = relative * max(1.0, float(np.abs(logits).max()))
    golden = GoldenVectors(tuple(tuple(float(v) for v in row) for row in logits), tolerance)
    return pack_model(network, replace(metadata, golden=golden))
