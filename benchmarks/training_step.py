"""Time a training step with Keras' own batch normalization and with tensorflow's one operation, in turns.

    python benchmarks/training_step.py [--architecture tiny] [--rounds 5] [--steps 10]

Films are noise; both networks are the same and live (`edge_xray_trainer.normalization.run_fused`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import keras
import numpy as np

from edge_xray_trainer.architectures import ARCHITECTURES
from edge_xray_trainer.networks import architecture_of, build_network, logits_model
from edge_xray_trainer.normalization import norms_of, run_fused
from edge_xray_trainer.options import TrainingOptions

CLASSES = 3


def compiled(options: TrainingOptions, *, fused: bool) -> keras.Model:
    """A network that learns as in `edge-xray train`, from nothing."""
    network = build_network(options, CLASSES)
    if fused:
        run_fused(norms_of(network))
    model = logits_model(network)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.AdamW(options.learning_rate), loss=loss)
    return model


def seconds(model: keras.Model, batch: tuple[Any, Any], steps: int) -> float:
    """Wall time of one step, the mean over so many."""
    began = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(*batch)
    return (time.perf_counter() - began) / steps


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description="Time a training step.")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="tiny")
    parser.add_argument("--input-size", type=int, default=0, help="0: the architecture's own")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="a round")
    given = parser.parse_args()
    options = TrainingOptions(
        architecture=given.architecture, input_size=given.input_size, pretrained=False, norm="live"
    )
    size = given.input_size or architecture_of(options).input_size
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (given.batch_size, size, size, 1)).astype(np.float32)
    batch = (pixels, np.eye(CLASSES)[draw.integers(0, CLASSES, given.batch_size)])
    models = {name: compiled(options, fused=name == "fused") for name in ("keras", "fused")}
    for model in models.values():
        seconds(model, batch, 2)
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(given.rounds):
        for name, model in models.items():
            taken[name].append(seconds(model, batch, given.steps))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, median in medians.items():
        ratio = medians["keras"] / median
        print(f"{name:6} {median:.3f} s a step of {given.batch_size} films, {ratio:.2f} x keras")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
