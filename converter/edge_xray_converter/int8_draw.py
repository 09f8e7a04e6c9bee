"""The int8 network that one draw of representative films gives, and what it loses on validation films."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from edge_xray.errors import UsageError
from edge_xray.labelled import Split
from edge_xray.metadata import ModelMetadata
from edge_xray_converter.budget import Budget, Check
from edge_xray_converter.describe import parse_names
from edge_xray_converter.flatbuffer import read_graph
from edge_xray_converter.int8 import Ranged, measured
from edge_xray_converter.keep_float import choose_float
from edge_xray_converter.layers import LayerError
from edge_xray_converter.representative import RepresentativeSet
from edge_xray_converter.sources import Network
from edge_xray_converter.trial import prepare_trial

KEEP_NONE: Final = "none"
KEEP_AUTO: Final = "auto"


@dataclass(frozen=True, eq=False)
class Int8Draw:
    """An int8 network, not written yet.

    Attributes:
        films: that gave the ranges.
        ranged: the float network with these ranges.
        flatbuffer: the int8 one, not packed.
        keep: operations left in float, by name.
        ranking: operations by the error each adds, where that was asked for.
        metadata: of the float network, with a gate that allows for rounding.
        checks: how it did on validation films; empty if it was not tried.
        too_few: what to say if these films are too few for the budget; empty if not.
    """

    films: RepresentativeSet
    ranged: Ranged
    flatbuffer: bytes
    keep: tuple[str, ...]
    ranking: tuple[LayerError, ...]
    metadata: ModelMetadata
    checks: tuple[Check, ...] = ()
    too_few: str = ""

    @property
    def loss(self) -> tuple[float, ...]:
        """What it lost on validation films, the most important first.

        Limits of the budget that are not kept, accuracy (a gain is chance, and counts as no loss), labels that
        flip, and the mean shift of a probability.
        """
        lost = {check.name: check.measured for check in self.checks}
        not_kept = sum(not check.passed for check in self.checks)
        accuracy = max(0.0, lost.get("accuracy drop", 0.0))
        return not_kept, accuracy, lost.get("flips", 0.0), lost.get("mean shift", 0.0)


def quantize_draw(
    network: Network,
    metadata: ModelMetadata,
    whole: bytes,
    films: RepresentativeSet,
    tried: Split | None,
    budget: Budget,
    *,
    keep_float: str = KEEP_NONE,
    seed: int = 0,
) -> Int8Draw:
    """Quantize a network with the ranges that representative films give.

    Args:
        network: what to quantize.
        metadata: of it.
        whole: its float32 flatbuffer, pixels 0..255 in.
        films: representative ones.
        tried: the split on whose validation films it is tried; None: it is not tried.
        budget: what it may lose there.
        keep_float: as of `edge_xray_converter.convert.Conversion`; ``auto`` wants a trial.
        seed: of the draw of the validation films.

    Raises:
        UsageError: films cannot be read, or `keep_float` names operations that there are not.
        ModelError: the network gives no number for some films.
    """
    ranged = measured(network, films.inputs(metadata.input))
    trial = None
    if tried is not None:
        trial = prepare_trial(films.root, tried, metadata, whole, ranged.inputs, budget, seed=seed)
    ranking: list[LayerError] = []
    keep: tuple[str, ...] = ()
    if keep_float == KEEP_AUTO and trial is not None:
        ranking = ranged.ranking()
        keep = choose_float(ranking, lambda names: trial.passes(ranged.integers(names)))
    elif keep_float != KEEP_NONE:
        keep = _known_operations(keep_float, ranged)
    flatbuffer = ranged.integers(keep)
    draw = Int8Draw(films, ranged, flatbuffer, keep, tuple(ranking), metadata)
    if trial is None:
        return draw
    metadata = trial.gate.metadata_for(flatbuffer)
    checks = tuple(trial.judge(flatbuffer, metadata))
    return replace(draw, metadata=metadata, checks=checks, too_few=trial.too_few)


def _known_operations(text: str, ranged: Ranged) -> tuple[str, ...]:
    names = parse_names(text)
    graph = read_graph(ranged.flatbuffer)
    known = {graph.tensors[operation.outputs[0]].name for operation in graph.operations}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UsageError(
            f"--keep-float {text}: expected auto, none or names of operations such as "
            f"{sorted(known)[0]}; not known: {', '.join(unknown) or 'an empty name'}"
        )
    return names
