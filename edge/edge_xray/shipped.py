"""The models that come with the kit, and where ``--model`` finds a model."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_xray.errors import ModelError

MODEL_SUFFIX: Final = ".tflite"
NAME_PREFIX: Final = "edge-xray-"
INDEX: Final = "models.json"
"""Which models are shipped, the default one, and the SHA-256 of each whole file."""


@dataclass(frozen=True)
class ModelFile:
    """A model file's bytes, checked if the kit knows their hash.

    Attributes:
        data: the whole file.
        sha256: of the whole file.
        source: what the user or the kit calls it, for messages.
        path: where it lies.
    """

    data: bytes
    sha256: str
    source: str
    path: Path


def models_folder() -> Path:
    """Where the shipped models are: inside the package, or in the checkout of an editable install."""
    package = Path(__file__).resolve().parent
    for folder in (package / "models", package.parent.parent / "models"):
        if (folder / INDEX).is_file():
            return folder
    raise ModelError(
        "no model is installed with this edge-xray; install its wheel again, or name a model file "
        "with --model FILE.tflite"
    )


def _index(folder: Path) -> tuple[str, dict[str, dict[str, str]]]:
    try:
        record = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        default, models = record["default"], record["models"]
        for entry in models.values():
            if not (isinstance(entry["file"], str) and isinstance(entry["sha256"], str)):
                raise TypeError("file and sha256 must be text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{folder / INDEX}: the list of shipped models is damaged ({error!r}); "
            "install edge-xray again"
        ) from error
    return str(default), models


def shipped_names() -> list[str]:
    """Names of the shipped models, the default one first; empty if none is installed."""
    try:
        default, models = _index(models_folder())
    except ModelError:
        return []
    return sorted(models, key=lambda name: (name != default, name))


def read_model(source: Path | str | None = None) -> ModelFile:
    """Read a model by file or by name.

    Args:
        source: a `Path`, or the path of a ``.tflite`` file as text, or the name of a shipped model
            (``edge-xray-lite0`` or ``lite0``); None is the default shipped model.

    Raises:
        ModelError: there is no such file or name, or a shipped file's bytes changed.
    """
    if source is not None and _is_path(source):
        return _read(Path(source), str(source))
    folder = models_folder()
    default, models = _index(folder)
    name = default if source is None else str(source)
    if name not in models and f"{NAME_PREFIX}{name}" in models:
        name = f"{NAME_PREFIX}{name}"
    if name not in models:
        raise ModelError(
            f"model {name!r}: no file and no shipped model of that name; shipped are "
            f"{', '.join(sorted(models))}. Name one of them, or a {MODEL_SUFFIX} file."
        )
    model = _read(folder / models[name]["file"], name)
    if model.sha256 != models[name]["sha256"]:
        raise ModelError(
            f"model {name}: the installed file is damaged (its SHA-256 begins {model.sha256[:12]}, "
            f"expected {models[name]['sha256'][:12]}); install edge-xray again"
        )
    return model


def _is_path(source: Path | str) -> bool:
    if isinstance(source, Path):
        return True
    path = Path(source)
    return path.suffix.lower() == MODEL_SUFFIX or len(path.parts) > 1 or os.path.isfile(path)  # noqa: PTH113 - never raises


def _read(path: Path, source: str) -> ModelFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"model {path}: cannot be read ({error.strerror or error}); name a {MODEL_SUFFIX} file "
            "or a shipped model"
        ) from error
    return ModelFile(data, hashlib.sha256(data).hexdigest(), source, path)
