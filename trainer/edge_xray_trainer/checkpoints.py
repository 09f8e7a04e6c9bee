"""What a run writes after each epoch, so that a kill at any moment costs that epoch at most."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras

from edge_xray.durable import output_errors, sync_folder, write_atomically
from edge_xray.errors import UsageError
from edge_xray_trainer.options import TrainingOptions

HISTORY_MEMBER = "edge_xray_history.json"

WEIGHTS_MEMBER = "model.weights.h5"
"""Of a ``.keras`` file: what Keras writes as weights alone."""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch: counted from 1.
        loss: mean training loss.
        validation_loss: mean negative log-likelihood on validation, each film counting once, with averaged
            weights, at the temperature that suits the epoch best. With balanced classes it is of the network
            as it is trained, which takes every class for equally common; the kept model is shifted back to the
            shares of the training films when it is calibrated (`class_weights.shift_logits`).
        validation_accuracy: share of films whose most probable class is theirs, of the same network.
        validation_auc: of the finding: of all classes that call for something; NaN where validation has none, or no other.
        seconds: wall time.
    """

    epoch: int
    loss: float
    validation_loss: float
    validation_accuracy: float
    validation_auc: float
    seconds: float


@dataclass
class TrainingState:
    """Progress of a run; what a checkpoint holds beside the weights.

    Attributes:
        fingerprint: of the options, the split and the labels.
        epochs: results so far.
        learned_from: SHA-256 of each model that is learned from, as it was when the run began, by
            `edge_xray_trainer.run_record.short`; empty in checkpoints of before it was kept.
    """

    fingerprint: str
    epochs: list[EpochResult] = field(default_factory=list)
    learned_from: Mapping[str, str] = field(default_factory=dict)

    @property
    def best(self) -> EpochResult | None:
        """The epoch with the least validation loss so far, the earliest of equals."""
        return min(self.epochs, key=lambda result: result.validation_loss, default=None)

    def exhausted(self, patience: int) -> bool:
        """Whether so many epochs have gone by without a better one."""
        return (
            patience > 0
            and self.best is not None
            and self.epochs[-1].epoch - self.best.epoch >= patience
        )


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights, replacing the file whole or not at all.

    They are taken out of a model's file, which Keras composes in memory: HDF5 itself, where the disk is full at the
    end of its file, ends the process.
    """
    temporary = path.with_name(f"writing-{path.name}.keras")
    with output_errors(path.parent):
        try:
            model.save(temporary)
            with zipfile.ZipFile(temporary) as archive:
                weights = archive.read(WEIGHTS_MEMBER)
        finally:
            temporary.unlink(missing_ok=True)
    write_atomically(path, weights)


def save_state(model: keras.Model, state: TrainingState, path: Path) -> None:
    """Write weights, optimizer and history as one file, replacing it whole or not at all."""
    temporary = path.with_name("writing-" + path.name)
    history = {
        "fingerprint": state.fingerprint,
        "epochs": [vars(result) for result in state.epochs],
        "learned_from": dict(state.learned_from),
    }
    with output_errors(path.parent):
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(HISTORY_MEMBER, json.dumps(history))
        replace_durably(temporary, path)


def replace_durably(temporary: Path, path: Path) -> None:
    """Give a file that is whole its name, so that a power cut leaves the old one or the new one.

    Raises:
        OSError: the disk reports an error.
    """
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def read_state(path: Path, fingerprint: str) -> TrainingState:
    """Read the history of a checkpoint.

    Raises:
        UsageError: the checkpoint is damaged, or of another run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
            if broken:
                raise ValueError(f"{broken} does not match its checksum")
            record = json.loads(archive.read(HISTORY_MEMBER))
        found = TrainingState(
            record["fingerprint"],
            [EpochResult(**item) for item in record["epochs"]],
            dict(record.get("learned_from", {})),
        )
    except Exception as error:  # zlib.error has no common base
        raise UsageError(
            f"{path}: the checkpoint is damaged ({error}); begin again with --restart"
        ) from error
    if found.fingerprint != fingerprint:
        raise UsageError(
            f"{path.parent} holds a run with other options, films or labels: choose another folder with "
            "-o, or begin again there with --restart"
        )
    return found


def run_fingerprint(options: TrainingOptions, split: str, names: tuple[str, ...]) -> str:
    """SHA-256 over all that decides what a run gives."""
    usual = TrainingOptions().to_dict()
    # Options left at their defaults are left out, so that a new option does not orphan old runs.
    chosen = {name: value for name, value in options.to_dict().items() if value != usual[name]}
    if options.initial:
        chosen["initial"] = _settled(options.initial)
    if options.teacher:
        teachers = [_settled(name) for name in options.teacher]
        # One alone as when there could be but one.
        chosen["teacher"] = teachers[0] if len(teachers) == 1 else teachers
    text = json.dumps([chosen, split, names], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _settled(name: str) -> str:
    """The text that a file counts by: absolute, so that ``./a`` and ``a`` are one run."""
    path = Path(name)
    # An absolute one stays as it was written: runs that were begun with it must go on.
    return name if path.is_absolute() else str(path.resolve())
