"""What a run leaves on record: options, data, versions, every epoch, and what was fitted."""

from __future__ import annotations

import platform
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from edge_xray import __version__
from edge_xray.labelled import Split, file_sha256
from edge_xray.metadata import ModelMetadata
from edge_xray_trainer.checkpoints import TrainingState
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.run_files import MODEL_FILE

RECORD_SCHEMA_VERSION = 1


def make_record(
    options: TrainingOptions,
    data: str,
    metadata: ModelMetadata,
    split: Split,
    state: TrainingState,
    began: datetime,
) -> dict[str, Any]:
    """The record of a run, JSON-ready, but for the hash of its model.

    Args:
        options: of training.
        data: name of the labelled folder.
        metadata: of the model, as it was fitted.
        split: that it was trained with.
        state: the epochs, and what was learned from.
        began: when this run of the program began.
    """
    return {
        **made_of(data, metadata, split),
        "options": _without_places(options),
        "learned_from_sha256": dict(state.learned_from),
        "epochs": [vars(result) for result in state.epochs],
        "best_epoch": state.best.epoch if state.best else 0,
        **made_with(began),
    }


def made_of(data: str, metadata: ModelMetadata, split: Split) -> dict[str, Any]:
    """What a record says of a model, of whatever run or runs it is: name, task, data, and what was fitted.

    Args:
        data: name of the labelled folder.
        metadata: of the model, as it was fitted.
        split: that it was trained with.
    """
    counts: dict[str, dict[str, int]] = {}
    for film in split.films:
        part = counts.setdefault(film.part, {})
        part[film.label] = part.get(film.label, 0) + 1
    return {
        "schema_version": RECORD_SCHEMA_VERSION,
        "name": metadata.name,
        "model": MODEL_FILE,
        "task": {
            "finding": metadata.finding,
            "labels": [label.to_dict() for label in metadata.labels],
        },
        "data": {
            "folder": data,
            "split_sha256": split.fingerprint(),
            "split_seed": split.seed,
            "split_note": split.note,
            "films": counts,
        },
        "calibration": metadata.calibration.to_dict(),
        "operating_points": [point.to_dict() for point in metadata.operating_points],
    }


def made_with(began: datetime) -> dict[str, Any]:
    """What a record says of this run of the program, that began then."""
    return {
        "versions": {
            "edge-xray": __version__,
            "python": platform.python_version(),
            "keras": version("keras"),
            "backend": f"{keras.backend.backend()} {_backend_version()}",
            "numpy": version("numpy"),
            "pillow": version("pillow"),
        },
        "machine": platform.machine(),
        "began": began.isoformat(timespec="seconds"),
    }


def sources_of(options: TrainingOptions) -> dict[str, str]:
    """SHA-256 of each model that is learned from, by `short`."""
    return {
        short(name): file_sha256(Path(name)) for name in (options.initial, *options.teacher) if name
    }


def _without_places(options: TrainingOptions) -> dict[str, Any]:
    """The options without the folders above a run: a record is shipped and says nothing of a machine."""
    return {
        **options.to_dict(),
        "initial": short(options.initial),
        "teacher": [short(name) for name in options.teacher],
    }


def short(path: str) -> str:
    """The last two parts of a path: they tell runs apart, and nothing of the machine."""
    return "/".join(Path(path).parts[-2:]) if path else ""


def _backend_version() -> str:
    return version(keras.backend.backend())
