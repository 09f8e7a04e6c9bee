"""The network that a run trains: from nothing, from ImageNet, or from another run."""

from __future__ import annotations

from pathlib import Path

import keras

from edge_xray.errors import UsageError
from edge_xray.metadata import ModelMetadata
from edge_xray_trainer.architectures import ARCHITECTURES, Architecture
from edge_xray_trainer.distillation import source_metadata
from edge_xray_trainer.keras_file import load_keras
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.pretrained import load_imagenet_weights


def logits_model(network: keras.Model) -> keras.Model:
    """The network with its evidence averaged to logits: ``(N, H, W, C)`` -> ``(N, classes)``."""
    pooled = keras.layers.GlobalAveragePooling2D(name="logits", dtype="float32")(
        network.output["evidence"]
    )
    return keras.Model(network.input, pooled, name=network.name)


def build_network(options: TrainingOptions, classes: int, *, blank: bool = False) -> keras.Model:
    """Build the network of the options, with pretrained weights if asked for.

    Args:
        options: architecture, size, channels, dropout, seed.
        classes: how many.
        blank: leave pretrained weights out, because other weights will be loaded.

    Raises:
        UsageError: no such architecture.
        MissingExtraError: the pretrained weights are not installed.
    """
    architecture = architecture_of(options)
    size = options.input_size or architecture.input_size
    keras.utils.set_random_seed(options.seed)
    network = architecture.build(size, size, options.channels, classes, options.dropout)
    if architecture.pretrained and options.pretrained and not blank:
        load_imagenet_weights(network)
    return network


def load_initial_weights(network: keras.Model, path: Path, names: tuple[str, ...]) -> ModelMetadata:
    """Copy the weights of a finished run into a network of the same shape and labels.

    Returns:
        What the finished run's model says of itself.

    Raises:
        UsageError: other labels, or weights of another shape.
        ModelError: no ``.keras`` file of this kit, or a damaged one.
    """
    metadata = source_metadata("initial", path, names)
    weights = load_keras(path).get_weights()
    try:
        network.set_weights(weights)
    except ValueError as error:
        raise UsageError(
            f"{path}: expected a model.keras of architecture {network.name} with the same labels and input "
            f"({str(error).splitlines()[0]})"
        ) from error
    return metadata


def architecture_of(options: TrainingOptions) -> Architecture:
    """Look the architecture up.

    Raises:
        UsageError: no such architecture; the message lists those there are.
    """
    try:
        return ARCHITECTURES[options.architecture]
    except KeyError:
        raise UsageError(
            f"unknown architecture {options.architecture!r}; expected one of {sorted(ARCHITECTURES)}"
        ) from None
