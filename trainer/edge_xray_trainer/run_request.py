"""What a run is asked for, what it leaves, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_xray.errors import UsageError
from edge_xray.metadata import ModelMetadata
from edge_xray.metadata_fields import TEXT, is_text
from edge_xray.progress import silent
from edge_xray.walk import is_litter, printable
from edge_xray_trainer.checkpoints import EpochResult, TrainingState
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.progress import Progress


@dataclass(frozen=True)
class RunRequest:
    """What a run works on.

    Attributes:
        data: the labelled folder.
        output: the run's folder.
        options: of training.
        task: the ``[task]`` table; None takes what the labels suggest.
        split: a split file to use again; None draws one and writes it.
        test_fold: which fold of that file is the test; None where it has parts.
        patients: a CSV that names patients or labels; None trusts file names.
        split_seed: of the draw; None takes that of the split there is, or 0.
        name: of the model; empty takes the name of the run's folder.
        model_version: of the model.
        licence: of the weights, with the attribution that the data asks for.
        restart: throw an earlier run in the folder away.
    """

    data: Path
    output: Path
    options: TrainingOptions
    task: Mapping[str, Any] | None = None
    split: Path | None = None
    test_fold: int | None = None
    patients: Path | None = None
    split_seed: int | None = None
    name: str = ""
    model_version: str = "0.1.0"
    licence: str = ""
    restart: bool = False

    @property
    def model_name(self) -> str:
        """What the model is to be called."""
        return self.name.strip() or printable(self.output.resolve().name).strip() or "model"


@dataclass(frozen=True)
class RunResult:
    """What a run left in its folder.

    Attributes:
        model: the ``.keras`` file.
        record: the training record.
        metadata: what the model says of itself.
        state: the epochs.
    """

    model: Path
    record: Path
    metadata: ModelMetadata
    state: TrainingState


@dataclass
class Listener:
    """Where a run tells what it does; every field may stay as it is.

    Attributes:
        progress: see `Progress`.
        epoch: told each epoch's result.
        note: told a sentence worth showing.
    """

    progress: Progress = silent
    epoch: Callable[[EpochResult], None] = silent
    note: Callable[[str], None] = silent


def check_words(name: str, model_version: str, licence: str) -> None:
    """Check what a model is to say of itself, before hours are spent on it.

    Raises:
        UsageError: names the option, the value received and what was expected.
    """
    words = {"--name": name, "--model-version": model_version, "--licence": licence}
    for option, value in words.items():
        if not is_text(value):
            raise UsageError(f"{option}: expected {TEXT}, got {value!r}")


def refuse_among_films(output: Path, root: Path) -> None:
    """Refuse a run's folder that would be taken for a class from then on, with the run's curves for its film.

    Args:
        output: the run's folder, which need not exist yet.
        root: of the films; hidden folders in it are no classes.

    Raises:
        UsageError: the folder is the films' own, or lies in it and is not hidden.
    """
    own, films = output.resolve(), root.resolve()
    if own.is_relative_to(films) and not any(map(is_litter, own.relative_to(films).parts)):
        raise UsageError(
            f"{output}: lies among the films of {root}, and would be taken for a class of them; name a folder "
            "elsewhere with -o"
        )
