"""The parity report as plain data: what was trained against what will run, on the same films."""

from __future__ import annotations

import datetime
import math
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray.heatmap import finding_evidence
from edge_xray.labelled import SplitFilm
from edge_xray_converter.bench import measure
from edge_xray_converter.budget import Budget, Check, judge
from edge_xray_converter.flatbuffer import read_graph
from edge_xray_converter.paired import (
    Comparison,
    Figures,
    Outcome,
    compare,
)
from edge_xray_converter.runs import Model, Run, Unread, run_models
from edge_xray_converter.truth import ParitySet, refuse_representative

REPORT_VERSION = 1
"""Of the JSON, published as ``parity.schema.json``."""

PASS, FAIL = "PASS", "FAIL"

BYTES_PER_MB = 1e6


@dataclass(frozen=True, eq=False)
class Parity:
    """Everything a rendering needs.

    Attributes:
        record: the JSON, without any film's pixels.
        films: the films that were read, in the order of the runs' rows.
        root: parity set they are of.
        runs: one a model, the reference first.
        outcomes: the same as arrays.
        figures: one a model.
        comparisons: one a candidate.
        checks: the verdict's lines, one list a candidate.
    """

    record: dict[str, Any]
    films: list[SplitFilm]
    root: ParitySet
    runs: list[Run]
    outcomes: list[Outcome]
    figures: list[Figures]
    comparisons: list[Comparison]
    checks: list[list[Check]]

    @property
    def passed(self) -> bool:
        """Whether every candidate keeps the budget."""
        return all(check.passed for checks in self.checks for check in checks)


@dataclass(frozen=True)
class Options:
    """How a parity run is made.

    Attributes:
        budget: what may be lost.
        resamples: draws of the bootstrap.
        seed: of them.
        timing: whether latency and memory are measured.
        runtime: as for `Classifier`.
        command: the command line, for the provenance.
    """

    budget: Budget
    resamples: int
    seed: int = 0
    timing: bool = True
    runtime: str | None = None
    command: str = ""


def make_parity(
    models: Sequence[Model],
    films: ParitySet,
    options: Options,
    progress: Callable[[int, int], None] | None = None,
) -> Parity:
    """Compare models on films.

    Args:
        models: the reference first, then one or more candidates.
        films: which.
        options: how.
        progress: as for `run_models`.

    Raises:
        UsageError: fewer than two models, films without both findings and none, films that a model's
            int8 ranges were measured on, or labels that do not match.
    """
    if len(models) < 2:
        raise UsageError("parity compares models: expected a reference and one or more candidates")
    for model in models:
        refuse_representative(model.metadata, films, model.title)
    runs, read, unread = run_models(models, films, progress)
    outcomes = [run.outcome(read) for run in runs]
    if outcomes[0].truth_positive.all() or not outcomes[0].truth_positive.any():
        raise UsageError(
            f"{films.root}: expected films with and without a finding, got only one kind"
        )
    chosen = set(read)
    clusters = [
        cluster for film, cluster in zip(films.films, films.clusters, strict=True) if film in chosen
    ]
    figures, comparisons = compare(
        outcomes, clusters, resamples=options.resamples, seed=options.seed
    )
    checks = [judge(comparison, len(read), options.budget) for comparison in comparisons]
    parity = Parity({}, read, films, runs, outcomes, figures, comparisons, checks)
    parity.record.update(_record(parity, options, unread, len(set(clusters))))
    return parity


def _record(
    parity: Parity, options: Options, unread: list[Unread], patients: int
) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for film in parity.films:
        counts[film.label] = counts.get(film.label, 0) + 1
    split = parity.root.split
    return {
        "report_version": REPORT_VERSION,
        "verdict": PASS if parity.passed else FAIL,
        "films": {
            "count": len(parity.films),
            "patients": patients,
            "per_label": dict(sorted(counts.items())),
            "part": parity.root.part,
            "split_fingerprint": split.fingerprint() if split else None,
            "unread": [vars(film) for film in unread],
        },
        "models": [
            _model_record(run.model, figures, options)
            for run, figures in zip(parity.runs, parity.figures, strict=True)
        ],
        "comparisons": [
            _comparison_record(parity, index) for index in range(len(parity.comparisons))
        ],
        "budget": vars(options.budget),
        "bootstrap": {"resamples": options.resamples, "seed": options.seed, "unit": "patient"},
        "provenance": _provenance(options),
    }


