"""From a trained network to packed ``.tflite`` files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from edge_xray.errors import ModelError, UsageError
from edge_xray.labelled import Split
from edge_xray.metadata import ModelMetadata
from edge_xray.model_file import read_metadata
from edge_xray.progress import silent
from edge_xray.unseen_films import SPLIT_NAME, trained_with
from edge_xray_converter.budget import Budget, Check
from edge_xray_converter.converted_from import CONVERTED_FROM, source_record
from edge_xray_converter.describe import (
    Description,
    carries_metadata,
    check_fits,
    describe,
)
from edge_xray_converter.flatbuffer import Graph, read_graph
from edge_xray_converter.int8_draw import KEEP_AUTO, KEEP_NONE, quantize_draw
from edge_xray_converter.layers import LayerError
from edge_xray_converter.outputs import check_name, write_output
from edge_xray_converter.packing import golden_logits, pack
from edge_xray_converter.representative import (
    REPRESENTATIVE_FILMS,
    draw_representative,
)
from edge_xray_converter.sources import FLAVOURS, Flavour, Network, PixelRange, load_network
from edge_xray_converter.trial import VALIDATION_PART, why_untried


@dataclass(frozen=True)
class Converted:
    """One file that was written.

    Attributes:
        path: the packed model.
        flavour: ``int8``, ...
        size: of the file, in bytes.
        sha256: of the whole file.
        operations: how many of each kind.
        non_integer: operations that are not integer throughout, by kind and name.
        kept_float: operations left in float to keep the budget, by name.
        checks: how it did on validation films; empty if it was not tried.
        untried: why it was not, though it should have been; else empty.
        too_few: what to say if these films are too few for the budget; empty if not.
        all_drawn: whether there are no more training films to set the ranges.
        drawn: seed of the representative films, for ``int8``.
        draws: of how many draws of them these lost least on validation films.
        ranking: operations by the error each adds, the worst first; empty if the budget was kept.
    """

    path: Path
    flavour: Flavour
    size: int
    sha256: str
    operations: dict[str, int]
    non_integer: tuple[str, ...]
    kept_float: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    untried: str = ""
    too_few: str = ""
    all_drawn: bool = False
    drawn: int = 0
    draws: int = 1
    ranking: tuple[LayerError, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it keeps the budget on validation films, if it was tried."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Conversion:
    """How a network is converted.

    Attributes:
        data: labelled folder of films, for ``int8``.
        split_file: which of them are training films; None: ``split.json`` beside the model.
        all_training: all films of `data` are training films, there is no split.
        films: how many representative films.
        seed: of their draw, or of the first of several.
        pixel_range: range the network expects its pixels in.
        description: what the maker says of a network without metadata.
        keep_float: ``none``; ``auto``: as few operations as bring int8 inside the budget; or the names
            of operations, separated by commas.
        check: whether int8 is tried on validation films.
        budget: what it may lose there.
        trial_options: options somebody gave that say how int8 is tried, such as ``--max-flips``; they are
            refused where it is not tried.
        delegate: whether the runtime may use its delegate, see `edge_xray.metadata.ModelMetadata`.
        draws: how many draws of the representative films are tried on validation films, with seeds from
            `seed` on; the one that loses least there is taken.
    """

    data: Path | None = None
    split_file: Path | None = None
    all_training: bool = False
    films: int = REPRESENTATIVE_FILMS
    seed: int = 0
    pixel_range: PixelRange = field(default_factory=PixelRange)
    description: Description = field(default_factory=Description)
    keep_float: str = KEEP_NONE
    check: bool = False
    budget: Budget = field(default_factory=Budget)
    trial_options: tuple[str, ...] = ()
    delegate: bool = True
    draws: int = 1


def convert(
    source: Path,
    flavours: Sequence[Flavour],
    output: Path,
    how: Conversion | None = None,
    on_draw: Callable[[], None] = silent,
) -> list[Converted]:
    """Convert a network to one or more flavours of packed ``.tflite``.

    Args:
        source: ``.keras`` file, SavedModel folder or float ``.tflite`` file.
        flavours: which; one file each.
        output: the file; with several flavours ``-FLAVOUR`` is put before its ending.
        how: everything else.
        on_draw: called after each draw of representative films that was tried.

    Returns:
        What was written, in the order of `flavours`.

    Raises:
        UsageError: wrong options, data that cannot serve, or an output that is the source.
        ModelError: the network cannot be converted, or ``int8`` would leave operations in float.
        OutputError: a file cannot be written.
    """
    how = how or Conversion()
    check_name(output)
    paths = output_paths(output, flavours)
    for path in paths:
        if _is_same(path, source):
            raise UsageError(
                f"{source}: would be overwritten by what is made of it; name another file with -o"
            )
    unknown = sorted(set(flavours) - set(FLAVOURS))
    if unknown or not flavours:
        raise UsageError(f"expected one or more of {', '.join(FLAVOURS)}, got {list(flavours)}")
    split = None
    if "int8" in flavours:
        if how.data is None:
            raise UsageError("int8 is fitted to training films; name their folder with --data")
        split = find_split(source, how.split_file, how.all_training)
    _refuse_idle(how, flavours, split)
    network = load_network(source, how.pixel_range)
    metadata = metadata_for(network, source, how)
    if split is not None and not trained_with(metadata, split):
        raise UsageError(
            f"{source}: was trained with another split than {how.split_file or SPLIT_NAME}; name that "
            "with --split FILE, or say --all-training if no film of --data will judge the result"
        )
    metadata = replace(
        metadata,
        training={**metadata.training, CONVERTED_FROM: source_record(source, how.pixel_range)},
        delegate=how.delegate,
    )
    written = []
    for flavour, path in zip(flavours, paths, strict=True):
        if flavour != "int8":
            flatbuffer = network.exporter.whole(flavour)
            written.append(_write(flatbuffer, replace(metadata, quantization=flavour), path))
        elif how.data is not None:
            written.append(_write_int8(network, metadata, path, how.data, split, how, on_draw))
    return written


def _is_same(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return False


def _refuse_idle(how: Conversion, flavours: Sequence[Flavour], split: Split | None) -> None:
    """Refuse what somebody asked of int8, or of its trial, where there is none."""
    if how.keep_float != KEEP_NONE and "int8" not in flavours:
        raise UsageError(
            f"--keep-float {how.keep_float}: only int8 has operations to leave in float, and it is not "
            f"among the kinds asked for ({', '.join(flavours)}); add --int8, or leave --keep-float out"
        )
    auto = how.keep_float == KEEP_AUTO
    asked = [*how.trial_options, *(["--keep-float auto"] if auto else [])]
    if "int8" not in flavours:
        why, mend = f"{', '.join(flavours)} is not tried", "add --int8"
    elif not (how.check or auto):
        why, mend = "--no-check leaves that out", "leave --no-check out"
    else:
        why, mend = why_untried(split), f"name a split with a part {VALIDATION_PART!r} with --split"
    if asked and why:
        raise UsageError(
            f"{', '.join(asked)}: only int8 is tried on validation films, and {why}; {mend}, or do not ask "
            "for it"
        )


def _write_int8(
    network: Network,
    metadata: ModelMetadata,
    path: Path,
    data: Path,
    split: Split | None,
    how: Conversion,
    on_draw: Callable[[], None],
) -> Converted:
    seeds = range(how.seed, how.seed + how.draws)
    drawn = [draw_representative(data, split, films=how.films, seed=seed) for seed in seeds]
    if len(drawn[0].films) < how.films:
        drawn = drawn[:1]  # The others are the same films.
    whole = network.exporter.whole("float32")
    golden_logits(whole, metadata)  # Integers hide that a network gives no numbers.
    wanted = how.check or how.keep_float == KEEP_AUTO
    untried = why_untried(split) if wanted else ""
    tried = split if wanted and not untried else None
    draws = []
    for films in drawn:
        draws.append(
            quantize_draw(
                network,
                metadata,
                whole,
                films,
                tried,
                how.budget,
                keep_float=how.keep_float,
                seed=how.seed,
            )
        )
        on_draw()
    best = min(draws, key=lambda draw: draw.loss)
    ranking = best.ranking
    if not ranking and not all(check.passed for check in best.checks):
        ranking = tuple(best.ranged.ranking())
    if not best.keep:
        _refuse_float(read_graph(best.flatbuffer, str(path)), path)
    training = {**best.metadata.training, "representative": best.films.record()}
    if len(draws) > 1:
        training["representative"]["draws"] = len(draws)
    if best.keep:
        training["kept_float"] = list(best.keep)
    metadata = replace(best.metadata, quantization="int8", training=training)
    return replace(
        _write(best.flatbuffer, metadata, path),
        kept_float=best.keep,
        checks=best.checks,
        untried=untried,
        too_few=best.too_few,
        all_drawn=len(best.films.films) < how.films,
        drawn=best.films.seed,
        draws=len(draws),
        ranking=ranking,
    )


def _refuse_float(graph: Graph, path: Path) -> None:
    """Refuse an int8 network that is not integer throughout."""
    left = [graph.name_of(operation) for operation in graph.non_integer()]
    if left:
        raise ModelError(
            f"model {path}: {len(left)} of {len(graph.operations)} operations have no integer form "
            f"({'; '.join(left[:3])}); replace these layers, or convert to another flavour"
        )


def _write(flatbuffer: bytes, metadata: ModelMetadata, path: Path) -> Converted:
    packed = pack(flatbuffer, metadata)
    write_output(path, packed)
    graph = read_graph(flatbuffer, str(path))
    return Converted(
        path,
        cast(Flavour, metadata.quantization),
        len(packed),
        hashlib.sha256(packed).hexdigest(),
        graph.kinds(),
        tuple(graph.name_of(operation) for operation in graph.non_integer()),
    )


def metadata_for(network: Network, source: Path, how: Conversion) -> ModelMetadata:
    """The metadata that the file carries, or else what its maker's description makes of it.

    Args:
        network: read from the file.
        source: the file.
        how: with description, data and input range.

    Raises:
        UsageError: the file carries none and the description does not fit the network, or the file
            carries some and was described all the same.
        ModelError: the file carries some that contradicts the network.
    """
    if carries_metadata(source):
        metadata = read_metadata(source)
        check_fits(network, metadata, source)
        given = list(how.description.options())
        if how.pixel_range != PixelRange():
            given.append("--input-range")
        if given:
            raise UsageError(
                f"{source}: says itself what it is, and takes pixels 0..255; leave out {', '.join(given)}. "
                "A network of this kit is told when it is trained (edge-xray train --name, --finding, "
                "--negative), one from elsewhere when it is first converted"
            )
        return metadata
    return describe(network, source, how.description, how.data)


def find_split(source: Path, split_file: Path | None, all_training: bool) -> Split | None:
    """The split that tells training films from others.

    Raises:
        UsageError: there is none, and nobody said that all films are training films.
    """
    if all_training:
        if split_file is not None:
            raise UsageError("--all-training and --split exclude each other: name one")
        return None
    path = split_file or source.parent / SPLIT_NAME
    if split_file is None and not path.is_file():
        raise UsageError(
            f"{source}: no {SPLIT_NAME} beside it tells which films are training films; name it with "
            "--split FILE, or say --all-training if no film of --data will judge the result"
        )
    return Split.read(path)


def output_paths(output: Path, flavours: Sequence[Flavour]) -> list[Path]:
    """One path a flavour: `output` itself for one, ``NAME-FLAVOUR.tflite`` for several."""
    if output.suffix != ".tflite":
        output = output.with_name(output.name + ".tflite")
    if len(flavours) == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{flavour}{output.suffix}") for flavour in flavours]
