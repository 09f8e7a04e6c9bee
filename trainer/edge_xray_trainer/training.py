"""One training run: epochs, checkpoints, resume.

A run lives in a folder. After each epoch two files are replaced atomically: the weights that did best
on validation, then the whole state (weights, optimizer, history). A run killed at any moment goes on
from the last whole epoch, and on a CPU ends with the weights of one that was left alone.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edge_xray.errors import UsageError
from edge_xray.measures import auc
from edge_xray.progress import silent
from edge_xray_trainer.batches import AugmentedBatches
from edge_xray_trainer.checkpoints import (
    EpochResult,
    TrainingState,
    read_state,
    run_fingerprint,
    save_state,
    save_weights,
)
from edge_xray_trainer.class_weights import class_weights, shift_logits
from edge_xray_trainer.data import FilmSet
from edge_xray_trainer.distillation import Targets, labels_alone
from edge_xray_trainer.fitting import fit_temperature
from edge_xray_trainer.networks import build_network, load_initial_weights, logits_model
from edge_xray_trainer.normalization import estimate_statistics, frozen_and_live, run_fused
from edge_xray_trainer.options import TrainingOptions
from edge_xray_trainer.outputs import PREDICT_BATCH
from edge_xray_trainer.run_files import BEST_FILE, STATE_FILE

FINAL_LEARNING_RATE = 0.01
"""Share of the peak at which the cosine ends."""

CLIP_NORM = 1.0
"""Largest global norm of a gradient; keeps the first steps from leaving the pretrained weights."""

AVERAGED_SHARE = 0.1
"""Share of a run's steps that the moving average of weights looks back over at most."""


def train(
    folder: Path,
    options: TrainingOptions,
    films: FilmSet,
    validation: FilmSet,
    *,
    positive: Sequence[bool],
    split_fingerprint: str,
    targets: Targets | None = None,
    learned_from: Mapping[str, str] | None = None,
    on_step: Callable[[int, int, float], None] = silent,
    on_epoch: Callable[[EpochResult], None] = silent,
    on_resume: Callable[[int], None] = silent,
    between_steps: Callable[[], None] = silent,
) -> tuple[keras.Model, TrainingState]:
    """Train, or go on training, in a run's folder.

    Args:
        folder: where the run lives; made if missing.
        options: what to do.
        films: the training films.
        validation: the validation films; they choose the epoch that is kept, and nothing else here.
        positive: for each class, whether it is a finding; only the AUC of each epoch asks for it.
        split_fingerprint: `edge_xray.labelled.Split.fingerprint`.
        targets: what to learn instead of the labels alone.
        learned_from: `TrainingState.learned_from` of a run that begins.
        on_step: told ``(steps done, steps in all, loss)``.
        on_epoch: told each epoch's result.
        on_resume: told how many epochs were found done.
        between_steps: called after each step of training and each batch of validation; may raise, to stop.

    Returns:
        ``(network with the best averaged weights and two outputs, state)``; it answers under the weights of
        `class_weights`, which the fitting of its calibration takes off.

    Raises:
        UsageError: the folder holds another run, `check_devices` refuses, or the loss is no number any more.
        OutputError: the disk is full, or the folder cannot be written to.
    """
    check_devices(options)
    distribution = _distribution()
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = run_fingerprint(options, split_fingerprint, films.names)
    if options.deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    whole_batches = options.steps_per_epoch
    if not whole_batches and _devices() > 1:
        # No share may be less than the others: the last batch is filled up with the first films.
        whole_batches = math.ceil(len(films) / options.batch_size)
    batches = partial(
        AugmentedBatches,
        films,
        targets or labels_alone(films),
        class_weights(options, films)[films.labels].astype(np.float32),
        options.augmentation,
        batch_size=options.batch_size,
        seed=options.seed,
        steps=whole_batches,
    )
    first = batches(epoch=0)
    steps = len(first)
    checkpoint = folder / STATE_FILE
    resuming = checkpoint.exists()
    state = TrainingState(fingerprint, learned_from=learned_from or {})
    if resuming:
        state = read_state(checkpoint, fingerprint)
    with distribution:
        model, live = _begin(options, films, first, checkpoint if resuming else None)
    if resuming:
        on_resume(len(state.epochs))
    stopping = _BetweenSteps(between_steps)
    for epoch in range(len(state.epochs), options.epochs):
        if state.exhausted(options.patience):
            break
        began = time.monotonic()
        progress = _StepProgress(on_step, epoch * steps, options.epochs * steps)
        trained = _TrainedWeights()
        history = model.fit(
            batches(epoch=epoch),
            epochs=epoch + 1,
            initial_epoch=epoch,
            shuffle=False,  # Keras would shuffle whole batches by a state no checkpoint holds
            verbose=0,
            callbacks=[
                _DropoutSeed(options.seed),
                progress,
                stopping,
                trained,
                keras.callbacks.TerminateOnNaN(),
            ],
        )
        loss = float(history.history["loss"][-1])
        if not np.isfinite(loss):
            raise UsageError(
                f"the loss became {loss} in epoch {epoch + 1}: lower --learning-rate "
                f"(it was {options.learning_rate:g}) and start again with --restart"
            )
        # Keras' fit has ended by putting the average in place of the weights: that is judged, and may be kept.
        estimate_statistics(model, live, batches(epoch=epoch))
        logits = model.predict(
            validation.pixels.astype(np.float32),
            batch_size=PREDICT_BATCH,
            verbose=0,
            callbacks=[stopping],
        )
        seconds = time.monotonic() - began
        result = epoch_result(epoch + 1, loss, logits, validation, positive, seconds)
        state.epochs.append(result)
        if state.best is result:
            save_weights(model, folder / BEST_FILE)
        model.set_weights(trained.weights)
        save_state(model, state, checkpoint)
        on_epoch(result)
    network = build_network(options, len(films.names), blank=True)
    logits_model(network).load_weights(folder / BEST_FILE)
    return network, state


