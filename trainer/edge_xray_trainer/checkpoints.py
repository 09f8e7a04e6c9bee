"""What a run writes after each epoch, so that a kill at any moment costs that epoch at most."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import keras

from edge_xray.durable import output_errors
from edge_xray.errors import UsageError

STATE_FILE = "state.keras"
BEST_FILE = "best.weights.h5"
HISTORY_MEMBER = "edge_xray_history.json"


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
        validation_auc: of "any class but the first"; NaN with an empty class.
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
    """

    fingerprint: str
    epochs: list[EpochResult] = field(default_factory=list)

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
    """Write a model's weights, replacing the file whole or not at all."""
    temporary = path.with_name("writing-" + path.name)
    with output_errors(path.parent):
        model.save_weights(temporary)
        _replace_durably(temporary, path)


def save_state(model: keras.Model, state: TrainingState, path: Path) -> None:
    """Write weights, optimizer and history as one file, replacing it whole or not at all."""
    temporary = path.with_name("writing-" + path.name)
    history = {
        "fingerprint": state.fingerprint,
        "epochs": [vars(result) for result in state.epochs],
    }
    with output_errors(path.parent):
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(HISTORY_MEMBER, json.dumps(history))
        _replace_durably(temporary, path)


def _replace_durably(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    temporary.replace(path)


def read_state(path: Path, fingerprint: str) -> TrainingState:
    """Read the history of a checkpoint.

    Raises:
        UsageError: the checkpoint is of another run.
    """
    with zipfile.ZipFile(path) as archive:
        record = json.loads(archive.read(HISTORY_MEMBER))
    if record["fingerprint"] != fingerprint:
        raise UsageError(
            f"{path.parent} holds a run with other options, films or labels: choose another folder with "
            "-o, or begin again there with --restart"
        )
    return TrainingState(fingerprint, [EpochResult(**item) for item in record["epochs"]])
