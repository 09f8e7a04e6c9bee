"""The network on the device: load, check, score one prepared film."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_xray._runtimes import Runtime, choose_runtime
from edge_xray.calibration import probabilities, to_logits
from edge_xray.decision import p_finding
from edge_xray.errors import ModelError
from edge_xray.features import POOLED_PARTS, FeaturePooling, pool_features
from edge_xray.input_spec import InputSpec
from edge_xray.metadata import ModelMetadata
from edge_xray.model_file import check_seal, parse_metadata, split_packed
from edge_xray.shipped import ModelFile, read_model

GOLDEN_INPUTS: Final = 4
"""How many made films a packed model carries the answers to; scored at every start."""

GREY_LEVELS: Final = 256


@dataclass(frozen=True, eq=False)
class Scores:
    """What the network says of one film.

    Attributes:
        logits: float64, (classes,), before calibration.
        probabilities: float64, (classes,), calibrated, adding up to 1.
        p_finding: sum of the probabilities of the positive classes, 0..1.
        evidence: float32, (h, w, classes), whose mean over space is the logits; None if the model
            has no evidence map.
        features: float32, (c,), middle features as `edge_xray.features.pool_features` gives them; None if
            the model has none.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    p_finding: float
    evidence: NDArray[np.float32] | None
    features: NDArray[np.float32] | None