def _model_record(model: Model, figures: Figures, options: Options) -> dict[str, Any]:
    data = model.path.read_bytes()
    graph = read_graph(data, model.title)
    timings = []
    if options.timing:
        for threads in sorted({1, os.cpu_count() or 1}):
            timings.append(measure(model.path, threads, options.runtime).to_dict())
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
        "runtime": model.classifier.runtime,
        "timings": timings,
        "figures": figures.to_dict(),
    }


def _comparison_record(parity: Parity, index: int) -> dict[str, Any]:
    comparison, checks = parity.comparisons[index], parity.checks[index]
    reference, candidate = parity.runs[0], parity.runs[index + 1]
    similarity = heat_map_similarity(reference, candidate)
    return {
        "reference": reference.model.title,
        "candidate": candidate.model.title,
        "verdict": PASS if all(check.passed for check in checks) else FAIL,
        "checks": [vars(check) for check in checks],
        "differences": comparison.differences.to_dict(),
        "mcnemar_p": comparison.mcnemar_p,
        "only_reference_right": comparison.only_reference,
        "only_candidate_right": comparison.only_candidate,
        "agreement": comparison.agreement,
        "finding_flips": len(comparison.finding_flips),
        "label_flips": len(comparison.label_flips),
        "triage_changes": sum(
            a != b for a, b in zip(reference.triage, candidate.triage, strict=True)
        ),
        "largest_shift": comparison.largest_shift,
        "mean_shift": comparison.mean_shift,
        "heat_map_similarity": similarity,
        "flipped_films": [
            {
                "path": parity.films[i].path,
                "label": parity.films[i].label,
                "reference": _answer(reference, i),
                "candidate": _answer(candidate, i),
            }
            for i in comparison.label_flips
        ],
    }


def _answer(run: Run, index: int) -> dict[str, Any]:
    return {
        "label": run.labels[index],
        "triage": run.triage[index],
        "p_finding": run.scores[index].p_finding,
    }


def heat_map_similarity(reference: Run, candidate: Run) -> dict[str, float] | None:
    """How alike the heat maps of two models are, film by film.

    Pearson's correlation over the places of the map, of what speaks for the finding
    (`edge_xray.heatmap.finding_evidence`).

    Args:
        reference: the one run.
        candidate: the other.

    Returns:
        Median and 5th percentile over the films; None if one of the models has no map or the maps
        are of other sizes.
    """
    values = []
    for first, second in zip(reference.scores, candidate.scores, strict=True):
        if first.evidence is None or second.evidence is None:
            return None
        one = finding_evidence(first.evidence, reference.model.metadata)
        other = finding_evidence(second.evidence, candidate.model.metadata)
        if one.shape != other.shape:
            return None
        values.append(correlation(one, other))
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return None
    return {"median": float(np.median(values)), "p05": float(np.quantile(values, 0.05))}


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's correlation of two arrays of one shape; NaN if one of them is constant."""
    x, y = (
        array.astype(np.float64).ravel() - array.mean(dtype=np.float64) for array in (one, other)
    )
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else math.nan


def _provenance(options: Options) -> dict[str, Any]:
    packages = {}
    for name in (
        "edge-xray",
        "ai-edge-litert",
        "tflite-runtime",
        "tensorflow",
        "keras",
        "numpy",
        "pillow",
    ):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": options.command,
        "machine": platform.machine(),
        "processor": processor_name(),
        "cpus": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": packages,
    }


def processor_name() -> str:
    """What the processor, or on a board the board, calls itself; at least its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()