def _begin(
    options: TrainingOptions, films: FilmSet, first: AugmentedBatches, checkpoint: Path | None
) -> tuple[keras.Model, list[Any]]:
    """The compiled network as a run begins, or goes on, and its normalizations that learn.

    Args:
        options: of the run.
        films: the training films.
        first: batches of the first epoch.
        checkpoint: to go on from; None begins.
    """
    network = build_network(options, len(films.names), blank=checkpoint is not None)
    frozen, live = frozen_and_live(network, options)
    if checkpoint is None:
        if options.initial:
            start = load_initial_weights(network, Path(options.initial), films.names)
            weighted = start.calibration.temperature * np.log(class_weights(options, films))
            shift_logits(network, weighted)
        else:
            estimate_statistics(network, frozen, first)
    for layer in frozen:
        layer.trainable = False
    run_fused(live)
    model = logits_model(network)
    model.compile(
        optimizer=_optimizer(options, len(first)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=options.label_smoothing
        ),
    )
    model.optimizer.build(model.trainable_variables)
    if checkpoint is not None:
        # Weights and optimizer variables only: a loaded optimizer would have forgotten which
        # variables do not decay.
        model.load_weights(checkpoint)
    return model, live


def check_devices(options: TrainingOptions) -> None:
    """Refuse what Keras 3 does not train on: several machines, and GPUs that do not get equal shares of a batch.

    Raises:
        UsageError: ``TF_CONFIG`` is set, or the batch size is no multiple of this machine's GPUs.
    """
    if keras.backend.backend() == "tensorflow" and "TF_CONFIG" in os.environ:
        raise UsageError(
            "TF_CONFIG asks for workers on several machines, and Keras 3 does not fit a model under "
            "MultiWorkerMirroredStrategy (github.com/keras-team/keras/issues/20585): unset it and train on "
            "one machine, all of whose GPUs are used"
        )
    if options.batch_size % _devices():
        raise UsageError(
            f"--batch-size {options.batch_size}: this machine has {_devices()} GPUs, which share each batch; "
            f"expected a multiple of {_devices()}"
        )


def _devices() -> int:
    """How many devices share a batch: tensorflow's GPUs on this machine, or one."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return max(1, len(tf.config.list_logical_devices("GPU")))


def _distribution() -> AbstractContextManager[Any]:
    """Keras' own data parallelism over all GPUs of this machine."""
    if _devices() == 1:
        return nullcontext()
    import tensorflow as tf

    scope: AbstractContextManager[Any] = tf.distribute.MirroredStrategy().scope()
    return scope


class _TrainedWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights that an epoch ended with, before their average takes their place."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        self.weights = self.model.get_weights()


class _DropoutSeed(keras.callbacks.Callback):  # type: ignore[misc]
    """Starts each epoch's dropout from seed and epoch.

    A checkpoint does not hold the generators, and Keras draws from them when it first builds a step.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        for layer in self.model.layers:
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign([self._seed, epoch])


def _optimizer(options: TrainingOptions, steps: int) -> keras.optimizers.Optimizer:
    total = max(1, options.epochs * steps)
    warmup = min(total - 1, round(options.warmup_epochs * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else options.learning_rate,
        decay_steps=total - warmup,
        alpha=FINAL_LEARNING_RATE,
        warmup_target=options.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    # Keras' average begins at the first weights, and a long one never leaves them in a short run.
    momentum = min(options.weight_average, 1 - 1 / max(1.0, AVERAGED_SHARE * total))
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=options.weight_decay,
        global_clipnorm=CLIP_NORM,
        use_ema=momentum > 0,
        ema_momentum=momentum,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def epoch_result(
    epoch: int,
    loss: float,
    logits: NDArray[np.floating],
    films: FilmSet,
    positive: Sequence[bool],
    seconds: float,
) -> EpochResult:
    """Validation figures of one epoch.

    Args:
        epoch: counted from 1.
        loss: mean training loss.
        logits: (n, classes) on the validation films.
        films: the validation films.
        positive: for each class, whether it is a finding.
        seconds: wall time of the epoch.
    """
    # Calibrated first, as the shipped model will be: a teacher's soft answers or smoothed labels make a
    # network less sure with each epoch, and the plain loss takes that for getting worse.
    temperature = fit_temperature(logits, films.labels, "").temperature
    wide = logits.astype(np.float64) / temperature
    log_probability = wide - np.logaddexp.reduce(wide, axis=1, keepdims=True)
    truth = films.labels
    finding = np.array(positive)
    p_nothing = np.exp(log_probability[:, ~finding]).sum(axis=1)
    return EpochResult(
        epoch,
        loss,
        float(-log_probability[np.arange(len(truth)), truth].mean()),
        float((wide.argmax(axis=1) == truth).mean()),
        auc(finding[truth], 1.0 - p_nothing),
        seconds,
    )


class _StepProgress(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, on_step: Callable[[int, int, float], None], done: int, total: int) -> None:
        super().__init__()
        self._on_step, self._done, self._total = on_step, done, total

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = float((logs or {}).get("loss", float("nan")))
        self._on_step(self._done + batch + 1, self._total, loss)


class _BetweenSteps(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, called: Callable[[], None]) -> None:
        super().__init__()
        self._called = called

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        self._called()

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        self._called()
