"""Normalization in one operation does what Keras' own layer does."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from edge_xray_trainer.architectures import ARCHITECTURES
from edge_xray_trainer.normalization import estimate_statistics, norms_of, run_fused


class Shown:
    """Batches of one film more than the last."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[np.ndarray]:
        return (films(8 + index),)


def films(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 64, 64, 1)).astype(np.float32)


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    made = ARCHITECTURES["tiny"].build(64, 64, 1, 3, 0.0)
    draw = np.random.default_rng(1)
    for layer in norms_of(made):
        layer.set_weights([draw.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return made


@pytest.fixture(params=[True, False], ids=["training", "answering"])
def training(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_answers_gradients_and_statistics_are_those_of_keras_own(training: bool) -> None:
    found = []
    for fused in (False, True):
        made = network()
        if fused:
            run_fused(norms_of(made))
        with tf.GradientTape() as tape:
            evidence = made(films(0), training=training)["evidence"]
            loss = tf.reduce_mean(evidence**2)
        gradients = tape.gradient(loss, [variable.value for variable in made.trainable_variables])
        found.append([evidence, *gradients, *made.get_weights()])
    for own, other in zip(*found, strict=True):
        own, other = np.asarray(own), np.asarray(other)
        # The moving variance is of n - 1 here, at a weight of 0.01, and the last stages see 32 values. Before
        # another normalization the gradient of a shift is nothing but rounding.
        np.testing.assert_allclose(other, own, rtol=5e-3, atol=1e-5 + 1e-3 * np.abs(own).max())


def test_a_layer_that_is_frozen_keeps_its_statistics_while_others_learn() -> None:
    made = network()
    norms = norms_of(made)
    run_fused(norms)
    norms[0].trainable = False
    before = [layer.get_weights() for layer in norms]
    made(films(0), training=True)
    kept = [
        all(np.array_equal(one, other) for one, other in zip(own, layer.get_weights(), strict=True))
        for own, layer in zip(before, norms, strict=True)
    ]
    assert kept == [True, *[False] * (len(norms) - 1)]


def test_estimated_statistics_are_the_mean_of_the_batches() -> None:
    made = network()
    norms = norms_of(made)
    run_fused(norms)
    estimate_statistics(made, norms, Shown())
    stem = keras.Model(made.input, norms[0].input)
    entering = np.concatenate([np.asarray(stem(films(8 + index))) for index in range(3)])
    np.testing.assert_allclose(norms[0].moving_mean, entering.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(norms[0].moving_variance, entering.var(axis=(0, 1, 2)), rtol=1e-2)
    assert {layer.momentum for layer in norms} == {0.99}
