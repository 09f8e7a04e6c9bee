"""The parity report's content: what was trained against what will run, on the same films."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from shlex import quote

from edge_xray.errors import UsageError
from edge_xray.labelled import SplitFilm
from edge_xray.progress import silent
from edge_xray.unseen_films import refuse_training_films, splits_beside
from edge_xray.walk import printable
from edge_xray_converter.budget import Budget, Check, judge
from edge_xray_converter.converted_from import origin
from edge_xray_converter.layers import LayerError, accumulated_errors
from edge_xray_converter.paired import Comparison, Figures, Outcome, compare
from edge_xray_converter.representative import read_inputs
from edge_xray_converter.runs import Model, Run, Unread, run_models
from edge_xray_converter.truth import ParitySet, refuse_representative

LAYER_FILMS = 8
"""Films that the errors of layers are measured on; more change the third digit."""


@dataclass(frozen=True, eq=False)
class Parity:
    """Everything a rendering needs.

    Attributes:
        films: the films that were read, in the order of the runs' rows.
        unread: the others.
        patients: how many the films are of; duplicates count as one patient's.
        source: the parity set they are of.
        runs: one a model, the reference first.
        outcomes: the same as arrays.
        figures: one a model.
        comparisons: one a candidate.
        checks: the verdict's lines, one list a candidate.
        layers: accumulated error of each layer, one list a candidate; empty for another network.
        budget: what a candidate may lose.
    """

    films: list[SplitFilm]
    unread: list[Unread]
    patients: int
    source: ParitySet
    runs: list[Run]
    outcomes: list[Outcome]
    figures: list[Figures]
    comparisons: list[Comparison]
    checks: list[list[Check]]
    layers: list[list[LayerError]]
    budget: Budget

    @property
    def passed(self) -> bool:
        """Whether every candidate keeps the budget."""
        return all(check.passed for checks in self.checks for check in checks)


def make_parity(
    models: Sequence[Model],
    films: ParitySet,
    budget: Budget,
    *,
    resamples: int,
    seed: int = 0,
    step: Callable[[], None] = silent,
) -> Parity:
    """Compare models on films.

    Args:
        models: the reference first, then one or more candidates.
        films: which.
        budget: what a candidate may lose.
        resamples: draws of the bootstrap.
        seed: of them.
        step: as for `edge_xray_converter.runs.run_models`.

    Raises:
        UsageError: fewer than two models, a network without metadata that is held to another threshold than
            what it is compared with, films without both findings and none, films that a model was
            trained with or its int8 ranges were measured on, or labels that do not match.
        ModelError: a model gives no number for some of the films.
    """
    if len(models) < 2:
        raise UsageError("parity compares models: expected a reference and one or more candidates")
    for model in models[1:]:
        _refuse_other_threshold(models[0], model)
    beside = splits_beside(model.source for model in models)
    for model in models:
        refuse_representative(model.metadata, films, model.title, beside)
        refuse_training_films(model.metadata, films.films, films.split, model.title, beside)
    runs, read, unread = run_models(models, films, step)
    outcomes = [run.outcome(read) for run in runs]
    if outcomes[0].truth_positive.all() or not outcomes[0].truth_positive.any():
        raise UsageError(
            f"{films.root}: expected films with and without a finding, got only one kind"
        )
    clusters = [film.cluster for film in read]
    figures, comparisons = compare(outcomes, clusters, resamples=resamples, seed=seed)
    return Parity(
        read,
        unread,
        len(set(clusters)),
        films,
        runs,
        outcomes,
        figures,
        comparisons,
        [judge(comparison, len(read), budget) for comparison in comparisons],
        [_layers(models[0], model, films, read) for model in models[1:]],
        budget,
    )


def _refuse_other_threshold(reference: Model, candidate: Model) -> None:
    """Refuse to judge a network by a threshold that somebody set for it, and another by another."""
    pair = (reference, candidate)
    told = next((model for model in pair if model.described_here), None)
    if told is None or reference.point.threshold == candidate.point.threshold:
        return
    other = candidate if told is reference else reference
    threshold = other.point.threshold
    raise UsageError(
        f"{told.title}: carries no metadata and would be positive from {told.point.threshold} on, "
        f"{other.title} is from {threshold} on: expected one threshold. Make a file of it that says so, "
        f"edge-xray convert {quote(printable(told.source.name))} --float32 --threshold {threshold} -o FILE.tflite with "
        "whatever else is to be said of it, and compare that"
    )


def _layers(
    reference: Model, candidate: Model, source: ParitySet, films: Sequence[SplitFilm]
) -> list[LayerError]:
    """Layer by layer, on a few films spread over all; empty if the two are different networks."""
    spec = candidate.metadata.input
    same_name = (reference.metadata.architecture, reference.metadata.name) == (
        candidate.metadata.architecture,
        candidate.metadata.name,
    )
    same_network = same_name or bool(_files(reference) & _files(candidate))
    if spec != reference.metadata.input or not same_network:
        return []
    some = films[:: max(1, len(films) // LAYER_FILMS)][:LAYER_FILMS]
    inputs = read_inputs(source.root, some, spec)
    return accumulated_errors(reference.path.read_bytes(), candidate.path.read_bytes(), inputs)


def _files(model: Model) -> set[str]:
    """SHA-256 of the file that was named, and of the one that it was converted from."""
    return {model.source_sha256, origin(model.metadata)} - {""}
