"""What a model file says of itself: frozen records with explicit ``to_dict`` and ``from_dict``.

How the record gets into a file and out of it is `edge_xray.model_file`'s.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edge_xray._compat import Self
from edge_xray.errors import ModelError
from edge_xray.metadata_fields import (
    as_record,
    as_tuple,
    check_at_least_0,
    check_fields,
    check_not_blank,
    each,
    is_number,
    place_of,
    read_fields,
    shown,
    wrong,
)

SCHEMA_VERSION = 1
"""Raised when a reader of the older schema would misread a newer file."""

Triage = Literal["urgent", "supportive", "none", "review"]
"""What to do about a film; ``review`` means that a clinician must decide."""

FeaturePooling = Literal["mean", "sixths"]
"""How maps of features become a few numbers a film, see `edge_xray.features.pool_features`."""

LEAST_TEMPERATURE, MOST_TEMPERATURE = 1e-6, 1e6
"""Bounds of a temperature: far beyond what is ever fitted, and no logit overflows between them."""

DISCLAIMER = "A screening aid, not a diagnosis: a clinician decides."
"""Said once in every output that a person reads."""


@dataclass(frozen=True)
class InputSpec:
    """How a film becomes the network's input.

    Attributes:
        height: rows of the input, in pixels.
        width: columns of the input, in pixels.
        channels: 1 for grey, 3 for RGB (a grey film gives three equal channels).
        resample: Pillow's name of the antialiased filter, the one the training films were made with.
    """

    height: int
    width: int
    channels: int = 1
    resample: Literal["bicubic", "bilinear", "lanczos", "box", "hamming"] = "bicubic"

    def __post_init__(self) -> None:
        """Refuse a shape that no network of this kit can have."""
        check_fields(self)
        if not (8 <= self.height <= 4096 and 8 <= self.width <= 4096):
            raise ModelError(
                f"model input must be 8 to 4096 pixels a side, got {self.height}x{self.width}"
            )
        if self.channels not in (1, 3):
            raise ModelError(f"model input must have 1 or 3 channels, got {self.channels}")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(1, height, width, channels)``."""
        return (1, self.height, self.width, self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "resample": self.resample,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**read_fields(record, cls))


@dataclass(frozen=True)
class Label:
    """One class of the network.

    Attributes:
        name: the class, lower case: the ``label`` column of the results.
        triage: what a film of this class calls for.
        advice: the words a nurse reads beside it.
    """

    name: str
    triage: Literal["urgent", "supportive", "none"]
    advice: str

    def __post_init__(self) -> None:
        """Refuse what no report could show."""
        check_fields(self)
        check_not_blank(self, "name")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {"name": self.name, "triage": self.triage, "advice": self.advice}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**read_fields(record, cls))


@dataclass(frozen=True)
class ScoreCalibration:
    """Temperature scaling (Guo et al. 2017), once for the classes and once more for the finding.

    Attributes:
        temperature: divisor of the logits, > 0; 1 means not calibrated.
        finding_temperature: divisor of the log-odds of a finding that the first one leaves, > 0; 1 leaves them
            as they are. What is between the classes of a finding is not changed by it.
        fitted_on: which films they were fitted on, in words; empty if they were not fitted.
        films: how many.
    """

    temperature: float = 1.0
    fitted_on: str = ""
    films: int = 0
    finding_temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a temperature that cannot divide."""
        for name in ("temperature", "finding_temperature"):
            value = getattr(self, name)
            if not (is_number(value) and LEAST_TEMPERATURE <= value <= MOST_TEMPERATURE):
                bounds = f"{LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}"
                raise wrong(self, name, f"a positive number, {bounds}")
        check_fields(self)
        check_at_least_0(self, "films")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "temperature": self.temperature,
            "finding_temperature": self.finding_temperature,
            "fitted_on": self.fitted_on,
            "films": self.films,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**read_fields(record, cls))


@dataclass(frozen=True)
class Estimate:
    """A measured proportion or area with its 95 % interval.

    Attributes:
        value: the estimate, 0..1.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain data, JSON-ready."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**read_fields(record, cls))


