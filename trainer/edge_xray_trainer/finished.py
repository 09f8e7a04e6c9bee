"""The end of a run: its model is given its name last, so that a ``model.keras`` is one of a finished run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from edge_xray.durable import write_atomically
from edge_xray.labelled import file_sha256
from edge_xray.metadata import ModelMetadata
from edge_xray.model_file import attach_to_keras
from edge_xray_trainer.checkpoints import TrainingState, replace_durably
from edge_xray_trainer.run_files import MODEL_FILE, RECORD_FILE


def write_finished(
    folder: Path, network: keras.Model, metadata: ModelMetadata, record: Mapping[str, Any]
) -> None:
    """Write ``record.json`` and ``model.keras``, which is there with its own record or not at all.

    Args:
        folder: of the run; exists.
        network: fitted.
        metadata: goes into the model.
        record: from `edge_xray_trainer.run_record.make_record`; gains the model's hash. Figures of stand-ins
            in a record of the same epochs are kept.

    Raises:
        OSError: the disk is full, or a file cannot be written; or, of the record, `OutputError`.
    """
    model = folder / MODEL_FILE
    temporary = folder / f"writing-{MODEL_FILE}"
    network.save(temporary)
    attach_to_keras(temporary, metadata)
    whole = {**record, "model_sha256": file_sha256(temporary)}
    earlier = _read(folder / RECORD_FILE)
    if "shift_stand_ins" in earlier and _same(earlier.get("epochs"), whole.get("epochs")):
        whole["shift_stand_ins"] = earlier["shift_stand_ins"]
    model.unlink(missing_ok=True)
    write_atomically(folder / RECORD_FILE, (json.dumps(whole, indent=1) + "\n").encode())
    replace_durably(temporary, model)


def is_finished(folder: Path, state: TrainingState) -> bool:
    """Whether a run's folder holds the model and the record of these epochs, the one of the other.

    Args:
        folder: of the run.
        state: from its checkpoint.
    """
    record = _read(folder / RECORD_FILE)
    model = folder / MODEL_FILE
    return (
        bool(state.epochs)
        and _same(record.get("epochs"), [vars(result) for result in state.epochs])
        and model.is_file()
        and file_sha256(model) == record.get("model_sha256")
    )


def _read(record: Path) -> dict[str, Any]:
    """A record; empty where there is none, or a damaged one."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _same(first: object, second: object) -> bool:
    # As text, for an area that is not a number is not itself.
    return json.dumps(first) == json.dumps(second)
