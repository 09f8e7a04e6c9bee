"""A trained network from wherever it comes, ready for export.

Two rewrites are made on the way, both exact in float and both there for the sake of int8:

* a scaling of the pixels at the network's entry is taken out of the graph and given back as
  `Network.scale` and `Network.offset`: int8 puts it into the quantization of its input, so a pixel
  enters without any rounding;
* a head ``GlobalAveragePooling2D -> Dense`` is turned into ``1x1 convolution -> mean``, which is the
  same sum in another order. The network then gives a map of evidence, and many int8 values are
  averaged where there was one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from edge_xray.errors import ModelError
from edge_xray.metadata import MOST_LABELS
from edge_xray_converter.flatbuffer import read_graph

EVIDENCE = "evidence"
FEATURES = "features"
SCORES = "scores"
"""Names of the exported outputs; `SCORES` stands alone, for a network without an evidence map."""

Head = Literal["logits", "softmax", "sigmoid"]
FloatFlavour = Literal["float32", "float16", "dynamic"]
Flavour = Literal["float32", "float16", "dynamic", "int8"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
"""What a network is exported to, with a static batch of 1 and pixels 0..255 in.

``float32``, ``float16`` (weights) and ``dynamic`` (int8 weights, float arithmetic) take float32 pixels and scale them
in the graph. ``int8`` takes uint8 pixels: the scaling is in the quantization of the input, so the first convolution
reads the pixels themselves."""

PIXEL_MAX = 255.0

HEADS: dict[str, Head] = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}
"""Operations of TFLite that give probabilities."""

MIXING = frozenset(
    [
        "ADD",
        "ADD_N",
        "CONCATENATION",
        "DIV",
        "EXPAND_DIMS",
        "GATHER",
        "MAXIMUM",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "RESHAPE",
        "SLICE",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TRANSPOSE",
        "UNPACK",
    ]
)
"""Operations that make of probabilities alone something that is no logit: means, parts, one less them."""


@dataclass(frozen=True)
class PixelRange:
    """The range that a network expects its pixels in.

    Attributes:
        low: what a black pixel (0) becomes.
        high: what a white pixel (255) becomes.
    """

    low: float = 0.0
    high: float = PIXEL_MAX

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ModelError(
                f"expected an input range LOW..HIGH such as -1..1, got {self.low}..{self.high}"
            )

    @property
    def scale(self) -> float:
        """Factor of a pixel 0..255."""
        return (self.high - self.low) / PIXEL_MAX

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.low}..{self.high}"

    @classmethod
    def parse(cls, text: str) -> PixelRange:
        """Read ``0..1``, ``-1..1`` or ``0..255``.

        Raises:
            ModelError: it is none such.
        """
        low, _, high = text.partition("..")
        try:
            return cls(float(low), float(high))
        except ValueError as error:
            raise ModelError(
                f"expected an input range like 0..255 or -1..1, got {text!r}"
            ) from error


class Exporter(Protocol):
    """Makes float flatbuffers of one network."""

    def core(self) -> bytes:
        """float32, taking pixels already in the network's own range."""

    def whole(self, flavour: FloatFlavour) -> bytes:
        """Taking pixels 0..255, scaled in the graph."""


@dataclass(frozen=True, eq=False)
class Network:
    """A float network ready for export.

    Attributes:
        exporter: makes its flatbuffers.
        height: rows of the input.
        width: columns of the input.
        channels: 1 or 3.
        scale: the network's own pixel value is ``pixel * scale + offset``.
        offset: see `scale`.
        outputs: shape of each output, batch 1 included.
        head: what the output is, where it is no evidence map.
    """

    exporter: Exporter
    height: int
    width: int
    channels: int
    scale: float
    offset: float
    outputs: Mapping[str, tuple[int, ...]]
    head: Head

    @property
    def evidence_map(self) -> bool:
        """Whether the network gives a map whose mean is the logits."""
        return EVIDENCE in self.outputs

    @property
    def classes(self) -> int:
        """How many classes it tells apart; one sigmoid tells two."""
        units = self.outputs[EVIDENCE if self.evidence_map else SCORES][-1]
        return 2 if units == 1 else units


def with_name(path: Path) -> Path:
    """The path of a network with a name to call it by, which ``.`` and ``..`` have not."""
    return path if path.name not in ("", "..") else path.resolve()


