"""What a model file says of itself, as text for people: ``edge-xray info``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from edge_xray.metadata import DISCLAIMER, IntendedUse, ModelMetadata
from edge_xray.reports.words import estimate


def render(metadata: ModelMetadata, sha256: str, source: str, size: int) -> Iterator[str]:
    """The lines, each ending with a line feed.

    Args:
        metadata: of the model.
        sha256: of the whole file.
        source: file or name.
        size: of the file, in bytes.
    """
    spec = metadata.input
    colour = "grey" if spec.channels == 1 else "RGB"
    facts = {
        "Model": f"{metadata.name} {metadata.version}",
        "File": f"{source}, {size / 1e6:.2f} MB, SHA-256 {sha256}",
        "Network": ", ".join(
            part
            for part in (
                metadata.architecture,
                metadata.quantization,
                "" if metadata.delegate else "built-in kernels only, no delegate",
            )
            if part
        ),
        "Input": f"{spec.height}x{spec.width} {colour} pixels, resized {spec.resample}",
        "Heat map": "yes" if metadata.evidence_map else "no",
        "Quality gate": _gate(metadata),
        "Intended use": metadata.intended_use.summary,
        "Not for": metadata.intended_use.not_for,
        "Films": _films(metadata.intended_use),
        "Score calibration": _calibration(metadata),
        "Golden answers": f"{len(metadata.golden.logits)}" if metadata.golden else "none",
        "Licence": metadata.licence,
    }
    width = max(map(len, facts))
    for name, text in facts.items():
        if text:
            yield f"{name:{width}}  {text}\n"
    yield "\nLabels\n"
    for label in metadata.labels:
        yield f"  {label.name}: {label.triage}. {label.advice}\n"
    yield f"\nOperating points (a finding is: {metadata.finding}; the first is the default)\n"
    yield "  Figures are of the films that the line was fitted on; on others it can do less well.\n"
    for point in metadata.operating_points:
        yield (
            f"  {point.name}: from probability {point.threshold:.4f}, "
            f"review {point.review_low:.4f} to {point.review_high:.4f}\n"
        )
        if point.sensitivity is not None or point.specificity is not None:
            yield (
                f"    sensitivity {estimate(point.sensitivity)}, "
                f"specificity {estimate(point.specificity)}; {point.films} films"
                f"{', ' + point.measured_on if point.measured_on else ''}\n"
            )
        if point.rule:
            yield f"    chosen by: {point.rule}\n"
    for title, record in (("Figures", metadata.metrics), ("Training", metadata.training)):
        if record:
            yield f"\n{title}\n"
            yield from _tree(record, "  ")
    yield f"\n{DISCLAIMER}\n"


def _gate(metadata: ModelMetadata) -> str:
    if metadata.features is None:
        return "pixels only; the model has no feature statistics"
    return f"pixels and {len(metadata.features.mean)} features, fitted on {metadata.features.films} films"


def _films(use: IntendedUse) -> str:
    parts = [
        f"{name} {' or '.join(values)}"
        for name, values in (
            ("body part", use.body_part),
            ("modality", use.modalities),
            ("view", use.views),
        )
        if values
    ]
    low, high = use.age_min_years, use.age_max_years
    if low is not None and high is not None:
        parts.append(f"age {low:g} to {high:g} years")
    elif low is not None or high is not None:
        parts.append(f"age {f'from {low:g}' if low is not None else f'up to {high:g}'} years")
    return ", ".join(parts)


def _calibration(metadata: ModelMetadata) -> str:
    calibration = metadata.calibration
    if not calibration.films:
        return "none"
    return (
        f"temperature {calibration.temperature:.4g}, of the finding {calibration.finding_temperature:.4g}, "
        f"fitted on {calibration.films} films"
        f"{' (' + calibration.fitted_on + ')' if calibration.fitted_on else ''}"
    )


_LONG_LIST: Final = 8
"""Longest list that is printed: of hashes nobody reads more, and ``--json`` has them all."""


def _tree(value: Mapping[str, object] | list[object], indent: str) -> Iterator[str]:
    """Nested plain data as indented lines."""
    items = value.items() if isinstance(value, Mapping) else [("-", item) for item in value]
    for key, item in items:
        if isinstance(item, list) and len(item) > _LONG_LIST:
            yield f"{indent}{key}: {len(item)}, with --json\n"
        elif isinstance(item, dict | list) and item:
            yield f"{indent}{key}\n"
            yield from _tree(item, indent + "  ")
        else:
            yield f"{indent}{key}{': ' if key != '-' else ' '}{_scalar(item)}\n"


def _scalar(item: object) -> str:
    return f"{item:.4g}" if isinstance(item, float) else str(item)