@dataclass(frozen=True)
class OperatingPoint:
    """Where the line between "no sign" and "finding" is drawn, and how it did there.

    Attributes:
        name: ``screening``, ``balanced`` or ``rule-in``, or any other word.
        threshold: a film is positive when its calibrated probability of a finding is >= this.
        review_low: lower end of the interval around the threshold in which a film is ``review``.
        review_high: upper end of it; a film with ``review_low <= p < review_high`` is ``review``.
        rule: the rule by which the threshold was chosen, in words.
        measured_on: the films that the two figures below are from, in words.
        films: how many.
        sensitivity: positives found at the threshold, of all positives; None if not measured.
        specificity: negatives cleared at the threshold, of all negatives; None if not measured.
    """

    name: str
    threshold: float
    review_low: float
    review_high: float
    rule: str = ""
    measured_on: str = ""
    films: int = 0
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None

    def __post_init__(self) -> None:
        """Refuse an interval that does not hold its threshold, and figures that are no shares."""
        check_fields(self)
        check_not_blank(self, "name")
        check_at_least_0(self, "films")
        if not 0.0 <= self.review_low <= self.threshold <= self.review_high <= 1.0:
            raise ModelError(
                f"{place_of(self)}: expected 0 <= review_low <= threshold <= review_high "
                f"<= 1, got {self.review_low}, {self.threshold}, {self.review_high}"
            )
        for name in ("sensitivity", "specificity"):
            figure: Estimate | None = getattr(self, name)
            # An estimate of something else, or of no films, may be anything, NaN too.
            for part, share in figure.to_dict().items() if figure else ():
                if not (is_number(share) and 0 <= share <= 1):
                    raise ModelError(
                        f"{place_of(self)}: {name}: {part} must be a number of 0 to 1, got {shown(share)}"
                    )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "name": self.name,
            "threshold": self.threshold,
            "review_low": self.review_low,
            "review_high": self.review_high,
            "rule": self.rule,
            "measured_on": self.measured_on,
            "films": self.films,
            "sensitivity": self.sensitivity.to_dict() if self.sensitivity else None,
            "specificity": self.specificity.to_dict() if self.specificity else None,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        values = read_fields(record, cls)
        for name in ("sensitivity", "specificity"):
            values[name] = as_record(values.get(name), Estimate.from_dict)
        return cls(**values)


@dataclass(frozen=True)
class IntendedUse:
    """Which films the model may be asked about.

    Attributes:
        summary: one sentence for people.
        not_for: one sentence on what it must not be used for.
        body_part: DICOM BodyPartExamined (0018,0015) values that fit; empty means any.
        modalities: DICOM Modality (0008,0060) values that fit; empty means any.
        views: DICOM ViewPosition (0018,5101) values that fit; empty means any.
        age_min_years: youngest age it was trained on; None means no limit.
        age_max_years: oldest age it was trained on; None means no limit.
    """

    summary: str = ""
    not_for: str = ""
    body_part: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    age_min_years: float | None = None
    age_max_years: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no film could be held against."""
        check_fields(self)
        check_at_least_0(self, "age_min_years", "age_max_years")
        youngest, oldest = self.age_min_years, self.age_max_years
        if youngest is not None and oldest is not None and oldest < youngest:
            raise wrong(self, "age_max_years", f"age_min_years, {youngest}, or more")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "summary": self.summary,
            "not_for": self.not_for,
            "body_part": list(self.body_part),
            "modalities": list(self.modalities),
            "views": list(self.views),
            "age_min_years": self.age_min_years,
            "age_max_years": self.age_max_years,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; a person may write one word where a list of words is expected.

        Raises:
            ModelError: a field is unknown or not of its kind.
        """
        values = read_fields(record, cls)
        for name in ("body_part", "modalities", "views"):
            said = values.get(name, ())
            values[name] = (said,) if isinstance(said, str) else as_tuple(said)
        return cls(**values)


def _pack(array: NDArray[np.float32]) -> dict[str, Any]:
    data = np.ascontiguousarray(array, dtype="<f4")
    return {"shape": list(data.shape), "float32": base64.b64encode(data.tobytes()).decode("ascii")}


