"""The networks this kit trains, by name.

Every network here obeys the same contract, which the converter and the device rely on:

* input: ``(N, H, W, C)`` float32 pixels, 0..255, ``C`` 1 or 3; scaling happens inside the graph;
* output ``evidence``: ``(N, h, w, classes)`` float32, linear. The mean over ``h`` and ``w`` *is* the
  logit of a class, so the map is an exact explanation of the score;
* output ``features``: ``(N, h', w', channels)`` float32, a middle block that, pooled over space, feeds
  the device's out-of-range statistics;
* only operations that a full-integer TFLite interpreter runs without leaving int8: convolutions,
  ReLU6, additions, poolings. No squeeze-and-excite, no hard-swish.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from edge_xray.features import FeaturePooling

BATCH_NORM_EPSILON = 1e-3
"""Epsilon of every batch normalization; the value the EfficientNet-Lite0 weights were trained with."""

PIXEL_CENTRE = 127.0
PIXEL_SCALE = 128.0
"""Pixels enter the network as ``(x - 127) / 128``, the scaling of EfficientNet-Lite0's ImageNet weights."""

LITE0_BLOCKS: tuple[tuple[int, int, int, int, int], ...] = (
    # expansion, kernel, channels, repeats, first stride (Tan & Le 2019, table 1, without
    # squeeze-and-excite as in EfficientNet-Lite)
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
LITE0_STEM_CHANNELS = 32
LITE0_HEAD_CHANNELS = 1280
LITE0_FEATURE_BLOCK = 10
"""Block whose output is ``features``, counted from 0: 112 channels at 1/16 resolution."""

TINY_BLOCKS: tuple[tuple[int, int, int, int, int], ...] = (
    # MobileNetV2 (Sandler et al. 2018, table 2) at width 0.35, channels rounded to multiples of 8
    (1, 3, 8, 1, 1),
    (6, 3, 8, 2, 2),
    (6, 3, 16, 3, 2),
    (6, 3, 24, 4, 2),
    (6, 3, 32, 3, 1),
    (6, 3, 56, 3, 2),
    (6, 3, 112, 1, 1),
)
TINY_STEM_CHANNELS = 16
TINY_HEAD_CHANNELS = 512
"""MobileNetV2 keeps 1,280 here at every width; 512 keeps the int8 file under 0.7 MB."""
TINY_FEATURE_BLOCK = 7
"""24 channels at 1/16 resolution. Trained from nothing, the deeper blocks know no picture but chest films and
take others for them; here, in sixths, they are told apart (docs/design.md)."""

BASELINE_CHANNELS = (32, 64, 128, 128)
BASELINE_DENSE_UNITS = 512


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        input_size: default height and width of the input, in pixels.
        build: ``(height, width, channels, classes, dropout) -> keras.Model`` with the two outputs
            described in the module's docstring.
        pretrained: whether ImageNet weights exist for it (see `edge_xray_trainer.pretrained`).
        feature_pooling: how the output ``features`` is pooled for the out-of-range statistics.
    """

    input_size: int
    build: Callable[[int, int, int, int, float], keras.Model]
    pretrained: bool = False
    feature_pooling: FeaturePooling = "mean"


def _conv_bn(
    x: Any, name: str, channels: int, kernel: int, stride: int = 1, *, activate: bool = True
) -> Any:
    x = layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if activate else x


def _depthwise_bn(x: Any, name: str, kernel: int, stride: int) -> Any:
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_depthwise",
    )(x)
    x = layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{name}_depthwise_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_depthwise_relu6")(x)


def _inverted_residual(
    x: Any, name: str, expansion: int, kernel: int, channels: int, stride: int
) -> Any:
    """Expand, filter by depth, project; add the input where shapes allow (Sandler et al. 2018)."""
    entry = x
    if expansion != 1:
        x = _conv_bn(x, f"{name}_expand", int(entry.shape[-1]) * expansion, 1)
    x = _depthwise_bn(x, name, kernel, stride)
    x = _conv_bn(x, f"{name}_project", channels, 1, activate=False)
    if stride == 1 and int(entry.shape[-1]) == channels:
        x = layers.Add(name=f"{name}_add")([entry, x])
    return x


def _scaled_input(height: int, width: int, channels: int) -> tuple[Any, Any]:
    pixels = keras.Input((height, width, channels), name="pixels")
    scaled = layers.Rescaling(1.0 / PIXEL_SCALE, -PIXEL_CENTRE / PIXEL_SCALE, name="scale")(pixels)
    return pixels, scaled


def _with_evidence_head(
    name: str, pixels: Any, top: Any, middle: Any, classes: int, dropout: float
) -> keras.Model:
    if dropout:
        # Whole channels are dropped, so that the spatial mean of the evidence stays the logit of a
        # network with fewer channels (Tompson et al. 2015).
        top = layers.SpatialDropout2D(dropout, name="head_dropout")(top)
    evidence = layers.Conv2D(classes, 1, kernel_initializer="glorot_uniform", name="evidence")(top)
    features = layers.Activation("linear", name="features")(middle)
    return keras.Model(pixels, {"evidence": evidence, "features": features}, name=name)


def _mobile_network(
    name: str,
    stages: tuple[tuple[int, int, int, int, int], ...],
    stem_channels: int,
    head_channels: int,
    feature_block: int,
) -> Callable[[int, int, int, int, float], keras.Model]:
    def build(height: int, width: int, channels: int, classes: int, dropout: float) -> keras.Model:
        pixels, x = _scaled_input(height, width, channels)
        x = _conv_bn(x, "stem", stem_channels, 3, 2)
        middle = x
        block = 0
        for expansion, kernel, stage_channels, repeats, first_stride in stages:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                x = _inverted_residual(
                    x, f"block{block}", expansion, kernel, stage_channels, stride
                )
                if block == feature_block:
                    middle = x
                block += 1
        top = _conv_bn(x, "head", head_channels, 1)
        return _with_evidence_head(name, pixels, top, middle, classes, dropout)

    return build


def _build_baseline(
    height: int, width: int, channels: int, classes: int, dropout: float
) -> keras.Model:
    """The plain CNN of many notebooks: four conv/pool blocks and a wide "dense" layer.

    The dense layer is a 1x1 convolution before the evidence head, so the network explains itself
    like the others; seen from one position it is the same ``relu(Wx + b)``.
    """
    pixels, x = _scaled_input(height, width, channels)
    middle = x
    for index, width_out in enumerate(BASELINE_CHANNELS):
        x = layers.Conv2D(
            width_out, 3, padding="same", activation="relu", name=f"block{index}_conv"
        )(x)
        x = layers.MaxPooling2D(2, name=f"block{index}_pool")(x)
        if index == len(BASELINE_CHANNELS) - 2:
            middle = x
    x = layers.Conv2D(BASELINE_DENSE_UNITS, 1, activation="relu", name="dense")(x)
    return _with_evidence_head("baseline", pixels, x, middle, classes, dropout)


ARCHITECTURES: dict[str, Architecture] = {
    # EfficientNet-Lite0, 3.4 million parameters.
    "lite0": Architecture(
        224,
        _mobile_network(
            "lite0", LITE0_BLOCKS, LITE0_STEM_CHANNELS, LITE0_HEAD_CHANNELS, LITE0_FEATURE_BLOCK
        ),
        pretrained=True,
    ),
    # MobileNetV2 of width 0.35, for a Pi Zero 2.
    "tiny": Architecture(
        160,
        _mobile_network(
            "tiny", TINY_BLOCKS, TINY_STEM_CHANNELS, TINY_HEAD_CHANNELS, TINY_FEATURE_BLOCK
        ),
        feature_pooling="sixths",
    ),
    "baseline": Architecture(160, _build_baseline),
}
"""By what ``edge-xray train --architecture`` takes."""