def load_network(path: Path, pixel_range: PixelRange | None = None) -> Network:
    """Read a ``.keras`` (or ``.h5``) file, a SavedModel folder or a float ``.tflite`` file.

    Args:
        path: the model.
        pixel_range: what range the network expects; None: 0..255, as this kit's networks do.

    Returns:
        The network, with the two rewrites of this module made where they fit.

    Raises:
        ModelError: no such file, not loadable, or not a classifier of pictures with one input.
    """
    if not path.exists():
        raise ModelError(f"model {path}: no such file; name a .keras file, SavedModel or .tflite")
    pixel_range = pixel_range or PixelRange()
    if path.suffix == ".tflite":
        from edge_xray_converter.tflite_source import network_from_tflite

        return network_from_tflite(path.read_bytes(), str(path), pixel_range)
    from edge_xray_converter import tensorflow_source

    if path.is_dir():
        return tensorflow_source.network_from_saved_model(path, pixel_range)
    return tensorflow_source.network_from_keras_file(path, pixel_range)


def picture_shape(shape: tuple[int | None, ...], source: str) -> tuple[int, int, int]:
    """Height, width and channels of an input (N, H, W, C).

    Raises:
        ModelError: it is no picture of a fixed size with 1 or 3 channels.
    """
    if len(shape) != 4 or any(side is None or side < 1 for side in shape[1:]):
        raise ModelError(
            f"model {source}: expected pictures (N, height, width, 1 or 3) of a fixed size as input, "
            f"got {shape}"
        )
    if shape[3] not in (1, 3):
        first = shape[1] in (1, 3)
        raise ModelError(
            f"model {source}: expected pictures (N, height, width, channels) of 1 or 3 channels, got {shape[3]}"
            + "; its channels come first: save it with channels last" * first
        )
    return int(shape[1] or 0), int(shape[2] or 0), int(shape[3] or 0)


def checked(network: Network, source: str) -> Network:
    """Check that the outputs are those of a classifier of 2 to `MOST_LABELS` classes.

    Raises:
        ModelError: they are not.
    """
    shape = network.outputs[EVIDENCE if network.evidence_map else SCORES]
    rank = 4 if network.evidence_map else 2
    if len(shape) != rank or any(not side or side < 1 for side in shape) or shape[0] != 1:
        raise ModelError(
            f"model {source}: expected an output (N, classes), or an evidence map "
            f"(N, h, w, classes) of a fixed size; got {shape}"
        )
    if network.classes > MOST_LABELS:
        raise ModelError(
            f"model {source}: expected 2 to {MOST_LABELS} classes, got {network.classes}"
        )
    if not network.evidence_map and network.head == "sigmoid" and shape[-1] != 1:
        raise ModelError(
            f"model {source}: its {shape[-1]} sigmoid outputs can all be true at once; expected one "
            "sigmoid, or a softmax over the classes"
        )
    return network


def head_of(network: bytes, source: str) -> Head:
    """What the only output of a float graph is, by the operation that computes it.

    Args:
        network: the flatbuffer.
        source: its name, for messages.

    Raises:
        ModelError: it is reckoned from probabilities, as the mean of several networks' answers is: neither
            logits nor known to be a probability.
    """
    graph = read_graph(network)
    makers = {number: operation for operation in graph.operations for number in operation.outputs}
    wanted = graph.outputs[0]
    while wanted in makers and makers[wanted].kind == "RESHAPE":
        wanted = makers[wanted].inputs[0]
    if wanted in makers and makers[wanted].kind in HEADS:
        return HEADS[makers[wanted].kind]

    def of_probabilities(number: int) -> bool:
        maker = makers.get(number)
        if maker is None or maker.kind not in (*HEADS, *MIXING):
            return False
        given = [own for own in maker.inputs if own >= 0 and not graph.tensors[own].constant]
        return maker.kind in HEADS or (bool(given) and all(map(of_probabilities, given)))

    if of_probabilities(wanted):
        raise ModelError(
            f"model {source}: reckons its output from probabilities ({makers[wanted].kind} behind a softmax or "
            "sigmoid), as a mean of several networks does; expected logits, one softmax over the classes or one "
            "sigmoid at the end: let it reckon with the logits, or convert one of the networks"
        )
    return "logits"
