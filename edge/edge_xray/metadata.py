"""What a model file says of itself: frozen records with explicit ``to_dict`` and ``from_dict``.

The parts that more than a model's own reader works with have modules of their own: `edge_xray.input_spec`,
`edge_xray.operating_point`, and beside what is calculated with them `edge_xray.calibration` and `edge_xray.features`.
How the record gets into a file and out of it is `edge_xray.model_file`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_xray._compat import Self
from edge_xray.calibration import ScoreCalibration
from edge_xray.errors import ModelError
from edge_xray.features import FeatureStatistics
from edge_xray.input_spec import InputSpec
from edge_xray.metadata_fields import (
    as_record,
    as_tuple,
    check_at_least_0,
    check_fields,
    check_not_blank,
    each,
    read_fields,
    shown,
    wrong,
)
from edge_xray.operating_point import OperatingPoint

SCHEMA_VERSION = 1
"""Raised when a reader of the older schema would misread a newer file."""

Triage = Literal["urgent", "supportive", "none", "review"]
"""What to do about a film; ``review`` means that a clinician must decide."""

MOST_LABELS = 20
"""Classes that a model may tell apart."""

DISCLAIMER = "A screening aid, not a diagnosis: a clinician decides."
"""Said once in every output that a person reads."""


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
        if not 2 <= len(names) <= MOST_LABELS or len(set(names)) != len(names):
            raise ModelError(
                f"model metadata: expected 2 to {MOST_LABELS} different labels, got {shown(names)}"
            )
        if len(set(self.positive)) < 2:
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
