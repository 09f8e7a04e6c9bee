"""Batch normalization while a network learns: which layers are frozen, with which statistics, and how it is run."""

from __future__ import annotations

from types import MethodType
from typing import Any

import keras

from edge_xray_trainer.batches import AugmentedBatches
from edge_xray_trainer.networks import architecture_of
from edge_xray_trainer.options import TrainingOptions

ESTIMATION_BATCHES = 40
"""Batches over which statistics are estimated at most."""


def norms_of(network: keras.Model) -> list[Any]:
    """The batch normalizations of a network, in its order."""
    return [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]


def frozen_and_live(network: keras.Model, options: TrainingOptions) -> tuple[list[Any], list[Any]]:
    """The normalizations that run in inference mode throughout, scale and shift included, and those that learn.

    Args:
        network: as it was built.
        options: `norm`; by ``auto`` they are frozen in a network that begins with pretrained weights.
    """
    pretrained = architecture_of(options).pretrained and options.pretrained
    norms = norms_of(network)
    frozen = options.norm == "frozen" or (options.norm == "auto" and pretrained)
    return (norms, []) if frozen else ([], norms)


def run_fused(norms: list[Any]) -> None:
    """Have tensorflow's one operation do what Keras 3 writes as nine: the same sums in less time.

    The layers stay what they are, in files and in memory; other backends are left as they are.

    Args:
        norms: float32, over the last of four axes; changed in place.
    """
    if keras.backend.backend() == "tensorflow":
        for layer in norms:
            layer.call = MethodType(_fused, layer)


def _fused(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ARG001
    """`keras.layers.BatchNormalization.call`; the moving variance is of n - 1, not of n."""
    import tensorflow as tf

    learning = bool(training) and layer.trainable
    answer = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(layer.gamma),
        offset=tf.convert_to_tensor(layer.beta),
        mean=tf.convert_to_tensor([] if learning else layer.moving_mean, tf.float32),
        variance=tf.convert_to_tensor([] if learning else layer.moving_variance, tf.float32),
        epsilon=layer.epsilon,
        is_training=learning,
    )
    if learning:
        kept = layer.momentum
        layer.moving_mean.assign(layer.moving_mean * kept + answer.batch_mean * (1.0 - kept))
        layer.moving_variance.assign(
            layer.moving_variance * kept + answer.batch_variance * (1.0 - kept)
        )
    return answer.y


def estimate_statistics(network: keras.Model, norms: list[Any], batches: AugmentedBatches) -> None:
    """Set the statistics of normalizations to those of the films, as the mean over batches by their films.

    Averaged weights need this where they are not frozen: the moving statistics are of other weights.

    Args:
        network: changed in place.
        norms: of its layers; nothing is done without any.
        batches: `ESTIMATION_BATCHES` of them are shown to it.
    """
    momenta = [layer.momentum for layer in norms]
    seen = 0
    for index in range(min(ESTIMATION_BATCHES, len(batches)) if norms else 0):
        pixels = batches[index][0]
        for layer in norms:
            # The share of the films so far makes the moving average their mean, also of a last, smaller batch.
            layer.momentum = seen / (seen + len(pixels))
        network(pixels, training=True)
        seen += len(pixels)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
