"""A parity report as plain data: the JSON that ``parity.schema.json`` describes."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_xray.operating_point import Estimate
from edge_xray.parity_report import PASS
from edge_xray.walk import printable
from edge_xray_converter.bench import measure
from edge_xray_converter.budget import too_few_films, wider_limits
from edge_xray_converter.delegation import delegation
from edge_xray_converter.flatbuffer import read_graph
from edge_xray_converter.heat_maps import similarity
from edge_xray_converter.paired import Figures
from edge_xray_converter.parity import Parity
from edge_xray_converter.provenance import provenance
from edge_xray_converter.runs import Model, Run

REPORT_VERSION = 1
"""Of the JSON. Raised when a reader of the older form would misread a newer file."""

FAIL = "FAIL"

SCHEMA_FILE = Path(__file__).with_name("parity.schema.json")

NAME_DIGITS = 12
"""Hexadecimal digits of a film's SHA-256 that stand for its name where films must not be shown."""


@dataclass(frozen=True)
class Making:
    """How a report is made.

    Attributes:
        resamples: draws of the bootstrap.
        seed: of them.
        timing: whether latency and memory are measured.
        films: whether films are named and shown; else a hash stands for a name.
        command: the command line, for the provenance.
    """

    resamples: int
    seed: int = 0
    timing: bool = True
    films: bool = True
    command: str = ""


def make_record(parity: Parity, making: Making) -> dict[str, Any]:
    """The report as plain data, JSON-ready.

    Args:
        parity: its content.
        making: how it is made.
    """
    counts = Counter(film.label for film in parity.films)
    split = parity.source.split
    digest = hashlib.sha256("\n".join(sorted(film.sha256 for film in parity.films)).encode())
    return {
        "report_version": REPORT_VERSION,
        "verdict": _verdict(parity.passed),
        "remarks": [
            remark
            for remark in (
                too_few_films(
                    len(parity.films),
                    int(parity.outcomes[0].truth_positive.sum()),
                    parity.budget,
                ),
                wider_limits(parity.budget),
                _held_against_itself([run.model for run in parity.runs]),
            )
            if remark
        ],
        "films": {
            "count": len(parity.films),
            "patients": parity.patients,
            "patients_unknown": sum(not film.patient for film in parity.films),
            "per_label": dict(sorted(counts.items())),
            "part": parity.source.part,
            "fingerprint": digest.hexdigest(),
            "split_fingerprint": split.fingerprint() if split else None,
            "unread": [
                {
                    "film": printable(film.path) if making.films else _hashed(film.path),
                    "reason": film.reason,
                }
                for film in parity.unread
            ],
        },
        "models": [
            _model(run.model, figures, making)
            for run, figures in zip(parity.runs, parity.figures, strict=True)
        ],
        "comparisons": [
            _comparison(parity, index, making) for index in range(len(parity.comparisons))
        ],
        "budget": dict(vars(parity.budget)),
        "bootstrap": {"resamples": making.resamples, "seed": making.seed, "unit": "patient"},
        "provenance": provenance(making.command),
    }


def _held_against_itself(models: Sequence[Model]) -> str:
    """What to say of candidates that are the reference's very file, in its runtime; empty if none is."""
    reference, *candidates = models
    same = [
        model.title
        for model in candidates
        if model.source_sha256 == reference.source_sha256 != ""
        and model.runtime == reference.runtime
    ]
    return (
        f"{', '.join(same)}: the same file as the reference, so nothing was compared. Name the network that it was "
        "made of as the reference."
        if same
        else ""
    )


def _verdict(passed: bool) -> str:
    return PASS if passed else FAIL


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:NAME_DIGITS]


def _model(model: Model, figures: Figures, making: Making) -> dict[str, Any]:
    data = model.path.read_bytes()
    graph = read_graph(data, model.title)
    delegated = delegation(data, model.runtime, delegate=model.metadata.delegate)
    threads = sorted({1, os.cpu_count() or 1}) if making.timing else []
    return {
        "title": model.title,
        "name": model.metadata.name,
        "version": model.metadata.version,
        "quantization": model.metadata.quantization,
        "architecture": model.metadata.architecture,
        "source_sha256": model.source_sha256 or None,
        "sha256": model.classifier.sha256,
        "network_sha256": model.metadata.network_sha256,
        "converted_on_the_fly": model.path != model.source,
        "size_bytes": len(data),
        "labels": list(model.metadata.label_names),
        "operating_point": {"name": model.point.name, "threshold": model.point.threshold},
        "operations": graph.kinds(),
        "non_integer_operations": [graph.name_of(operation) for operation in graph.non_integer()],
        "delegation": {**vars(delegated), "left": list(delegated.left)} if delegated else None,
        "runtime": model.classifier.runtime,
        "timings": [measure(model.path, count, model.runtime).to_dict() for count in threads],
        "figures": figures_record(figures),
    }


def _comparison(parity: Parity, index: int, making: Making) -> dict[str, Any]:
    comparison, checks = parity.comparisons[index], parity.checks[index]
    reference, candidate = parity.runs[0], parity.runs[index + 1]
    triage = zip(reference.triage, candidate.triage, strict=True)
    return {
        "reference": reference.model.title,
        "candidate": candidate.model.title,
        "verdict": _verdict(all(check.passed for check in checks)),
        "checks": [dict(vars(check)) for check in checks],
        "differences": figures_record(comparison.differences),
        "mcnemar_p": comparison.mcnemar_p,
        "only_reference_right": comparison.only_reference,
        "only_candidate_right": comparison.only_candidate,
        "agreement": comparison.agreement,
        "finding_flips": len(comparison.finding_flips),
        "label_flips": len(comparison.label_flips),
        "triage_changes": sum(before != after for before, after in triage),
        "largest_shift": comparison.largest_shift,
        "mean_shift": comparison.mean_shift,
        "heat_map_similarity": similarity(reference, candidate),
        "layers": [layer.to_dict() for layer in parity.layers[index]],
        "flips": [
            {
                "film": printable(parity.films[row].path)
                if making.films
                else parity.films[row].sha256[:NAME_DIGITS],
                "truth": parity.films[row].label,
                "reference": _answer(reference, row),
                "candidate": _answer(candidate, row),
            }
            for row in comparison.label_flips
        ],
    }


def _answer(run: Run, row: int) -> dict[str, Any]:
    return {
        "label": run.labels[row],
        "triage": run.triage[row],
        "p_finding": run.scores[row].p_finding,
    }


def figures_record(figures: Figures) -> dict[str, dict[str, float | None]]:
    """Figures as JSON."""
    return {name: _estimate(value) for name, value in vars(figures).items()}


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    """An estimate as JSON, which knows no NaN."""
    return {
        name: value if math.isfinite(value) else None for name, value in estimate.to_dict().items()
    }
