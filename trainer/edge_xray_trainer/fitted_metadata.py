"""What is fitted after training, and what the model says of itself with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from edge_xray.calibration import probabilities
from edge_xray.features import FeaturePooling
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import Split
from edge_xray.metadata import ModelMetadata
from edge_xray.progress import silent
from edge_xray.walk import printable
from edge_xray_trainer.checkpoints import TrainingState
from edge_xray_trainer.class_weights import class_weights, shift_logits
from edge_xray_trainer.data import FilmSet
from edge_xray_trainer.fitting import (
    SITE_VARIATION,
    fit_feature_statistics,
    fit_finding_temperature,
    fit_operating_points,
    fit_temperature,
)
from edge_xray_trainer.networks import architecture_of
from edge_xray_trainer.outputs import PREDICT_BATCH, network_outputs
from edge_xray_trainer.progress import Progress, counter
from edge_xray_trainer.run_request import RunRequest
from edge_xray_trainer.task import Task


def fit_metadata(
    request: RunRequest,
    network: keras.Model,
    sets: Mapping[str, FilmSet],
    task: Task,
    spec: InputSpec,
    split: Split,
    state: TrainingState,
    progress: Progress = silent,
) -> ModelMetadata:
    """Fit calibration, operating points and gate statistics, and write them with the provenance.

    Args:
        request: the run.
        network: the trained network; class weights are taken off its evidence map here.
        sets: prepared ``train`` and ``validation`` films.
        task: what the labels mean.
        spec: the network's input.
        split: the split in use.
        state: the epochs.
        progress: told how many films the network has been asked about.
    """
    options = request.options
    validation = sets["validation"]
    data = printable(request.data.name)
    words = f"validation films of {data} (split seed {split.seed})"
    pooling = architecture_of(options).feature_pooling
    training = sets["train"].pixels
    asked = counter(progress, "Asking about films", len(validation) + 2 * len(training))
    logits, features = network_outputs(network, validation.pixels, pooling, asked)
    _, training_features = network_outputs(network, training, pooling, asked)
    varied_features = _varied_features(network, training, options.seed, pooling, asked)
    log_prior = -np.log(class_weights(options, sets["train"]))
    calibration = fit_temperature(logits, validation.labels, words, log_prior)
    shift_logits(network, calibration.temperature * log_prior)
    logits = logits + calibration.temperature * log_prior
    positive = np.array(task.positive)
    calibration = fit_finding_temperature(
        logits, validation.labels, validation.groups, calibration, positive
    )
    p_finding = probabilities(logits, calibration, positive)[:, positive].sum(axis=1)
    points = fit_operating_points(p_finding, positive[validation.labels], validation.groups, words)
    return ModelMetadata(
        name=request.model_name,
        version=request.model_version,
        labels=task.labels,
        input=spec,
        operating_points=points,
        finding=task.finding,
        calibration=calibration,
        intended_use=task.intended_use,
        features=fit_feature_statistics(
            training_features,
            varied_features,
            features,
            f"training films of {data} (split seed {split.seed})",
            pooling,
        ),
        architecture=options.architecture,
        training={
            "data": data,
            "films": {part: len(films) for part, films in sets.items()},
            "split_sha256": split.fingerprint(),
            "split_seed": split.seed,
            "seed": options.seed,
            "epochs": len(state.epochs),
            "best_epoch": state.best.epoch if state.best else 0,
        },
        licence=request.licence,
    )


def _varied_features(
    network: keras.Model,
    pixels: NDArray[np.uint8],
    seed: int,
    pooling: FeaturePooling,
    on_film: Callable[[], None],
) -> NDArray[np.float64]:
    """Features of films varied by `SITE_VARIATION`, (n, c); varied copies are held a batch at a time."""
    features = []
    for start in range(0, len(pixels), PREDICT_BATCH):
        varied = [
            SITE_VARIATION(film, np.random.default_rng([seed, start + place]))
            for place, film in enumerate(pixels[start : start + PREDICT_BATCH])
        ]
        features.append(network_outputs(network, np.stack(varied), pooling, on_film)[1])
    return np.concatenate(features)
