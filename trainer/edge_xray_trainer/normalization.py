"""Batch normalization while a network learns: which layers are frozen, and with which statistics."""

from __future__ import annotations

from typing import Any

import keras

from edge_xray_trainer.batches import AugmentedBatches

ESTIMATION_BATCHES = 40
"""Batches over which statistics are estimated at most."""


def norms_of(network: keras.Model) -> list[Any]:
    """The batch normalizations of a network, in its order."""
    return [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]


def frozen_norms(network: keras.Model, norm: str, pretrained: bool) -> list[Any]:
    """Those that run in inference mode throughout, scale and shift included.

    Args:
        network: not frozen yet.
        norm: ``frozen``, ``live``, or ``auto``: frozen in a network that begins with pretrained weights.
        pretrained: whether it does.
    """
    if norm == "live" or (norm == "auto" and not pretrained):
        return []
    return norms_of(network)


def estimate_statistics(network: keras.Model, norms: list[Any], batches: AugmentedBatches) -> None:
    """Set the statistics of normalizations to those of the films, as the plain mean of batches.

    Averaged weights need this where they are not frozen: the moving statistics are of other weights.

    Args:
        network: changed in place.
        norms: of its layers; nothing is done without any.
        batches: `ESTIMATION_BATCHES` of them are shown to it.
    """
    momenta = [layer.momentum for layer in norms]
    for index in range(min(ESTIMATION_BATCHES, len(batches)) if norms else 0):
        for layer in norms:
            # A momentum of i / (i + 1) makes the moving average the plain mean so far.
            layer.momentum = index / (index + 1)
        network(batches[index][0], training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
