"""Trying a conversion on validation films, before anybody is told it is good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray.labelled import Split, SplitFilm, labelled_root
from edge_xray.metadata import ModelMetadata
from edge_xray_converter.budget import Budget, Check, judge, too_few_films
from edge_xray_converter.packing import open_network
from edge_xray_converter.paired import Outcome, compare
from edge_xray_converter.representative import draw_films, read_inputs
from edge_xray_converter.rounded_features import Films, RoundedGate
from edge_xray_converter.runs import Model, Run, ask

VALIDATION_PART = "validation"

TRIAL_FILMS = 600
"""Validation films tried: so many that three may change sides within the default budget."""

ONE_RESAMPLE = 1
"""The verdict is on the figures themselves; nobody reads the intervals of a trial."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Validation films with the float network's answers.

    Attributes:
        films: which.
        inputs: the same, prepared: uint8 (1, H, W, C).
        gate: what makes the record of a conversion.
        reference: answers of the float network.
        budget: what a conversion may lose.
    """

    films: tuple[SplitFilm, ...]
    inputs: tuple[NDArray[np.uint8], ...]
    gate: RoundedGate
    reference: Outcome
    budget: Budget

    def judge(self, network: bytes, metadata: ModelMetadata) -> list[Check]:
        """Hold a conversion against the budget.

        Args:
            network: the flatbuffer, not packed.
            metadata: what `gate` says of it.
        """
        outcome = _answers(network, metadata, self.films, self.inputs)
        clusters = [film.path for film in self.films]
        _, (comparison,) = compare([self.reference, outcome], clusters, resamples=ONE_RESAMPLE)
        return judge(comparison, len(self.films), self.budget)

    @property
    def too_few(self) -> str:
        """What to say if these films are too few for the budget; empty if not."""
        findings = int(self.reference.truth_positive.sum())
        return too_few_films(len(self.films), findings, self.budget)

    def passes(self, network: bytes) -> bool:
        """Whether the conversion keeps the budget."""
        return all(check.passed for check in self.judge(network, self.gate.metadata_for(network)))


def why_untried(split: Split | None) -> str:
    """Why no conversion can be tried, as a clause on validation films; empty if one can.

    Args:
        split: None: all films are training films.
    """
    if split is None:
        return "--all-training leaves none"
    if not any(film.part == VALIDATION_PART for film in split.films):
        return f"the split has no part {VALIDATION_PART!r}"
    return ""


def prepare_trial(
    data: Path,
    split: Split,
    metadata: ModelMetadata,
    float_network: bytes,
    learned_from: Films,
    budget: Budget,
    *,
    seed: int = 0,
) -> Trial:
    """Draw `TRIAL_FILMS` validation films and ask the float network about them.

    Args:
        data: labelled folder.
        split: only its part ``validation`` is used, so the test films stay unseen; see `why_untried`.
        metadata: of the network.
        float_network: its float32 flatbuffer, pixels 0..255 in.
        learned_from: films that it learned from, prepared.
        budget: what a conversion may lose.
        seed: of the draw.

    Raises:
        UsageError: the films cannot be read, or their labels do not match the network's.
        ModelError: the network gives no number for some of them.
    """
    drawn = tuple(draw_films(split.part(VALIDATION_PART), TRIAL_FILMS, seed))
    inputs = tuple(read_inputs(labelled_root(data), drawn, metadata.input))
    reference = _answers(float_network, metadata, drawn, inputs)
    if reference.truth_positive.all() or not reference.truth_positive.any():
        raise UsageError(
            f"{data}: the validation films are all with or all without a finding; split again"
        )
    gate = RoundedGate(float_network, metadata, learned_from, inputs)
    return Trial(drawn, inputs, gate, reference, budget)


def _answers(
    network: bytes,
    metadata: ModelMetadata,
    films: Sequence[SplitFilm],
    inputs: Sequence[NDArray[np.uint8]],
) -> Outcome:
    path, classifier = Path("trial.tflite"), open_network(network, metadata)
    run = Run(Model(metadata.name, path, path, "", classifier, metadata.operating_point()))
    for pixels in inputs:
        ask(run, pixels)
    return run.outcome(films)
