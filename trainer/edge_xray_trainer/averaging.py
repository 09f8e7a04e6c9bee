"""Averages of the weights of several runs, with everything fitted anew on validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge_xray.durable import FolderLock, output_errors
from edge_xray.errors import UsageError
from edge_xray.labelled import Split, check_split, labelled_root
from edge_xray.metadata import ModelMetadata
from edge_xray.model_file import read_metadata
from edge_xray.unseen_films import SPLIT_NAME
from edge_xray_trainer.augment import Augmentation
from edge_xray_trainer.batches import AugmentedBatches
from edge_xray_trainer.checkpoints import TrainingState
from edge_xray_trainer.class_weights import class_weights, shift_logits
from edge_xray_trainer.data import FilmSet, load_parts
from edge_xray_trainer.delivery import check_folder
from edge_xray_trainer.distillation import labels_alone
from edge_xray_trainer.finished import write_finished
from edge_xray_trainer.fitted_metadata import fit_metadata
from edge_xray_trainer.keras_file import load_keras
from edge_xray_trainer.normalization import estimate_statistics, frozen_and_live
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.outputs import network_outputs
from edge_xray_trainer.run_files import LOCK_FILE, MODEL_FILE, RECORD_FILE, RUN_FILES
from edge_xray_trainer.run_record import made_of, made_with
from edge_xray_trainer.run_request import (
    Listener,
    RunRequest,
    RunResult,
    check_words,
    refuse_among_films,
)
from edge_xray_trainer.task import Task
from edge_xray_trainer.training import epoch_result


def average_runs(
    runs: Sequence[Path],
    data: Path,
    output: Path,
    *,
    name: str = "",
    model_version: str = "0.1.0",
    licence: str = "",
    listener: Listener | None = None,
) -> RunResult:
    """Average the weights of finished runs and fit what the device needs anew.

    Args:
        runs: folders of runs of one architecture, labels and split.
        data: their labelled folder.
        output: folder of the averaged run; one that holds no run.
        name: of the model; empty takes that of the first run.
        model_version: of the model.
        licence: of the weights; empty takes that of the first run.
        listener: told progress and the validation figures of each run and of the average.

    Raises:
        UsageError: fewer than two runs, runs that do not go together, or an output that holds a run or
            lies among the films.
        ModelError: a run's model is damaged.
    """
    tell = listener or Listener()
    if len(runs) < 2:
        raise UsageError(f"expected at least two runs to average, got {len(runs)}")
    check_words(name, model_version, licence)
    check_folder(output)
    root = labelled_root(data)
    refuse_among_films(output, root)
    _refuse_a_run(output)
    began = datetime.now(timezone.utc)
    records = [_record(run) for run in runs]
    first = records[0]
    _refuse_unlike(runs, records)
    metadata = read_metadata(runs[0] / MODEL_FILE)
    split = Split.read(runs[0] / SPLIT_NAME)
    if split.fingerprint() != first["data"]["split_sha256"]:
        raise UsageError(f"{runs[0] / SPLIT_NAME}: is not the split that the run was made with")
    check_split(split, root, ("train", "validation"))
    sets = load_parts(root, split, metadata.input, metadata.label_names, tell.progress)
    networks = [load_keras(run / MODEL_FILE) for run in runs]
    options = _options(first["options"])
    weighted = np.log(class_weights(options, sets["train"]))
    for run, network in zip(runs, networks, strict=True):
        # As they were while they learned: the weights are taken off the average, when it is calibrated.
        shift_logits(network, read_metadata(run / MODEL_FILE).calibration.temperature * weighted)
    weights = [network.get_weights() for network in networks]
    averaged = networks[0]
    for run, own in zip(runs, weights, strict=True):
        averaged.set_weights(own)
        tell.note(f"{run}: {_validation_words(averaged, sets['validation'], metadata)}")
    averaged.set_weights([np.mean(arrays, axis=0) for arrays in zip(*weights, strict=True)])
    # Statistics that were learned are of each run's own weights (Izmailov et al. 2018, section 3.2).
    films = sets["train"]
    batches = AugmentedBatches(
        films,
        labels_alone(films),
        np.ones(len(films), np.float32),
        options.augmentation,
        batch_size=options.batch_size,
        seed=options.seed,
        epoch=0,
    )
    estimate_statistics(averaged, frozen_and_live(averaged, options)[1], batches)
    tell.note(f"average: {_validation_words(averaged, sets['validation'], metadata)}")
    request = RunRequest(
        data,
        output,
        options,
        name=name or metadata.name,
        model_version=model_version,
        licence=licence or metadata.licence,
    )
    task = Task(metadata.labels, metadata.finding, metadata.intended_use)
    state = TrainingState("average")
    fitted = fit_metadata(
        request, averaged, sets, task, metadata.input, split, state, tell.progress
    )
    fitted = replace(fitted, training=_training_of(fitted, records))
    with output_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    with FolderLock(output, LOCK_FILE, "run"), output_errors(output):
        _refuse_a_run(output)  # There may be one since.
        record = {
            **made_of(data.name, fitted, split),
            "options": _shared(records),
            "averaged": records,
            **made_with(began),
        }
        try:
            split.write(output / SPLIT_NAME)
            write_finished(output, averaged, fitted, record)
        except BaseException:
            # By Ctrl-C too: half of an average would be taken for a run, and refused.
            for name in (*RUN_FILES, f"writing-{MODEL_FILE}"):
                (output / name).unlink(missing_ok=True)
            raise
    return RunResult(output / MODEL_FILE, output / RECORD_FILE, fitted, state)


def _refuse_a_run(output: Path) -> None:
    """Refuse a folder with files that an average would replace: maybe one of those that are averaged."""
    held = [name for name in RUN_FILES if (output / name).exists()]
    if held:
        raise UsageError(
            f"{output}: holds a run ({', '.join(held)}), which the average would replace; choose another "
            "folder with -o"
        )


def _refuse_unlike(runs: Sequence[Path], records: Sequence[dict[str, Any]]) -> None:
    """Refuse runs whose weights have no mean that means anything."""
    first, *others = [_kind(run, record) for run, record in zip(runs, records, strict=True)]
    for run, own in zip(runs[1:], others, strict=True):
        for what, mine in first.items():
            if own[what] != mine:
                raise UsageError(
                    f"{run}: its {what} is {own[what]}, that of {runs[0]} is {mine}; only runs of one "
                    "architecture, input, weighting and order of labels on one split can be averaged"
                )


def _training_of(fitted: ModelMetadata, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the average says of its training: which runs it is of, in the place of one run's seed and epochs."""
    kept = {
        name: value
        for name, value in fitted.training.items()
        if name not in ("seed", "epochs", "best_epoch")
    }
    averaged = [
        {
            "model_sha256": own["model_sha256"],
            # An average of averages has neither.
            "seed": own["options"].get("seed"),
            "best_epoch": own.get("best_epoch"),
        }
        for own in records
    ]
    return {**kept, "averaged": averaged}


