"""From a trained network to packed ``.tflite`` files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_xray.errors import ModelError, OutputError, UsageError
from edge_xray.labelled import Split, file_sha256
from edge_xray.metadata import ModelMetadata, read_metadata
from edge_xray_converter.describe import Description, check_fits, describe
from edge_xray_converter.flatbuffer import read_graph
from edge_xray_converter.packing import pack
from edge_xray_converter.representative import (
    REPRESENTATIVE_FILMS,
    RepresentativeSet,
    draw_representative,
)
from edge_xray_converter.sources import Network, PixelRange, load_network
from edge_xray_converter.tflite import FLAVOURS, Flavour, export

SPLIT_NAME = "split.json"
"""Where the trainer leaves its split, beside the model."""


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
        rewrites: what was rewritten in the network, in words.
    """

    path: Path
    flavour: Flavour
    size: int
    sha256: str
    operations: dict[str, int]
    non_integer: tuple[str, ...]
    rewrites: tuple[str, ...]


def convert(
    source: Path,
    flavours: Sequence[Flavour],
    output: Path,
    *,
    data: Path | None = None,
    split_file: Path | None = None,
    all_training: bool = False,
    films: int = REPRESENTATIVE_FILMS,
    seed: int = 0,
    pixel_range: PixelRange | None = None,
    description: Description | None = None,
) -> list[Converted]:
    """Convert a network to one or more flavours of packed ``.tflite``.

    Args:
        source: ``.keras`` file, SavedModel folder or float ``.tflite`` file.
        flavours: which; one file each.
        output: the file; with several flavours ``-FLAVOUR`` is put before its ending.
        data: labelled folder of films, for ``int8``.
        split_file: which of them are training films; None: ``split.json`` beside the model.
        all_training: all films of `data` are training films, there is no split.
        films: how many representative films.
        seed: of their draw.
        pixel_range: range the network expects its pixels in; None: 0..255.
        description: what the maker says of a network without metadata.

    Returns:
        What was written, in the order of `flavours`.

    Raises:
        UsageError: wrong options, or data that cannot serve.
        ModelError: the network cannot be converted, or ``int8`` would leave operations in float.
        OutputError: a file cannot be written.
    """
    unknown = sorted(set(flavours) - set(FLAVOURS))
    if unknown or not flavours:
        raise UsageError(f"expected one or more of {', '.join(FLAVOURS)}, got {list(flavours)}")
    network = load_network(source, pixel_range)
    metadata = metadata_for(network, source, description or Description(), data)
    representative: RepresentativeSet | None = None
    if "int8" in flavours:
        if data is None:
            raise UsageError("int8 is fitted to training films; name their folder with --data")
        split = find_split(source, split_file, all_training)
        representative = draw_representative(data, split, films=films, seed=seed)
    return [
        _convert_one(network, metadata, flavour, path, source, representative)
        for flavour, path in zip(flavours, output_paths(output, flavours), strict=True)
    ]


def _convert_one(
    network: Network,
    metadata: ModelMetadata,
    flavour: Flavour,
    path: Path,
    source: Path,
    representative: RepresentativeSet | None,
) -> Converted:
    inputs = None
    training = {**metadata.training, "converted_from": _source_record(source)}
    if flavour == "int8" and representative is not None:
        inputs = representative.inputs(metadata.input)
        training["representative"] = representative.record()
    flatbuffer = export(network, flavour, inputs)
    graph = read_graph(flatbuffer, str(path))
    non_integer = tuple(graph.name_of(operation) for operation in graph.non_integer())
    if flavour == "int8" and non_integer:
        raise ModelError(
            f"model {source}: {len(non_integer)} of {len(graph.operations)} operations have no integer "
            f"form ({'; '.join(non_integer[:3])}); replace these layers, or convert to another flavour"
        )
    packed = pack(flatbuffer, replace(metadata, quantization=flavour, training=training))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); name another -o"
        ) from error
    return Converted(
        path,
        flavour,
        len(packed),
        hashlib.sha256(packed).hexdigest(),
        graph.kinds(),
        non_integer,
        network.rewrites,
    )


def metadata_for(
    network: Network, source: Path, description: Description, data: Path | None
) -> ModelMetadata:
    """The metadata that the file carries, or else what `description` makes of it.

    Raises:
        UsageError: the file carries none and `description` does not fit the network.
        ModelError: the file carries some that contradicts the network.
    """
    if source.is_file():
        try:
            metadata = read_metadata(source)
        except ModelError as error:
            if "carries no edge-xray metadata" not in str(error):
                raise
        else:
            check_fits(network, metadata, source)
            return metadata
    return describe(network, source, description, data)


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


def _source_record(source: Path) -> dict[str, str]:
    """Which file was converted, and with what."""
    record = {"name": source.name}
    if source.is_file():
        record["sha256"] = file_sha256(source)
    for package in ("edge-xray", "tensorflow", "keras"):
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            continue
    return record