def golden_input(index: int, spec: InputSpec) -> NDArray[np.uint8]:
    """A made film, drawn with integers only, so that every machine draws the same pixels.

    Args:
        index: 0..`GOLDEN_INPUTS` - 1: a ramp, two dark lungs, one of them with a bright focus, noise.
        spec: the network's input.

    Returns:
        uint8, (1, H, W, C), 0..255; all channels equal.

    Raises:
        ValueError: there is no such input.
    """
    if not 0 <= index < GOLDEN_INPUTS:
        raise ValueError(f"golden input must be 0..{GOLDEN_INPUTS - 1}, got {index}")
    y = (np.arange(spec.height, dtype=np.int64) * GREY_LEVELS // spec.height)[:, None]
    x = (np.arange(spec.width, dtype=np.int64) * GREY_LEVELS // spec.width)[None, :]
    if index == 0:
        grey = (2 * x + y) // 3
    elif index == 3:
        # Knuth's multiplicative hash of the position (TAOCP 3, 6.4), its top 8 of 32 bits.
        grey = ((x * 257 + y) * 2654435761 % 2**32) >> 24
    else:
        left = _disc(x, y, 80, 120)
        right = _disc(x, y, 176, 120)
        grey = 170 - (left + right) // 2
        if index == 2:
            grey = grey + _disc(4 * x - 3 * 80, 4 * y - 3 * 150, 80, 150) * 3 // 4
    pixels = np.clip(grey + np.zeros_like(x + y), 0, 255).astype(np.uint8)
    return np.repeat(pixels[None, :, :, None], spec.channels, axis=3)


def _disc(x: NDArray[np.int64], y: NDArray[np.int64], x0: int, y0: int) -> NDArray[np.int64]:
    """A soft ellipse of height 240 about a centre, 0 outside it; coordinates in 1/256 of a side."""
    disc: NDArray[np.int64] = np.maximum(0, 240 - (3 * (x - x0) ** 2 + (y - y0) ** 2) // 32)
    return disc


@dataclass(frozen=True, eq=False)
class _Output:
    """One output tensor: where it is and how its integers become numbers."""

    index: int
    scale: float
    zero_point: int

    def read(self, interpreter: Any) -> NDArray[np.float32]:
        values = interpreter.get_tensor(self.index)
        if values.dtype == np.float32:
            return np.asarray(values[0], np.float32)
        steps = values[0].astype(np.float32) - np.float32(self.zero_point)
        return np.asarray(steps * np.float32(self.scale), np.float32)


class Classifier:
    """One network with one interpreter; not for two threads at once, see `twin`.

    Attributes:
        metadata: what the model file says of itself.
        sha256: of the whole model file, as 64 hexadecimal digits.
        runtime: name and version of the interpreter's library.
        source: the model's file or name, as it was asked for.
    """

    def __init__(
        self,
        source: Path | str | None = None,
        *,
        threads: int = 1,
        runtime: str | None = None,
        check: bool = True,
    ) -> None:
        """Read, check and load a model.

        Args:
            source: a packed ``.tflite`` file or the name of a shipped model; None: the default one.
            threads: threads of the interpreter.
            runtime: ``ai-edge-litert``, ``tflite-runtime`` or ``tensorflow``; None: the first found.
            check: score the golden inputs and compare; the file's hashes are checked in any case.

        Raises:
            ModelError: missing, damaged, not packed, or its tensors contradict its metadata.
            UsageError: the runtime is not installed.
        """
        model = read_model(source)
        self._network, metadata = open_model(model)
        self._start(model, metadata, choose_runtime(runtime), threads)
        if check:
            self.check_golden()

    def _start(
        self, model: ModelFile, metadata: ModelMetadata, runtime: Runtime, threads: int
    ) -> None:
        self.metadata = metadata
        self.sha256 = model.sha256
        self.source = model.source
        self.runtime = str(runtime)
        self._model = model
        self._runtime = runtime
        self._threads = threads
        self._pooling: FeaturePooling = metadata.features.pooling if metadata.features else "mean"
        self._interpreter: Any = runtime.load(self._network, threads, delegate=metadata.delegate)
        self._input, self._levels = self._check_input()
        self._scores, self._features = self._check_outputs()

    def twin(self) -> Classifier:
        """Another interpreter on the same bytes, for another thread; nothing is checked again."""
        twin = Classifier.__new__(Classifier)
        twin._network = self._network
        twin._start(self._model, self.metadata, self._runtime, self._threads)
        return twin

    def _check_input(self) -> tuple[int, NDArray[np.generic] | None]:
        """Index of the input, and what each grey level is in it (None: itself)."""
        details = self._interpreter.get_input_details()
        if len(details) != 1:
            raise ModelError(
                f"model {self.source}: expected one input, got {len(details)}; "
                "convert a network that takes a film and nothing else"
            )
        (detail,) = details
        shape, dtype = tuple(int(n) for n in detail["shape"]), np.dtype(detail["dtype"])
        expected = self.metadata.input.shape
        if shape != expected:
            raise ModelError(
                f"model {self.source}: its input is {shape}, its metadata says {expected}; "
                "convert it again with the metadata that belongs to it"
            )
        scale, zero_point = detail["quantization"]
        if dtype == np.uint8:
            # The contract: uint8 takes the pixels as they are. Scale and zero point tell the
            # network's own range, into which the converter puts the scaling of the pixels.
            return int(detail["index"]), None
        grey = np.arange(GREY_LEVELS, dtype=np.float64)
        if dtype == np.float32:
            return int(detail["index"]), grey.astype(np.float32)
        if dtype == np.int8 and scale > 0:
            bounds = np.iinfo(dtype)
            levels = np.clip(np.rint(grey / scale) + zero_point, bounds.min, bounds.max)
            return int(detail["index"]), levels.astype(dtype)
        raise ModelError(
            f"model {self.source}: input of type {dtype}; expected uint8, int8 or float32 pixels"
        )

    def _check_outputs(self) -> tuple[_Output, _Output | None]:
        """Tell the scores from the features by shape, and by name where shapes do not tell."""
        classes = len(self.metadata.labels)
        rank = 4 if self.metadata.evidence_map else 2
        widths = (1, 2) if self.metadata.output == "sigmoid" and classes == 2 else (classes,)
        details = self._interpreter.get_output_details()
        fitting = [
            detail
            for detail in details
            if len(detail["shape"]) == rank and int(detail["shape"][-1]) in widths
        ]
        # Several only if the features happen to have as many channels as there are classes.
        fitting.sort(key=lambda detail: "feature" in detail["name"].lower())
        if not fitting or len(details) > 2:
            shapes = [tuple(int(n) for n in detail["shape"]) for detail in details]
            wanted = "an evidence map (1, h, w, {})" if rank == 4 else "scores (1, {})"
            raise ModelError(
                f"model {self.source}: outputs {shapes} do not fit its {classes} labels; expected "
                f"{wanted.format(classes)} and at most one output of features"
            )
        others = [detail for detail in details if detail is not fitting[0]]
        statistics = self.metadata.features
        parts = POOLED_PARTS[self._pooling]
        if statistics is not None and (
            not others or parts * int(others[0]["shape"][-1]) != len(statistics.mean)
        ):
            raise ModelError(
                f"model {self.source}: its metadata has statistics of {len(statistics.mean)} "
                "features, which no output gives; convert it again"
            )
        return self._output(fitting[0]), self._output(others[0]) if others else None

    def _output(self, detail: dict[str, Any]) -> _Output:
        dtype = np.dtype(detail["dtype"])
        scale, zero_point = detail["quantization"]
        if dtype not in (np.float32, np.int8, np.uint8) or (dtype != np.float32 and scale <= 0):
            raise ModelError(
                f"model {self.source}: output of type {dtype} with scale {scale}; expected "
                "float32, or int8 or uint8 with a scale"
            )
        return _Output(int(detail["index"]), float(scale), int(zero_point))

    def classify(self, pixels: NDArray[np.uint8]) -> Scores:
        """Score one prepared film.

        Args:
            pixels: uint8, (1, H, W, C), 0..255, from `edge_xray.preprocess.preprocess`.

        Raises:
            ValueError: type or shape is another.
        """
        if pixels.dtype != np.uint8 or pixels.shape != self.metadata.input.shape:
            raise ValueError(
                f"expected uint8 pixels of shape {self.metadata.input.shape}, "
                f"got {pixels.dtype} {pixels.shape}"
            )
        self._interpreter.set_tensor(
            self._input, pixels if self._levels is None else self._levels[pixels]
        )
        self._interpreter.invoke()
        values = self._scores.read(self._interpreter)
        evidence: NDArray[np.float32] | None = None
        if self.metadata.evidence_map:
            evidence = values
            logits = values.mean(axis=(0, 1), dtype=np.float64)
        else:
            logits = to_logits(values, self.metadata.output)
        features: NDArray[np.float32] | None = None
        if self._features is not None:
            maps = self._features.read(self._interpreter)
            # A foreign network's may be a vector.
            grid = maps.shape[:2] if maps.ndim == 3 else (1, 1)
            shaped = maps.reshape(1, *grid, -1)
            features = pool_features(shaped, self._pooling)[0].astype(np.float32)
        shares = probabilities(logits, self.metadata.calibration, self.metadata.positive)
        return Scores(logits, shares, p_finding(shares, self.metadata), evidence, features)

    def delegated_pieces(self) -> int | None:
        """Into how many pieces a delegate (XNNPACK) took the network; 0: none, one is best.

        Returns:
            None where the runtime does not tell.
        """
        # Not public, and the only way to see it; so its absence is an answer too.
        details = getattr(self._interpreter, "_get_ops_details", None)
        if details is None:
            return None
        return sum("DELEGATE" in node["op_name"].upper() for node in details())

    def golden_answers(self) -> NDArray[np.float64]:
        """Logits of the golden inputs on this machine: float64, (`GOLDEN_INPUTS`, classes)."""
        spec = self.metadata.input
        return np.array([self.classify(golden_input(i, spec)).logits for i in range(GOLDEN_INPUTS)])

    def check_golden(self) -> float:
        """Score the golden inputs and compare with the answers packed into the model.

        Returns:
            The largest difference of a logit; 0.0 for a model without golden answers.

        Raises:
            ModelError: a logit is further off than the packed tolerance.
        """
        golden = self.metadata.golden
        if golden is None:
            return 0.0
        expected = np.array(golden.logits, np.float64)
        if expected.shape != (GOLDEN_INPUTS, len(self.metadata.labels)):
            raise ModelError(
                f"model {self.source}: golden answers of shape {expected.shape}, expected "
                f"{(GOLDEN_INPUTS, len(self.metadata.labels))}; convert it again"
            )
        difference = float(np.abs(self.golden_answers() - expected).max())
        if not difference <= golden.tolerance:
            raise ModelError(
                f"model {self.source}: answers on this machine differ from those it was packed with "
                f"by {difference:.4g}, more than {golden.tolerance:.4g}; try another --runtime "
                f"(this is {self.runtime}) or convert the model again"
            )
        return difference


def open_model(model: ModelFile) -> tuple[bytes, ModelMetadata]:
    """Network and metadata of a model file none of whose bytes changed since it was packed."""
    check_seal(model.data, model.source)
    network, _ = split_packed(model.data)
    metadata = parse_metadata(model.data, model.source)
    actual = hashlib.sha256(network).hexdigest()
    if actual != metadata.network_sha256:
        raise ModelError(
            f"model {model.source}: the network's SHA-256 begins {actual[:12]}, its metadata says "
            f"{metadata.network_sha256[:12] or 'nothing'}; copy it again, or convert it again"
        )
    return network, metadata