def _shared(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The options that hold for all runs, which an average has too; it has no seed."""
    first, *others = [record["options"] for record in records]
    return {
        name: value
        for name, value in first.items()
        if name != "seed" and all(own.get(name) == value for own in others)
    }


def _record(run: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((run / RECORD_FILE).read_text(encoding="utf-8"))
        _options(record["options"])
        for needed in (record["data"]["split_sha256"], record["model_sha256"]):
            if not isinstance(needed, str):
                raise TypeError(f"a hash is {needed!r}")
        if "averaged" not in record and not isinstance(record["best_epoch"], int):
            raise TypeError(f"best_epoch is {record['best_epoch']!r}")
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{run}: expected the folder of a finished run with {RECORD_FILE} ({error!r})"
        ) from error


def _kind(run: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What runs must share to be averaged, each in the words of a message."""
    metadata = read_metadata(run / MODEL_FILE)
    return {
        "architecture": record["options"]["architecture"],
        "balance_classes": _options(record["options"]).balance_classes,
        "split_sha256": record["data"]["split_sha256"],
        "labels": ", ".join(metadata.label_names),
        "input": " x ".join(map(str, metadata.input.shape[1:])),
    }


def _options(values: dict[str, Any]) -> TrainingOptions:
    augmentation = Augmentation(**values.get("augmentation", {}))
    return TrainingOptions(**{**values, "augmentation": augmentation})


def _validation_words(network: keras.Model, films: FilmSet, metadata: ModelMetadata) -> str:
    logits, _ = network_outputs(network, films.pixels)
    result = epoch_result(0, float("nan"), logits, films, metadata.positive, 0.0)
    return (
        f"validation loss {result.validation_loss:.4f}, accuracy {result.validation_accuracy:.1%}, "
        f"AUC {result.validation_auc:.4f}"
    )
