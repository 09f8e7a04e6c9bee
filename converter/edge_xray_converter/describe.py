"""Metadata for a network that comes without: what its maker must say, and what is taken for granted."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_xray.errors import ModelError, UsageError
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import read_labelled_folder
from edge_xray.metadata import IntendedUse, Label, ModelMetadata
from edge_xray.model_file import KERAS_MEMBER, METADATA_MEMBER
from edge_xray.no_finding import no_finding_among
from edge_xray.operating_point import OperatingPoint
from edge_xray.plural import counted
from edge_xray.walk import printable
from edge_xray_converter.sources import Network

DEFAULT_THRESHOLD = 0.5
DEFAULT_REVIEW_HALF_WIDTH = 0.1
"""Operating point of a network whose maker fitted none."""

DEFAULT_FINDING = "finding"

CHEST_LABELS = frozenset({"normal", "bacterial", "viral"})
CHEST_FINDING = "pneumonia"
"""What a positive film shows where the classes are those of the Guangzhou films."""

_NOT_IN_A_NAME = re.compile(r"(?:(?![a-z0-9._-])[\x00-\x7f]|\s)+")
"""What the name of a file gives a model's name no part of: blanks, and what of ASCII is no letter, digit or
``._-``. Letters of other scripts stay."""


@dataclass(frozen=True)
class Description:
    """What the person who converts a foreign network says of it.

    Attributes:
        name: the model's name; empty: the file's.
        labels: class names in the order of the network's outputs, in lower case; empty: the folders'
            names, sorted.
        negative: which of them mean that nothing was found; empty: those whose names say so
            (`edge_xray.no_finding`).
        finding: what a positive film shows, kept as it is said, as the trainer keeps it; empty: the positive
            class if there is one, else ``finding`` (``pneumonia`` for the classes of the Guangzhou films).
        threshold: a film is positive from this probability on; None: from `DEFAULT_THRESHOLD` on.
    """

    name: str = ""
    labels: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    finding: str = ""
    threshold: float | None = None

    def options(self) -> tuple[str, ...]:
        """The options of the command that say what is said here."""
        said = {
            "--name": self.name,
            "--labels": self.labels,
            "--negative": self.negative,
            "--finding": self.finding,
            "--threshold": self.threshold is not None,
        }
        return tuple(option for option, value in said.items() if value)


def carries_metadata(source: Path) -> bool:
    """Whether a file is a zip with this kit's record; a ``.keras`` file has a metadata.json of Keras."""
    if not source.is_file() or not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
    return KERAS_MEMBER in names or (source.suffix != ".keras" and METADATA_MEMBER in names)


def describe(
    network: Network, source: Path, description: Description, data: Path | None
) -> ModelMetadata:
    """Make the metadata of a network that carries none.

    Args:
        network: the network.
        source: the file it came from.
        description: what its maker says.
        data: labelled folder; its class names are the labels where `description` has none.

    Raises:
        UsageError: the labels do not match the network's outputs, or nothing tells them or which of
            them means that nothing was found.
    """
    names = description.labels or _names_from(data, network.classes)
    if len(names) != network.classes:
        raise UsageError(
            f"{source}: the network tells {network.classes} classes apart, got {counted(len(names), 'label')} "
            f"({', '.join(names)}); name them in the order of its outputs with --labels"
        )
    if len(set(names)) != len(names):
        raise UsageError(f"{source}: expected different labels, got {', '.join(names)}")
    negative = description.negative or no_finding_among(names)
    if not negative:
        raise UsageError(
            f"{source}: which of the classes {', '.join(names)} means that nothing was found? Say it "
            "with --negative NAME"
        )
    unknown = sorted(set(negative) - set(names))
    if unknown:
        raise UsageError(
            f"--negative {', '.join(unknown)}: no such label; there are {', '.join(names)}"
        )
    positive = [name for name in names if name not in negative]
    threshold = DEFAULT_THRESHOLD if description.threshold is None else description.threshold
    low, high = (
        min(1.0, max(0.0, threshold + sign * DEFAULT_REVIEW_HALF_WIDTH)) for sign in (-1, 1)
    )
    try:
        return ModelMetadata(
            name=description.name or _slug(source),
            version="0",
            labels=tuple(_label(name, name in negative) for name in names),
            input=InputSpec(network.height, network.width, network.channels),
            operating_points=(
                OperatingPoint("balanced", threshold, low, high, rule="set, not fitted"),
            ),
            finding=_finding(printable(description.finding.strip()), names, positive),
            evidence_map=network.evidence_map,
            output=network.head,
            intended_use=IntendedUse(summary="Not stated by the maker of the network."),
        )
    except ModelError as error:
        raise UsageError(str(error)) from error


def _names_from(data: Path | None, classes: int) -> tuple[str, ...]:
    if data is None:
        raise UsageError("the network carries no labels; name them with --labels normal,pneumonia")
    films = read_labelled_folder(data)
    folders = sorted({film.path.partition("/")[0] for film in films})
    labels = sorted({film.label for film in films})
    if len(folders) != classes and len(labels) == classes:
        return tuple(labels)
    names = [folder.lower() for folder in folders]
    # Keras numbers classes by the folders' names as they are: capitals come first.
    if names != sorted(names):
        raise UsageError(
            f"{data}: its folders sorted are {', '.join(folders)} with capitals first, "
            f"{', '.join(sorted(names))} without; name the classes in the order of the network's "
            "outputs with --labels"
        )
    return tuple(names)


def _label(name: str, negative: bool) -> Label:
    if negative:
        return Label(name, "none", f"No sign of a finding ({name}).")
    return Label(name, "urgent", f"Signs of {name}: a clinician should look.")


def _finding(said: str, names: Sequence[str], positive: Sequence[str]) -> str:
    if not said:
        several = CHEST_FINDING if set(names) == CHEST_LABELS else DEFAULT_FINDING
        return positive[0] if len(positive) == 1 else several
    # A class in other capitals is that class: the CSV would else have its column twice.
    return said.lower() if said.lower() in names else said


def _slug(path: Path) -> str:
    return _NOT_IN_A_NAME.sub("-", printable(path.stem).lower()).strip("-") or "model"


def check_fits(network: Network, metadata: ModelMetadata, source: Path) -> None:
    """Check that metadata and network speak of the same picture and classes.

    Raises:
        ModelError: they do not; both are named.
    """
    shape = (1, network.height, network.width, network.channels)
    if metadata.input.shape != shape:
        raise ModelError(
            f"model {source}: its metadata says input {metadata.input.shape}, the network takes {shape}"
        )
    if len(metadata.labels) != network.classes:
        raise ModelError(
            f"model {source}: its metadata has {len(metadata.labels)} labels "
            f"({', '.join(metadata.label_names)}), the network {network.classes} classes"
        )
    if metadata.evidence_map != network.evidence_map:
        raise ModelError(
            f"model {source}: its metadata says evidence_map={metadata.evidence_map}, the network's "
            f"outputs are {dict(network.outputs)}"
        )


def parse_labels(text: str | None) -> tuple[str, ...]:
    """Class names separated by commas, in lower case, as those of folders are; empty for None."""
    return tuple(name.lower() for name in parse_names(text))


def parse_names(text: str | None) -> tuple[str, ...]:
    """Names separated by commas; empty for None."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