def _unpack(record: object, name: str) -> NDArray[np.float32]:
    if isinstance(record, Mapping):
        shape, text = record.get("shape"), record.get("float32")
        sides: list[Any] = shape if isinstance(shape, list) and len(shape) in (1, 2) else [None]
        if isinstance(text, str) and all(type(side) is int and side > 0 for side in sides):
            with suppress(ValueError):
                data = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
                if data.size == math.prod(sides):
                    return data.reshape(sides).astype(np.float32)
    raise ModelError(
        f"feature statistics: {name} must be an object of a shape and as many numbers (float32, in base64), "
        f"got {shown(record)}"
    )


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What the middle features of films in range look like, for the device's quality gate.

    A film's features are pooled over space to ``x`` (c,), whitened by a principal component
    analysis to ``z = components @ (x - mean) / sqrt(variances)``, and scored
    ``sqrt(sum(z**2) / k) + residual / residual_scale``, where ``residual`` is the length of what the
    k components leave out of ``x - mean``.

    Attributes:
        mean: (c,) float32.
        components: (k, c) float32, orthonormal rows.
        variances: (k,) float32, > 0.
        residual_scale: root mean square of the residual on the films it was fitted on, > 0.
        unlike: score above which a film is unlike those the model knows.
        foreign: score above which it is taken for no chest film at all; >= ``unlike``.
        films: how many films it was fitted on.
        fitted_on: which, in words, with the quantiles that gave the two scores.
        pooling: how features are pooled, see `edge_xray.features.pool_features`.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variances: NDArray[np.float32]
    residual_scale: float
    unlike: float
    foreign: float
    films: int = 0
    fitted_on: str = ""
    pooling: FeaturePooling = "mean"

    def __post_init__(self) -> None:
        """Refuse arrays that do not go together, and what no film could be scored with."""
        check_fields(self)
        check_at_least_0(self, "films")
        shape = self.components.shape
        if len(shape) != 2 or not self.components.size:
            raise ModelError(
                f"feature statistics: components must be (k, c), k and c 1 or more, got {shape}"
            )
        if self.mean.shape != shape[1:] or self.variances.shape != shape[:1]:
            raise ModelError(
                f"feature statistics: components {shape} do not fit mean "
                f"{self.mean.shape} and variances {self.variances.shape}"
            )
        for name in ("mean", "components", "variances"):
            if not bool(np.isfinite(getattr(self, name)).all()):
                raise wrong(self, name, "finite numbers")
        if not (self.residual_scale > 0 and bool(np.all(self.variances > 0))):
            raise ModelError("feature statistics: variances and residual_scale must be positive")
        if not 0 <= self.unlike <= self.foreign:
            raise ModelError(
                f"feature statistics: expected 0 <= unlike <= foreign, got {self.unlike}, {self.foreign}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready; arrays as base64 of little-endian float32."""
        return {
            "mean": _pack(self.mean),
            "components": _pack(self.components),
            "variances": _pack(self.variances),
            "residual_scale": self.residual_scale,
            "unlike": self.unlike,
            "foreign": self.foreign,
            "films": self.films,
            "fitted_on": self.fitted_on,
            "pooling": self.pooling,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        values = read_fields(record, cls)
        for name in ("mean", "components", "variances"):
            values[name] = _unpack(values[name], name)
        return cls(**values)


@dataclass(frozen=True)
class GoldenVectors:
    """Answers that the network gave when it was packed, checked again at every start.

    The inputs are made, not stored: `edge_xray.classifier.golden_input` draws film ``i`` with integer
    arithmetic, so every machine draws the same pixels.

    Attributes:
        logits: one row of logits per golden input.
        tolerance: largest absolute difference of a logit that another machine's kernels may show.
    """

    logits: tuple[tuple[float, ...], ...]
    tolerance: float

    def __post_init__(self) -> None:
        """Refuse answers that no network's could be held against."""
        check_fields(self)
        if len({len(row) for row in self.logits}) != 1:
            raise wrong(self, "logits", "rows of one length")
        if not self.tolerance > 0:
            raise wrong(self, "tolerance", "above 0")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {"logits": [list(row) for row in self.logits], "tolerance": self.tolerance}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        values = read_fields(record, cls)
        return cls(each(values["logits"], as_tuple), values["tolerance"])


@dataclass(frozen=True)
class ModelMetadata:
    """Everything the device must know of a network, and everything a person should.

    Attributes:
        name: the model's name, as ``--model`` takes it.
        version: the model's own version.
        labels: the classes, in the order of the network's outputs.
        finding: what a positive film shows: the column ``p_<finding>`` of the results.
        input: how a film becomes the network's input.
        evidence_map: whether the output is a map whose spatial mean is the logits.
        output: what the network's output is when it is no evidence map.
        calibration: logits to probabilities.
        operating_points: at least one; the first is the default.
        intended_use: which films it may be asked about.
        features: statistics for the quality gate; None: the model has no such gate.
        golden: answers checked at every start; None before the converter packed the model.
        network_sha256: hash of the network's bytes, without the appended zip; empty before packing.
        quantization: ``float32``, ``int8``, ...; empty before conversion.
        delegate: whether the runtime may hand operations to its delegate (XNNPACK), which is faster and rounds
            in its own way; without it an int8 network gives the same integers in every runtime, on one kind
            of processor.
        architecture: name in the trainer's registry; empty for a model from elsewhere.
        training: data fingerprint, split, seed, versions: provenance for people.
        metrics: figures with intervals, and what they were measured on.
        licence: SPDX expression, with the data's attribution.
    """

    name: str
    version: str
    labels: tuple[Label, ...]
    input: InputSpec
    operating_points: tuple[OperatingPoint, ...]
    finding: str = "pneumonia"
    evidence_map: bool = True
    output: Literal["logits", "softmax", "sigmoid"] = "logits"
    calibration: ScoreCalibration = field(default_factory=ScoreCalibration)
    intended_use: IntendedUse = field(default_factory=IntendedUse)
    features: FeatureStatistics | None = None
    golden: GoldenVectors | None = None
    network_sha256: str = ""
    quantization: str = ""
    delegate: bool = True
    architecture: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""

    def __post_init__(self) -> None:
        """Refuse a record that could not decide about a film."""
        check_fields(self)
        check_not_blank(self, "name", "finding")
        names = [label.name for label in self.labels]
        if not 2 <= len(names) <= 20 or len(set(names)) != len(names):
            raise ModelError(
                f"model metadata: expected 2 to 20 different labels, got {shown(names)}"
            )
        if not any(label.triage == "none" for label in self.labels) or all(
            label.triage == "none" for label in self.labels
        ):
            raise ModelError(
                "model metadata: at least one label must have triage none and one another, got "
                + ", ".join(f"{label.name}={label.triage}" for label in self.labels)
            )
        if not self.operating_points:
            raise ModelError("model metadata: expected at least one operating point, got none")
        if self.golden is not None and len(self.golden.logits[0]) != len(names):
            raise ModelError(
                f"golden vectors: logits must be rows of {len(names)} numbers, one a label, got "
                f"{len(self.golden.logits[0])}"
            )

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names in the order of the network's outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def positive(self) -> tuple[bool, ...]:
        """For each class, whether it is a finding (its triage is not ``none``)."""
        return tuple(label.triage != "none" for label in self.labels)

    def operating_point(self, name: str | None = None) -> OperatingPoint:
        """The operating point of that name, or the default one.

        Raises:
            ModelError: the model has no such operating point; the message lists those it has.
        """
        if name is None:
            return self.operating_points[0]
        for point in self.operating_points:
            if point.name == name:
                return point
        raise ModelError(
            f"model {self.name} has no operating point {name!r}; it has "
            + ", ".join(point.name for point in self.operating_points)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "version": self.version,
            "labels": [label.to_dict() for label in self.labels],
            "input": self.input.to_dict(),
            "operating_points": [point.to_dict() for point in self.operating_points],
            "finding": self.finding,
            "evidence_map": self.evidence_map,
            "output": self.output,
            "calibration": self.calibration.to_dict(),
            "intended_use": self.intended_use.to_dict(),
            "features": self.features.to_dict() if self.features else None,
            "golden": self.golden.to_dict() if self.golden else None,
            "network_sha256": self.network_sha256,
            "quantization": self.quantization,
            "delegate": self.delegate,
            "architecture": self.architecture,
            "training": dict(self.training),
            "metrics": dict(self.metrics),
            "licence": self.licence,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ModelError: a field is missing, unknown or out of range, or the schema is newer.
        """
        values = dict(record)
        schema = values.pop("schema_version", None)
        if schema != SCHEMA_VERSION:
            raise ModelError(
                f"model metadata has schema version {shown(schema)}, this edge-xray reads {SCHEMA_VERSION}"
            )
        values = read_fields(values, cls, required=("calibration", "intended_use"))
        values["labels"] = each(values["labels"], Label.from_dict)
        values["input"] = as_record(values["input"], InputSpec.from_dict)
        values["operating_points"] = each(values["operating_points"], OperatingPoint.from_dict)
        values["calibration"] = as_record(values["calibration"], ScoreCalibration.from_dict)
        values["intended_use"] = as_record(values["intended_use"], IntendedUse.from_dict)
        values["features"] = as_record(values.get("features"), FeatureStatistics.from_dict)
        values["golden"] = as_record(values.get("golden"), GoldenVectors.from_dict)
        return cls(**values)

    def to_json(self) -> str:
        """The record as indented JSON with a final newline."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"


def as_triage(word: str) -> Triage:
    """Check a triage word read from outside.

    Raises:
        ModelError: it is none of the four.
    """
    if word not in get_args(Triage):
        raise ModelError(f"triage must be one of {', '.join(get_args(Triage))}, got {word!r}")
    return cast(Triage, word)
