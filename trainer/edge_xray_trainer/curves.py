"""A run's course as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from edge_xray.durable import write_atomically
from edge_xray_trainer.checkpoints import TrainingState

DOTS_PER_INCH = 120


def draw_curves(state: TrainingState, path: Path) -> None:
    """Draw loss and accuracy by epoch, with the epoch that was kept.

    Args:
        state: the epochs; at least one.
        path: PNG file to write, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    epochs = [result.epoch for result in state.epochs]
    # Class weights, smoothing and augmentation make the training loss another quantity.
    losses.plot(epochs, [r.loss for r in state.epochs], "o-", label="training (augmented)")
    losses.plot(epochs, [r.validation_loss for r in state.epochs], "o-", label="validation")
    losses.set_ylabel("loss")
    accuracies.plot(epochs, [r.validation_accuracy for r in state.epochs], "o-", label="accuracy")
    accuracies.plot(epochs, [r.validation_auc for r in state.epochs], "o-", label="AUC")
    accuracies.set_ylabel("validation")
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        if state.best is not None:
            axes.axvline(state.best.epoch, color="0.6", linestyle=":", label="kept")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DOTS_PER_INCH, format="png")
    write_atomically(path, picture.getvalue())
