"""``training.converted_from``: which file a model was made of, and what was said of that file then.

A network from elsewhere says nothing of itself. What its maker said when it was converted stands in the model
that was made of it, and holds for the network wherever the two are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_xray._extras import version_of
from edge_xray.errors import ModelError
from edge_xray.labelled import file_sha256
from edge_xray.metadata import ModelMetadata
from edge_xray.model_file import read_metadata
from edge_xray.walk import printable
from edge_xray_converter.describe import Description
from edge_xray_converter.sources import PixelRange

CONVERTED_FROM = "converted_from"
INPUT_RANGE = "input_range"

PACKAGES = ("edge-xray", "tensorflow", "keras")
"""Distributions whose versions can change what comes out of a conversion."""


def source_record(source: Path, pixel_range: PixelRange) -> dict[str, str]:
    """Which file was converted, from which range of pixels, and with what.

    Args:
        source: the file; a SavedModel folder has no hash.
        pixel_range: left out where it is 0..255.
    """
    record = {"name": printable(source.name)}
    if source.is_file():
        record["sha256"] = file_sha256(source)
    if pixel_range != PixelRange():
        record[INPUT_RANGE] = str(pixel_range)
    return record | {name: number for name in PACKAGES if (number := version_of(name))}


def origin(metadata: ModelMetadata) -> str:
    """SHA-256 of the file that a model was converted from; empty if it does not say."""
    return _recorded(metadata, "sha256")


def _recorded(metadata: ModelMetadata, name: str) -> str:
    record = metadata.training.get(CONVERTED_FROM)
    return str(record.get(name, "")) if isinstance(record, dict) else ""


@dataclass(frozen=True)
class Told:
    """What is known of a network that carries no metadata.

    Attributes:
        description: what its maker said.
        pixel_range: range it expects its pixels in.
        by: the model it was read from; None if no model at hand was converted from the network.
    """

    description: Description
    pixel_range: PixelRange
    by: Path | None


def told_of(
    source: Path, models: Sequence[Path], said: Description, pixel_range: PixelRange | None
) -> Told:
    """What is said of a network now, and where that is silent what was said when a model was made of it.

    Args:
        source: the network, without metadata.
        models: files among which the first that was converted from it is asked.
        said: what is said now.
        pixel_range: the same; None: nothing.
    """
    digest = file_sha256(source) if source.is_file() else ""
    for model in models:
        if not digest or model.suffix != ".tflite":
            continue
        with suppress(ModelError):
            metadata = read_metadata(model)
            if origin(metadata) == digest:
                known = _range_of(metadata)
                return Told(_completed(said, metadata), pixel_range or known, model)
    return Told(said, pixel_range or PixelRange(), None)


def _range_of(metadata: ModelMetadata) -> PixelRange:
    text = _recorded(metadata, INPUT_RANGE)
    return PixelRange.parse(text) if text else PixelRange()


def _completed(said: Description, metadata: ModelMetadata) -> Description:
    labels = said.labels or metadata.label_names
    negative = [
        name for name, flag in zip(metadata.label_names, metadata.positive, strict=True) if not flag
    ]
    return Description(
        said.name or metadata.name,
        labels,
        said.negative or tuple(name for name in negative if name in labels),
        said.finding or metadata.finding,
        metadata.operating_point().threshold if said.threshold is None else said.threshold,
    )
